"""The coordination plane: keys, leases, watches, transactions and locks with the semantics of etcd v3.

The names below are imported on first use. Conditions and operations of transactions are in
:mod:`django_etcdaero.kv.txn`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import KV as KV
    from .engine import Engine as Engine
    from .engine import Event as Event
    from .engine import EventType as EventType
    from .engine import KeyValue as KeyValue
    from .engine import SortOrder as SortOrder
    from .engine import SortTarget as SortTarget
    from .lease import Lease as Lease
    from .lock import Holder as Holder
    from .lock import Lock as Lock
    from .session import Session as Session
    from .txn import Txn as Txn
    from .watch import Resync as Resync
    from .watch import ResyncReason as ResyncReason
    from .watch import Watch as Watch

_HOMES = {
    "KV": "client",
    "Engine": "engine",
    "Event": "engine",
    "EventType": "engine",
    "Holder": "lock",
    "KeyValue": "engine",
    "Lease": "lease",
    "Lock": "lock",
    "Resync": "watch",
    "ResyncReason": "watch",
    "Session": "session",
    "SortOrder": "engine",
    "SortTarget": "engine",
    "Txn": "txn",
    "Watch": "watch",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
