"""How much a cache in the memory of a process may have: ``MAX_ENTRIES`` and ``CULL_FREQUENCY``.

They count for the entries with one key prefix, whatever the length of their keys. The stamps of tags have a bound of
their own: one that is evicted makes the entries with the tag invalid, so it is a large one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from django_etcdaero.records.store import RecordStore, Value

from .envelope import STAMP_BYTES

if TYPE_CHECKING:
    from django_etcdaero.records.memory.store import MemoryStore

STAMPS: Final = 10
"""Stamps of tags that there may be for each entry."""

FEWEST_STAMPS: Final = 10_000
"""Stamps that there may be in any case."""


class Bound:
    """Evicts the entries used longest ago when there are more than ``most``: one of ``share``, or all if that is 0."""

    def __init__(self, store: Callable[[], RecordStore], most: int, share: int, *, room: bytes) -> None:
        """``store()`` gives a store in memory; the keys of the cache's records begin with ``room``."""
        self._store = cast("Callable[[], MemoryStore]", store)
        self._most = most
        self._share = share
        self._entries, self._digests, self._tags = room + b"e", room + b"d", room + b"t"
        self._length = len(self._entries) + STAMP_BYTES
        self._followed: MemoryStore | None = None
        self._followed_tags: MemoryStore | None = None

    def keep(self, record_key: bytes) -> dict[bytes, Value]:
        """Evict what is too much now that ``record_key``, of an entry, was written; return it."""
        store = self._store()
        if store is not self._followed:
            store.follow(self._entries, self._length)
            store.follow(self._digests, self._length, like=self._entries)
            self._followed = store
        start = len(self._entries)
        return store.evict(self._entries + record_key[start : self._length], self._most, self._share)

    def keep_stamps(self, generation: bytes) -> dict[bytes, Value]:
        """Evict what is too much now that stamps of tags of a generation were written; return it."""
        store = self._store()
        if store is not self._followed_tags:
            store.follow(self._tags, self._length)
            self._followed_tags = store
        return store.evict(self._tags + generation, max(STAMPS * self._most, FEWEST_STAMPS), STAMPS)
