"""The coordination plane: keys, leases, watches, transactions and locks with the semantics of etcd v3.

The names below are imported on first use. Conditions and operations of transactions are in
:mod:`django_etcdaero.kv.txn`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import KV as KV
    from .contest.leader import Changed as Changed
    from .contest.leader import Elected as Elected
    from .contest.leader import Leader as Leader
    from .contest.leader import Lost as Lost
    from .contest.leader import Proclaimed as Proclaimed
    from .contest.leading import Leadership as Leadership
    from .election import Election as Election
    from .engine import Engine as Engine
    from .engine import Event as Event
    from .engine import EventType as EventType
    from .engine import KeyValue as KeyValue
    from .engine import LeaseStatus as LeaseStatus
    from .engine import SortOrder as SortOrder
    from .engine import SortTarget as SortTarget
    from .lease import Lease as Lease
    from .lock import Holder as Holder
    from .lock import Lock as Lock
    from .objects import Collection as Collection
    from .objects import ObjectTxn as ObjectTxn
    from .session import Session as Session
    from .stm import Isolation as Isolation
    from .temporary import TemporaryKey as TemporaryKey
    from .txn import Txn as Txn
    from .watch import AsyncWatch as AsyncWatch
    from .watch import Progress as Progress
    from .watch import Resync as Resync
    from .watch import ResyncReason as ResyncReason
    from .watch import Watch as Watch

_HOMES = {
    "AsyncTransaction": "stm",
    "AsyncWatch": "watch",
    "Changed": "contest.leader",
    "Collection": "objects",
    "Elected": "contest.leader",
    "Election": "election",
    "Engine": "engine",
    "Event": "engine",
    "EventType": "engine",
    "Holder": "lock",
    "Isolation": "stm",
    "KV": "client",
    "KeyValue": "engine",
    "Leader": "contest.leader",
    "Leadership": "contest.leading",
    "Lease": "lease",
    "LeaseStatus": "engine",
    "Lock": "lock",
    "Lost": "contest.leader",
    "ObjectTxn": "objects",
    "Observation": "contest.observation",
    "Proclaimed": "contest.leader",
    "Progress": "watch",
    "Resync": "watch",
    "ResyncReason": "watch",
    "Session": "session",
    "SortOrder": "engine",
    "SortTarget": "engine",
    "TemporaryKey": "temporary",
    "Transaction": "stm",
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
