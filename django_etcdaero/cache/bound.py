"""How many entries a cache in the memory of a process may have: ``MAX_ENTRIES`` and ``CULL_FREQUENCY``.

They count for the entries with one key prefix; tags, and whatever else a cache keeps beside them, are not evicted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from django_etcdaero.records.store import RecordStore, Value

if TYPE_CHECKING:
    from django_etcdaero.records.memory.store import MemoryStore


class Bound:
    """Evicts the entries used longest ago when there are more than ``most``: one of ``share``, or all if that is 0."""

    def __init__(self, store: Callable[[], RecordStore], most: int, share: int) -> None:
        """``store()`` gives a store in memory."""
        self._store = cast("Callable[[], MemoryStore]", store)
        self._most = most
        self._share = share
        self._followed: MemoryStore | None = None
        self._starts: set[bytes] = set()

    def keep(self, start: bytes, length: int, record_key: bytes) -> dict[bytes, Value]:
        """Evict what is too much now that ``record_key`` was written; return it.

        Entries are the records whose keys begin with ``start``, and the first ``length`` bytes tell their prefix.
        """
        store = self._store()
        if store is not self._followed:
            self._followed, self._starts = store, set()
        if start not in self._starts:
            store.follow(start, length)
            self._starts.add(start)
        return store.evict(record_key[:length], self._most, self._share)
