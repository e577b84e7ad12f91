"""Stamps: random bytes in records of their own that say which entries count.

The *generation* of a key prefix is part of the key of every record of its entries. A new one makes all of them
unreachable at once, without a look at any, also those that come back when a node of the store returns. A *tag*'s stamp
is written into each entry with the tag; an entry counts while its stamps are those of its tags. Stamps are random and
not counted, because a counter that the store has lost would begin again at a value that was there before. A stamp that
is missing is made anew, so what was written under the lost one is gone.

What was read is held for ``max_age`` seconds: so long other processes may go on with what was cleared. Deletions and
``add()`` look at the generation that there is now.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from django_etcdaero.exceptions import KeyExists, StoreFull
from django_etcdaero.records.arguments import MAX_TTL
from django_etcdaero.records.store import RecordStore
from django_etcdaero.system.clocks import monotonic

from .envelope import STAMP_BYTES

MAX_HELD: Final = 20_000
"""Stamps that are held at most; then all are forgotten and read again as they are needed."""


class _Held(NamedTuple):
    stamp: bytes
    until: float
    """By the clock of :class:`Stamps`: when to read it again."""
    lives_until: float
    """When the store forgets it, unless it is touched."""


class Stamps:
    """The stamps of one place, as this process knows them. Names are the keys of their records."""

    def __init__(self, store: Callable[[], RecordStore], *, clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._clock = clock
        self._held: dict[bytes, _Held] = {}
        self._forgotten = 0
        """How often others have changed stamps: what was read meanwhile is used, but not held."""

    def generation(self, name: bytes, max_age: float) -> bytes:
        """Return the generation of a key prefix, made now if there is none. Raises what the store raises."""
        held = self._held.get(name)
        if held is not None and self._clock() < held.until:
            return held.stamp
        return self._read((name,), max_age, create=True)[name]

    def generation_now(self, name: bytes, max_age: float) -> bytes:
        """Return what :meth:`generation` does, as it is in the store now."""
        return self._read((name,), max_age, create=True)[name]

    def held(self, name: bytes) -> bytes | None:
        """Return a stamp that need not be read now."""
        held = self._held.get(name)
        return held.stamp if held is not None and self._clock() < held.until else None

    def tags(self, names: Collection[bytes], max_age: float) -> dict[bytes, bytes]:
        """Return the stamps of those tags that have one."""
        now = self._clock()
        found = {name: held.stamp for name in names if (held := self._held.get(name)) is not None and now < held.until}
        if missing := [name for name in names if name not in found]:
            found |= self._read(missing, max_age, create=False)
        return found

    def tags_for_writing(self, names: Collection[bytes], max_age: float, *, ttl: int | None) -> dict[bytes, bytes]:
        """Return the stamps of all ``names``, made where there is none, and living for ``ttl`` seconds at least."""
        found = self.tags(names, max_age)
        lacking = [name for name in names if name not in found]
        for name in lacking:
            found[name] = self._create(name, ttl, max_age)
        needed = float("inf") if ttl is None else self._clock() + ttl
        short = [name for name in names if (held := self._held.get(name)) is not None and held.lives_until < needed]
        if short:
            longer = None if ttl is None else min(2 * ttl, MAX_TTL)
            touched = self._store().touch_many(dict.fromkeys(short), longer)
            for name in short:
                if name not in touched:  # it has expired meanwhile
                    found[name] = self._create(name, longer, max_age)
                else:
                    self._hold(name, found[name], longer, max_age)
        return found

    def renew(self, name: bytes, max_age: float) -> None:
        """Begin a new generation, so that no entry of before counts. Raises what the store raises."""
        self._replace((name,), None, max_age)

    def invalidate(self, names: Collection[bytes], max_age: float) -> None:
        """Give new stamps to tags. One that the store does not have needs none: no entry with it counts."""
        for name in names:
            self._held.pop(name, None)
        present = self._store().exists_many(names)
        if present:
            lives = [meta.ttl for meta in present.values()]
            known = [ttl for ttl in lives if ttl is not None]
            try:
                self._replace(present, max(known) if len(known) == len(lives) else None, max_age)
            except StoreFull:  # no stamp is as good as another one
                self._store().delete_many(present)
                self.forget_some(present)

    def _replace(self, names: Iterable[bytes], ttl: int | None, max_age: float) -> None:
        stamps = {name: os.urandom(STAMP_BYTES) for name in names}
        self._store().put_many(stamps, ttl=ttl)
        self.forget_some(stamps)  # also what other threads are just reading
        for name, stamp in stamps.items():
            self._hold(name, stamp, ttl, max_age)

    def forget(self) -> None:
        """Read all stamps again when they are needed."""
        self._forgotten += 1
        self._held = {}

    def forget_some(self, names: Iterable[bytes]) -> None:
        """Read these stamps again when they are needed."""
        self._forgotten += 1
        for name in names:
            self._held.pop(name, None)

    def _read(self, names: Collection[bytes], max_age: float, *, create: bool) -> dict[bytes, bytes]:
        store, forgotten = self._store(), self._forgotten
        records = store.get_many(names)
        found: dict[bytes, bytes] = {}
        for name in names:
            record = records.get(name)
            if record is not None and isinstance(record.value, bytes) and len(record.value) == STAMP_BYTES:
                found[name] = record.value
                if forgotten == self._forgotten:
                    self._hold(name, record.value, record.ttl, max_age)
            elif create:
                found[name] = self._create(name, None, max_age)
            else:
                self._held.pop(name, None)
        return found

    def _create(self, name: bytes, ttl: int | None, max_age: float) -> bytes:
        stamp = os.urandom(STAMP_BYTES)
        try:
            self._store().put(name, stamp, ttl=ttl, create_only=True)
        except KeyExists:  # another process was first
            record = self._store().get(name)
            if record is not None and isinstance(record.value, bytes) and len(record.value) == STAMP_BYTES:
                self._hold(name, record.value, record.ttl, max_age)
                return record.value
            self._store().put(name, stamp, ttl=ttl)  # what stood there was no stamp
        self._hold(name, stamp, ttl, max_age)
        return stamp

    def _hold(self, name: bytes, stamp: bytes, ttl: int | None, max_age: float) -> None:
        if len(self._held) >= MAX_HELD:
            self._held = {}
        now = self._clock()
        self._held[name] = _Held(stamp, now + max_age, float("inf") if ttl is None else now + ttl)
