"""Making the rows of one version beside those of another (:mod:`.held`), a slice at a time."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from django_etcdaero.system.giving_way import GivingWay
from django_etcdaero.system.native_types import untrack

from .held import FEWEST, MOST, SLICE, SMALL, Sharded, per_shard

K = TypeVar("K")
V = TypeVar("V")

COPIES: Final = 32
"""Shards that are copied before others get their turn."""
GROUPS: Final = 256
"""Groups of neighbouring shards in which rows wait that are put into new shards: the shards of one group fit into the
processor's caches, all of them do not, and a row that is put at once waits for memory most of the time."""
MOST_WAITING: Final = GROUPS * 2048
"""Rows that wait."""


class Making:
    """New rows beside those of ``before``, which stay what they are: call :meth:`drop` and :meth:`put`, then
    :meth:`done`.

    ``size`` is how many there will be, more or less: it decides whether they are in one dictionary. Rows that are
    neither dropped nor put are the same objects in both. Keys that are equal stay those of ``before``, unless they were
    dropped first.
    """

    def __init__(self, before: Mapping[Any, Any] | None, size: int) -> None:
        if isinstance(before, Sharded):
            before.settle()
        self._give_way = GivingWay()
        self._rows: dict[Any, Any] | None = None
        self._shards: list[dict[Any, Any]] = []
        self._before = before
        self._owned: dict[int, int] | None = None
        """The shards that are copies already, with what they had in them; ``None``: all are new."""
        self._untracked = True
        self._waiting: list[list[Any]] = []
        """By group of shards: keys, each with its row behind it."""
        self._waits = 0
        """How many rows wait."""
        if isinstance(before, Sharded):
            if size <= SMALL // 2:
                self._rows = {}
            elif keeps_shards(before, size):
                self._owned = {}
                for first in range(0, before._number, SMALL):
                    self._shards += before._shards[first : first + SMALL]
                    self._give_way()
                self._untracked = before._untracked
                self._number = before._number
                return
        elif size <= SMALL and (before is None or len(before) <= SMALL):
            self._rows = {} if before is None else dict(before)
            return
        if self._rows is None:
            self._spread(size)
        self._put_all(before or {})

    def _spread(self, size: int) -> None:
        """Go on with shards for so many rows."""
        self._rows = None
        self._number = _prime(size // per_shard(size))
        for first in range(0, self._number, SLICE):
            self._shards += ({} for _ in range(first, min(first + SLICE, self._number)))
            self._give_way()
        self._in_group = -(-self._number // GROUPS)
        self._waiting = [[] for _ in range(GROUPS)]
        for each in self._waiting:
            untrack(each)

    def _put_all(self, rows: Mapping[Any, Any]) -> None:
        keys, values = iter(rows), iter(rows.values())
        while some := list(islice(keys, SLICE)):
            self.put(some, list(islice(values, SLICE)))

    def put(self, keys: Sequence[Any], rows: Sequence[Any]) -> None:
        """Add or replace rows: at most some thousands at once. ``rows[i]`` belongs to ``keys[i]``."""
        if self._rows is not None:
            self._rows.update(zip(keys, rows, strict=True))
        elif self._owned is None:
            waiting, number, in_group = self._waiting, self._number, self._in_group
            for key, row in zip(keys, rows, strict=True):
                group = waiting[hash(key) % number // in_group]
                group.append(key)
                group.append(row)
            self._waits += len(keys)
        else:
            shards, number = self._shards, self._number
            touched = [hash(key) % number for key in keys]
            for count, at in enumerate(touched):
                self._own(at)
                if count % COPIES == 0:
                    self._give_way()
            for at, key, row in zip(touched, keys, rows, strict=True):
                shards[at][key] = row
        self._untracked = self._untracked and _stand_alone(keys, rows)
        if self._waits >= MOST_WAITING:
            self._put_waiting()
        self._give_way()

    def _put_waiting(self) -> None:
        """Put the rows that wait into their shards."""
        if not self._waits:
            return
        self._waits = 0
        shards, number, in_group = self._shards, self._number, self._in_group
        for at, group in enumerate(self._waiting):
            for begin in range(0, len(group), 2 * SLICE):
                some = group[begin : begin + 2 * SLICE]
                for key, row in zip(some[::2], some[1::2], strict=True):
                    shards[hash(key) % number][key] = row
                self._give_way()
            group.clear()
            if self._untracked:
                for shard in shards[at * in_group : (at + 1) * in_group]:
                    untrack(shard)  # at once: the collector walks through what it knows, new ones first
            self._give_way()

    def set(self, key: Any, row: Any) -> None:
        """Add or replace one row: sooner done than by :meth:`put`. Then :meth:`look_at` what was added."""
        if self._rows is not None:
            self._rows[key] = row
            return
        self._put_waiting()
        at = hash(key) % self._number
        (self._shards[at] if self._owned is None else self._own(at))[key] = row

    def look_at(self, keys: Sequence[Any], rows: Sequence[Any]) -> None:
        """Take notice of rows that were added by :meth:`set`."""
        self._untracked = self._untracked and _stand_alone(keys, rows)
        self._give_way()

    def drop(self, keys: Iterable[Any]) -> None:
        """Remove rows, at most some thousands at once; those that are not there are none."""
        self._put_waiting()
        for number, key in enumerate(keys):
            if self._rows is not None:
                self._rows.pop(key, None)
                continue
            at = hash(key) % self._number
            if key in self._shards[at]:
                del self._own(at)[key]
            if number % COPIES == 0:
                self._give_way()
        self._give_way()

    def get(self, key: Any, default: Any = None) -> Any:
        """Return what is there by now."""
        self._put_waiting()
        return (self._shards[hash(key) % self._number] if self._rows is None else self._rows).get(key, default)

    def done(self) -> Mapping[Any, Any]:
        """Return the new rows."""
        if self._rows is not None:
            return self._rows
        self._put_waiting()
        shards, before = self._shards, self._before
        if self._owned is not None and isinstance(before, Sharded):
            touched: Iterable[int] = self._owned
            before._replaced = self._owned.keys()
            count = before._count
            for number, (at, size) in enumerate(self._owned.items()):
                count += len(shards[at]) - size
                if number % SLICE == 0:
                    self._give_way()
        else:
            touched, count = range(len(shards)), 0
            for first in range(0, len(shards), SLICE):
                count += sum(map(len, shards[first : first + SLICE]))
                self._give_way()
        if self._untracked:
            for number, at in enumerate(touched):
                untrack(shards[at])
                if number % SLICE == 0:
                    self._give_way()
            untrack(shards)
        return Sharded(shards, count, untracked=self._untracked)

    def _own(self, at: int) -> dict[Any, Any]:
        shard = self._shards[at]
        if self._owned is not None and at not in self._owned:
            self._owned[at] = len(shard)
            shard = self._shards[at] = shard.copy()
        return shard


def keeps_shards(rows: Sharded[Any, Any], size: int) -> bool:
    """Tell whether so many rows are in as many shards as these are."""
    return size > SMALL // 2 and FEWEST <= size / (rows._number * per_shard(size)) <= MOST


def changed(
    rows: Mapping[K, V], upserts: Mapping[K, V], deletions: Collection[K], *, size: int | None = None
) -> Mapping[K, V]:
    """Return ``rows`` without ``deletions`` and with ``upserts``, which replace what has their keys. ``rows`` stays.

    ``size``: how many there will be, if that is known.
    """
    change = Making(rows, max(0, len(rows) + len(upserts) - len(deletions)) if size is None else size)
    change.drop(deletions)
    for keys in _sliced(upserts):
        change.put(keys, [upserts[key] for key in keys])
    return change.done()


def _sliced(keys: Iterable[K]) -> Iterator[list[K]]:
    each = iter(keys)
    while some := list(islice(each, SLICE)):
        yield some


def _stand_alone(keys: Sequence[Any], rows: Sequence[Any]) -> bool:
    """Tell whether nothing here can be part of a cycle: the collector does not know it, and it cannot be changed.

    Ordinary dicts of scalars are not known to it either, until somebody puts something else in. Tuples are known to it
    until it looks at them; those in keys hold what can be a key.
    """
    if dict in set(map(type, rows)) or any(map(gc.is_tracked, rows)):
        return False
    return not any(map(gc.is_tracked, keys)) or all(type(key) is tuple or not gc.is_tracked(key) for key in keys)


def _prime(number: int) -> int:
    """Return the first prime number from ``number`` on."""
    number = max(3, number | 1)
    while any(number % divisor == 0 for divisor in range(3, int(number**0.5) + 1, 2)):
        number += 2
    return number
