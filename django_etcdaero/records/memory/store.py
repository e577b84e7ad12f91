"""The record store in the memory of one process, for tests and for trying things out.

All stores with the same name share their records, and the records outlive the stores, as they do everywhere else;
:func:`drop_memory` is what removes them. A forked child goes on with a copy of its own.
"""

from __future__ import annotations

import heapq
import math
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from django_etcdaero.exceptions import KeyExists, KeyNotFound, StoreBusy
from django_etcdaero.records import arguments, conditions
from django_etcdaero.records.life import check_usable
from django_etcdaero.records.memory.recency import Recency
from django_etcdaero.records.store import Fill, Meta, Record, RecordStore, StoreInfo, Value, batches
from django_etcdaero.system import forks
from django_etcdaero.system.clocks import monotonic

DEFAULT_TIMEOUT = 5.0
"""Seconds that a call waits for the calls of other threads at most."""

_SLICE = 1000  # keys of a scan, or expired records, that are dealt with at a time


class _Entry(NamedTuple):
    value: Value
    generation: int
    expires: float | None


class _Space:
    """The records of one name. Its methods are called with the lock held."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: dict[bytes, _Entry] = {}
        self.recency = Recency()
        self._due: dict[int, set[bytes]] = {}  # second after which the keys in the set have expired
        self._seconds: list[int] = []  # a heap of the keys of _due

    def live(self, key: bytes, now: float) -> _Entry | None:
        entry = self.entries.get(key)
        if entry is None or (entry.expires is not None and entry.expires <= now):
            return None
        return entry

    def store(self, key: bytes, entry: _Entry) -> None:
        self._forget_expiry(key)
        self.entries[key] = entry
        self.recency.written(key)
        if entry.expires is not None:
            second = int(entry.expires) + 1
            if second not in self._due:
                self._due[second] = set()
                heapq.heappush(self._seconds, second)
            self._due[second].add(key)

    def remove(self, key: bytes) -> None:
        self._forget_expiry(key)
        self.entries.pop(key, None)
        self.recency.gone(key)

    def clear(self) -> None:
        self.entries.clear()
        self.recency.clear()
        self._due.clear()
        self._seconds.clear()

    def purge(self, now: float) -> None:
        """Remove some of the records that have expired, so that those nobody asks for do not pile up."""
        left = _SLICE
        while left and self._seconds and self._seconds[0] <= now:
            keys = self._due[self._seconds[0]]
            while keys and left:
                key = keys.pop()
                del self.entries[key]
                self.recency.gone(key)
                left -= 1
            if not keys:
                del self._due[heapq.heappop(self._seconds)]

    def _forget_expiry(self, key: bytes) -> None:
        entry = self.entries.get(key)
        if entry is not None and entry.expires is not None:
            self._due[int(entry.expires) + 1].discard(key)


_spaces: dict[str, _Space] = {}
_spaces_lock = threading.Lock()


def _renew_locks() -> None:
    """In a forked child: another thread of the parent may have held a lock, and that thread is not here."""
    global _spaces_lock
    _spaces_lock = threading.Lock()
    for space in _spaces.values():
        space.lock = threading.Lock()


forks.in_child(_renew_locks)


def drop_memory(name: str = "") -> None:
    """Forget all records of ``name``, also for the stores that are open."""
    with _spaces_lock:
        space = _spaces.get(name)
    if space is not None:
        with space.lock:
            space.clear()


class MemoryStore(RecordStore):
    """Records in a dict under a lock.

    ``clock`` returns seconds and never steps back (:func:`time.monotonic`); tests give their own to let time pass.
    """

    def __init__(
        self,
        name: str = "",
        *,
        max_value_bytes: int = arguments.DEFAULT_MAX_VALUE_BYTES,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        with _spaces_lock:
            self._space = _spaces.setdefault(name, _Space())
        self.info = StoreInfo(kind="memory", location=f"mem:{name}")
        self.max_value_bytes = max_value_bytes
        self._clock = clock
        self._pid = os.getpid()
        self._closed = False

    def peek(self, key: bytes, *, timeout: float | None = None) -> Record | None:
        arguments.check_keys((key,))
        with self._locked(timeout) as now:
            entry = self._space.live(key, now)
        return None if entry is None else Record(entry.value, entry.generation, _left(entry.expires, now))

    def get(self, key: bytes, *, timeout: float | None = None) -> Record | None:
        arguments.check_key(key)
        if timeout is not None:
            arguments.check_timeout(timeout)
        if self._closed or os.getpid() != self._pid:
            check_usable(self.info.location, pid=self._pid, closed=self._closed)
        space = self._space
        entry = space.entries.get(key)  # one step of the interpreter: needs no lock
        if entry is None:
            return None
        value, generation, expires = entry
        left = None
        if expires is not None:
            now = self._clock()
            if expires <= now:
                return None
            left = _left(expires, now)
        space.recency.read(key)
        return Record(value, generation, left)

    def _put(self, key: bytes, value: Value, ttl: int | None, generation: int | None, timeout: float | None) -> None:
        with self._locked(timeout, write=True) as now:
            entry = self._expected(key, generation or None, now)
            if generation == 0 and entry is not None:
                raise KeyExists(f"there is a record {key!r} already")
            self._write(key, value, entry, _expires(ttl, now))

    def _delete(self, key: bytes, generation: int | None, timeout: float | None) -> bool:
        with self._locked(timeout, write=True) as now:
            found = self._expected(key, generation, now) is not None
            self._space.remove(key)
            return found

    def _touch(self, key: bytes, ttl: int | None, generation: int | None, timeout: float | None) -> bool:
        with self._locked(timeout, write=True) as now:
            entry = self._expected(key, generation, now)
            if entry is not None:
                self._write(key, entry.value, entry, _expires(ttl, now))
            return entry is not None

    def _increment(self, key: bytes, delta: int, timeout: float | None) -> int:
        with self._locked(timeout, write=True) as now:
            entry = self._space.live(key, now)
            if entry is None:
                raise KeyNotFound(f"there is no record {key!r} to increment")
            total = conditions.incremented(key, entry.value, delta)
            self._write(key, total, entry, entry.expires)
            return total

    def get_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Record]:
        arguments.check_keys(keys)
        records: dict[bytes, Record] = {}
        with self._locked(timeout) as now:
            for key in keys:
                if entry := self._space.live(key, now):
                    self._space.recency.read(key)
                    records[key] = Record(entry.value, entry.generation, _left(entry.expires, now))
        return records

    def _put_many(self, items: Mapping[bytes, Value], ttl: int | None, timeout: float | None) -> None:
        with self._locked(timeout, write=True) as now:
            expires = _expires(ttl, now)
            for key, value in items.items():
                self._write(key, value, self._space.live(key, now), expires)

    def delete_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> int:
        arguments.check_keys(keys)
        deleted = 0
        with self._locked(timeout, write=True) as now:
            for key in keys:
                deleted += self._space.live(key, now) is not None
                self._space.remove(key)
        return deleted

    def exists_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Meta]:
        arguments.check_keys(keys)
        metas: dict[bytes, Meta] = {}
        with self._locked(timeout) as now:
            for key in keys:
                if entry := self._space.live(key, now):
                    metas[key] = Meta(entry.generation, _left(entry.expires, now))
        return metas

    def _touch_many(self, items: Mapping[bytes, int | None], ttl: int | None, timeout: float | None) -> set[bytes]:
        touched: set[bytes] = set()
        with self._locked(timeout, write=True) as now:
            expires = _expires(ttl, now)
            for key, generation in items.items():
                entry = self._space.live(key, now)
                if entry is not None and generation in (None, entry.generation):
                    self._write(key, entry.value, entry, expires)
                    touched.add(key)
        return touched

    def scan(self, prefix: bytes = b"", *, timeout: float | None = None) -> Iterator[tuple[bytes, Meta]]:
        arguments.check_prefix(prefix)
        with self._locked(timeout):
            keys = list(self._space.entries)
        return self._scan((key for key in keys if key.startswith(prefix)), timeout)

    def fill(self, prefix: bytes = b"", *, timeout: float | None = None) -> Fill:
        arguments.check_prefix(prefix)
        with self._locked(timeout) as now:
            entries = list(self._space.entries.items())
        return Fill(
            sum(key.startswith(prefix) and (entry.expires is None or entry.expires > now) for key, entry in entries),
            len(entries),
            sum(len(key) + (len(entry.value) if isinstance(entry.value, bytes) else 8) for key, entry in entries),
        )

    def truncate(self, *, timeout: float | None = None) -> None:
        with self._locked(timeout):
            self._space.clear()

    def follow(self, start: bytes, length: int, *, like: bytes | None = None) -> None:
        """Know from now on which records are used whose keys begin with ``start``.

        They fall into groups by the first ``length`` bytes of their keys, for :meth:`evict`: as if they began with
        ``like``, which is as long as ``start``, if that is given.
        """
        with self._locked(None):
            if self._space.recency.follow(start, length, start if like is None else like):
                for key in self._space.entries:
                    self._space.recency.written(key)

    def evict(self, group: bytes, most: int, share: int) -> dict[bytes, Value]:
        """Remove records that were used longest ago, if there are more than ``most`` whose keys begin with ``group``.

        One of ``share`` is removed, all but the last if that is 0; returns them. See :meth:`follow`.
        """
        if self._space.recency.size(group) <= most:  # one step of the interpreter: needs no lock
            return {}
        with self._locked(None, write=True):
            surplus = {key: self._space.entries[key].value for key in self._space.recency.surplus(group, most, share)}
            for key in surplus:
                self._space.remove(key)
        return surplus

    def close(self) -> None:
        self._closed = True

    abandon = close

    @contextmanager
    def _locked(self, timeout: float | None, *, write: bool = False) -> Iterator[float]:
        """Hold the lock for one step; gives the time at which the step happens."""
        arguments.check_timeout(timeout)
        check_usable(self.info.location, pid=self._pid, closed=self._closed)
        lock = self._space.lock
        if not lock.acquire(timeout=min(DEFAULT_TIMEOUT if timeout is None else timeout, threading.TIMEOUT_MAX)):
            raise StoreBusy(f"{self.info.location}: other threads use the store for longer than the time allowed")
        try:
            now = self._clock()
            if write:
                self._space.purge(now)
            yield now
        finally:
            lock.release()

    def _expected(self, key: bytes, generation: int | None, now: float) -> _Entry | None:
        entry = self._space.live(key, now)
        conditions.check_generation(key, None if entry is None else entry.generation, generation)
        return entry

    def _write(self, key: bytes, value: Value, before: _Entry | None, expires: float | None) -> None:
        self._space.store(key, _Entry(value, 1 if before is None else before.generation + 1, expires))

    def _scan(self, keys: Iterator[bytes], timeout: float | None) -> Iterator[tuple[bytes, Meta]]:
        for batch in batches(keys, _SLICE):
            yield from self.exists_many(batch, timeout=timeout).items()


def _expires(ttl: int | None, now: float) -> float | None:
    return None if ttl is None else now + ttl


def _left(expires: float | None, now: float) -> int | None:
    """Whole seconds, rounded up; in whole microseconds before, lest a rounding error gives a second too many."""
    return None if expires is None else max(1, math.ceil(round(expires - now, 6)))
