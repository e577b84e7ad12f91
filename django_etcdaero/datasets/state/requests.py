"""Asking for a load: the ``request`` key, and when it counts as answered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_etcdaero.keyvalue.txn import mod_revision, put

from .stored_value import StoredValue

if TYPE_CHECKING:
    from django_etcdaero.datasets.declared import Declared
    from django_etcdaero.datasets.stores import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest(StoredValue):
    """The value under ``request``."""

    at: float
    repair: bool
    """The stored blocks must be read back and checked, because a reader found some missing or damaged."""
    wanted: bool = False
    """A repair, and somebody had asked for a load before it."""

    @property
    def by_person(self) -> bool:
        """Whether not only readers want it."""
        return self.wanted or not self.repair


def request_load(dataset: Declared[Any, Any], stores: Stores, *, repair: bool) -> None:
    """Put a request for a load; a pending request for a repair stays one."""
    key = dataset.layout(stores.prefix).request
    while True:
        before = stores.kv.get(key)
        pending = LoadRequest.believe(before)
        request = LoadRequest(
            at=time.time(),
            repair=repair or (pending is not None and pending.repair),
            wanted=not repair or (pending is not None and pending.by_person),
        )
        seen = before.mod_revision if before else 0
        done = stores.kv.txn().when(mod_revision(key) == seen).then(put(key, request.encode())).commit()
        if done.succeeded:
            return
