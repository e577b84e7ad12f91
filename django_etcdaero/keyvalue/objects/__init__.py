"""Typed objects: dataclasses under names, with versions, conditional writes, transactions and watches.

Start at :class:`~django_etcdaero.keyvalue.objects.collection.Collection`.
"""

from __future__ import annotations

from .collection import Collection
from .fields import changes_nothing
from .leased import LeasedObject, LeaseState
from .stored import Created, Deleted, Invalid, Listing, ObjectEvent, Resynced, Stored, Updated
from .transaction import ObjectTxn, ObjectTxnResult
from .watch import ObjectWatch

__all__ = [
    "Collection",
    "Created",
    "Deleted",
    "Invalid",
    "LeaseState",
    "LeasedObject",
    "Listing",
    "ObjectEvent",
    "ObjectTxn",
    "ObjectTxnResult",
    "ObjectWatch",
    "Resynced",
    "Stored",
    "Updated",
    "changes_nothing",
]
