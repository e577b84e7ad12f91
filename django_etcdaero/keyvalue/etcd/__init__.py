"""The engine on a real etcd cluster, over gRPC, which is imported when the engine is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_etcdaero.stores.credentials import Tls

if TYPE_CHECKING:
    from .engine import EtcdEngine

__all__ = ["EtcdEngine", "Tls"]


def __getattr__(name: str) -> Any:
    if name != "EtcdEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .engine import EtcdEngine

    globals()[name] = EtcdEngine
    return EtcdEngine
