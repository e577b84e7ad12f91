"""The coordination plane: keys, leases, watches, transactions and locks with the semantics of etcd v3.

The names below are imported on first use. Conditions and operations of transactions are in
:mod:`django_etcdaero.keyvalue.ops`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_etcdaero.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from .client.lease import Lease as Lease
    from .client.loss import LossReason as LossReason
    from .client.session import Session as Session
    from .client.watch import Progress as Progress
    from .client.watch import Resync as Resync
    from .client.watch import ResyncReason as ResyncReason
    from .client.watch import Watch as Watch
    from .engine import Engine as Engine
    from .facade import KV as KV
    from .objects import Collection as Collection
    from .objects import ObjectTxn as ObjectTxn
    from .ops import Txn as Txn
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
    from .queue.rwlock import ReadLock as ReadLock
    from .queue.rwlock import RWLock as RWLock
    from .queue.rwlock import WriteLock as WriteLock
    from .queue.semaphore import Semaphore as Semaphore
    from .recipes.mirror import Change as Change
    from .recipes.mirror import Mirror as Mirror
    from .recipes.monotonic import MonotonicReads as MonotonicReads
    from .recipes.stm import AsyncTransaction as AsyncTransaction
    from .recipes.stm import Isolation as Isolation
    from .recipes.stm import Transaction as Transaction
    from .recipes.temporary import TemporaryKey as TemporaryKey
    from .values import Event as Event
    from .values import EventType as EventType
    from .values import KeyValue as KeyValue
    from .values import LeaseStatus as LeaseStatus
    from .values import SortOrder as SortOrder
    from .values import SortTarget as SortTarget

_HOMES = {
    "client.lease": ["Lease"],
    "client.loss": ["LossReason"],
    "client.session": ["Session"],
    "client.watch": ["Progress", "Resync", "ResyncReason", "Watch"],
    "engine": ["Engine"],
    "facade": ["KV"],
    "objects": ["Collection", "ObjectTxn"],
    "queue.election": ["Election", "Leadership"],
    "queue.holder": ["Changed", "Elected", "Leader", "Lost", "Proclaimed"],
    "queue.lock": ["Holder", "Lock"],
    "queue.observation": ["Observation"],
    "queue.rwlock": ["RWLock", "ReadLock", "WriteLock"],
    "queue.semaphore": ["Semaphore"],
    "recipes.mirror": ["Change", "Mirror"],
    "recipes.monotonic": ["MonotonicReads"],
    "recipes.stm": ["AsyncTransaction", "Isolation", "Transaction"],
    "recipes.temporary": ["TemporaryKey"],
    "ops": ["Txn"],
    "values": ["Event", "EventType", "KeyValue", "LeaseStatus", "SortOrder", "SortTarget"],
}

__all__ = sorted(name for names in _HOMES.values() for name in names)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
