"""The coordination plane: keys, leases, watches, transactions and locks with the semantics of etcd v3.

The names below are imported on first use. Conditions and operations of transactions are in
:mod:`django_etcdaero.keyvalue.txn`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client.lease import Lease as Lease
    from .client.session import Session as Session
    from .client.watch import AsyncWatch as AsyncWatch
    from .client.watch import Progress as Progress
    from .client.watch import Resync as Resync
    from .client.watch import ResyncReason as ResyncReason
    from .client.watch import Watch as Watch
    from .engine import Engine as Engine
    from .facade import KV as KV
    from .objects import Collection as Collection
    from .objects import ObjectTxn as ObjectTxn
    from .queue.election import Election as Election
    from .queue.election import Leadership as Leadership
    from .queue.holder import Changed as Changed
    from .queue.holder import Elected as Elected
    from .queue.holder import Leader as Leader
    from .queue.holder import Lost as Lost
    from .queue.holder import Proclaimed as Proclaimed
    from .queue.lock import Holder as Holder
    from .queue.lock import Lock as Lock
    from .queue.observation import Observation as Observation
    from .recipes.stm import AsyncTransaction as AsyncTransaction
    from .recipes.stm import Isolation as Isolation
    from .recipes.stm import Transaction as Transaction
    from .recipes.temporary import TemporaryKey as TemporaryKey
    from .txn import Txn as Txn
    from .values import Event as Event
    from .values import EventType as EventType
    from .values import KeyValue as KeyValue
    from .values import LeaseStatus as LeaseStatus
    from .values import SortOrder as SortOrder
    from .values import SortTarget as SortTarget

_HOMES = {
    "AsyncTransaction": "recipes.stm",
    "AsyncWatch": "client.watch",
    "Changed": "queue.holder",
    "Collection": "objects",
    "Elected": "queue.holder",
    "Election": "queue.election",
    "Engine": "engine",
    "Event": "values",
    "EventType": "values",
    "Holder": "queue.lock",
    "Isolation": "recipes.stm",
    "KV": "facade",
    "KeyValue": "values",
    "Leader": "queue.holder",
    "Leadership": "queue.election",
    "Lease": "client.lease",
    "LeaseStatus": "values",
    "Lock": "queue.lock",
    "Lost": "queue.holder",
    "ObjectTxn": "objects",
    "Observation": "queue.observation",
    "Proclaimed": "queue.holder",
    "Progress": "client.watch",
    "Resync": "client.watch",
    "ResyncReason": "client.watch",
    "Session": "client.session",
    "SortOrder": "values",
    "SortTarget": "values",
    "TemporaryKey": "recipes.temporary",
    "Transaction": "recipes.stm",
    "Txn": "txn",
    "Watch": "client.watch",
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
