"""The record store in an Aerospike cluster, which is imported when it is first used; the native client comes later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_etcdaero.stores.credentials import Tls

if TYPE_CHECKING:
    from .store import AerospikeStore

__all__ = ["AerospikeStore", "Tls"]


def __getattr__(name: str) -> Any:
    if name != "AerospikeStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .store import AerospikeStore

    globals()[name] = AerospikeStore
    return AerospikeStore
