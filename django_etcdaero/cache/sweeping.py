"""Removing what no cache can reach any more: entries of before a ``clear()``, and parts of entries that are gone.

Most of it goes by its time to live. What has none, or a long one, is found by a scan of the store's keys: one process
makes it at a time, at most once in ``SWEEP_INTERVAL``, and only after somebody has cleared, or stored an entry in
parts.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from django_etcdaero.exceptions import EtcdAeroError, KeyExists, VersionConflict
from django_etcdaero.records.arguments import MAX_TTL
from django_etcdaero.records.store import RecordStore, batches
from django_etcdaero.system.clocks import monotonic

from .envelope import STAMP_BYTES, unpack
from .parts import Index, index_start, read_index

logger = logging.getLogger("django_etcdaero.cache")

BATCH: Final = 500
"""Records that are looked at or removed at a time."""

HURRY: Final = 5.0
"""Seconds between two sweeps of a store that is full."""

YOUNG: Final = 60.0
"""Seconds for which the parts of an entry may be there before the entry is."""

_KINDS: Final = b"deptq"
"""Kinds of records that belong to a generation. (Those of loads do as well, but go by themselves after a while.)"""


class Sweeper:
    """Sweeps one place. ``start`` runs a function in the background."""

    def __init__(
        self,
        store: Callable[[], RecordStore],
        start: Callable[[Callable[[], object]], object],
        *,
        room: bytes,
        interval: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """``interval``: seconds, 0: only :meth:`sweep` sweeps."""
        self._store = store
        self._start = start
        self._room = room
        self._interval = interval
        self._clock = clock
        self._hurry = 0.0
        self._next = clock() + interval * random.random() if interval else float("inf")

    def mark(self) -> None:
        """Note that there is something to sweep. Raises what the store raises."""
        self._store().put(self._room + b"m", 1)

    def consider(self) -> None:
        """Sweep in the background if it is time for it. Costs a look at the clock otherwise."""
        if self._clock() >= self._next:
            self._next = self._clock() + self._interval
            self._start(self._take_turn)

    def hurry(self) -> None:
        """Sweep in the background, now, because the store is full; at most every ``HURRY`` seconds."""
        if self._clock() >= self._hurry:
            self._hurry = self._clock() + HURRY
            self._start(self._sweep_if_marked)

    def _sweep_if_marked(self) -> None:
        with suppress(EtcdAeroError):
            if self._store().exists(self._room + b"m") is not None:
                self.sweep()

    def _take_turn(self) -> None:
        with suppress(EtcdAeroError):  # another time, or another process
            store = self._store()
            if store.exists(self._room + b"m") is None:
                return
            turn = min(MAX_TTL, max(1, int(self._interval)))
            with suppress(KeyExists):
                store.put(self._room + b"w", 1, ttl=turn, create_only=True)
                self.sweep()

    def sweep(self) -> int:
        """Remove what cannot be reached; return how many records that were. Raises what the store raises."""
        store = self._store()
        mark = store.exists(self._room + b"m")
        removed, parts_left = self._sweep_parts(store)
        removed += self._sweep_generations(store)
        if parts_left and mark is None:
            self.mark()
        elif mark is not None and not parts_left:
            with suppress(VersionConflict):  # who has cleared meanwhile has marked again
                store.delete(self._room + b"m", generation=mark.generation)
        if removed:
            logger.info("swept %d records of the cache that nobody could reach", removed)
        return removed

    def _sweep_generations(self, store: RecordStore) -> int:
        removed = 0
        current = self._generations(store)
        position = len(self._room) + 1
        for kind in _KINDS:
            for batch in batches((key for key, _ in store.scan(self._room + bytes((kind,)))), BATCH):
                old = [key for key in batch if key[position : position + STAMP_BYTES] not in current]
                if old:
                    # A generation begins before its first entry is written, so one that is not there now is over.
                    current = self._generations(store)
                    old = [key for key in old if key[position : position + STAMP_BYTES] not in current]
                    removed += store.delete_many(old)
        return removed

    def _generations(self, store: RecordStore) -> set[bytes]:
        found: set[bytes] = set()
        for batch in batches((key for key, _ in store.scan(self._room + b"g")), BATCH):
            for record in store.get_many(batch).values():
                if isinstance(record.value, bytes):
                    found.add(record.value)
        return found

    def _sweep_parts(self, store: RecordStore) -> tuple[int, bool]:
        removed, left = 0, False
        for batch in batches((key for key, _ in store.scan(index_start(self._room))), BATCH):
            indexes = {
                key: index
                for key, record in store.get_many(batch).items()
                if isinstance(record.value, bytes) and (index := read_index(key, record.value)) is not None
            }
            parents = store.get_many({index.parent for index in indexes.values()})
            for key, index in indexes.items():
                parent = parents.get(index.parent)
                if self._in_use(index, None if parent is None else parent.value):
                    left = True
                else:
                    removed += store.delete_many([*index.pieces(self._room), key])
        return removed, left

    def _in_use(self, index: Index, parent: object) -> bool:
        if time.time() - index.created < YOUNG:
            return True
        envelope = unpack(parent) if isinstance(parent, bytes) else None
        return envelope is not None and envelope.parts is not None and envelope.parts.name == index.name
