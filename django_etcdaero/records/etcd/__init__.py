"""The record store in an etcd cluster, which is imported when it is first used; gRPC comes with its engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store import EtcdStore

__all__ = ["EtcdStore"]


def __getattr__(name: str) -> Any:
    if name != "EtcdStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .store import EtcdStore

    globals()[name] = EtcdStore
    return EtcdStore
