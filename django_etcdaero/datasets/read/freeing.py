"""Freeing what only an old version has, bit by bit.

What many objects hang on is freed in one step of the interpreter when it is let go, and no other thread runs for as
long. So everything that is large is taken out of what held it first, and then emptied. That waits for a moment: all
processes of a host take a new version into use at the same time, and none should wait because another one tidies up.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django_etcdaero.datasets.blocks.assembly import Assembled
from django_etcdaero.datasets.blocks.held import Sharded
from django_etcdaero.datasets.blocks.held_freeing import free_rows
from django_etcdaero.datasets.snapshot import Snapshot, mappings_of
from django_etcdaero.system.clocks import monotonic

if TYPE_CHECKING:
    from django_etcdaero.datasets.mapped.versions import MappedVersion

MOST_ENTRIES = 10_000
"""Entries, and what they hold, that may be dropped at once: some milliseconds in which no other thread runs."""


AFTER = 0.25
"""Seconds that what an old version has left stays, at least; twice as many at most."""


class Leftovers:
    """What old versions have left."""

    def __init__(self) -> None:
        self._things: list[Mapping[Any, Any] | list[Any]] = []
        self._rows: Mapping[Any, Any] = {}
        self._due = math.inf

    def add(self, things: list[Mapping[Any, Any] | list[Any]], rows: Mapping[Any, Any]) -> None:
        """Take things that nobody holds but those who read the old version; free them now if they are few.

        ``rows``: those of the new version, which may still stand on those of the old one.
        """
        self._things += things
        self._rows = rows
        if sum(map(len, self._things)) <= MOST_ENTRIES:
            self.free()
        else:
            self._due = monotonic() + AFTER * random.uniform(1, 2)

    def tend(self) -> float:
        """Free them if their time has come; return when to call this again, on the monotonic clock."""
        if monotonic() >= self._due:
            self.free()
        return self._due

    def free(self) -> None:
        """Free them now."""
        self._due = math.inf
        if isinstance(self._rows, Sharded):
            self._rows.settle()
        self._rows = {}
        free(self._things)


def taken_out(
    snapshot: Snapshot[Any, Any] | None,
    before: Assembled | MappedVersion | None,
    after: Assembled | MappedVersion,
) -> list[Mapping[Any, Any] | list[Any]]:
    """Return what the snapshot and the version before have that ``after`` does not: to be freed once they are gone."""
    found: list[Mapping[Any, Any] | list[Any]] = [] if snapshot is None else [*mappings_of(snapshot)]
    if before is not None and not isinstance(before, Assembled):
        before.release(None if isinstance(after, Assembled) else after)
    elif before is not None and isinstance(after, Assembled):
        old, new = before.manifest, after.manifest
        found += [before.keys] if before.keys is not after.keys else []
        if not (before.by_deltas and after.by_deltas and before.by_deltas[0] is after.by_deltas[0]):
            found += before.by_deltas
        found += [list(old.blocks), list(old.sizes)] if old.blocks is not new.blocks else []
    return found


def free(things: list[Mapping[Any, Any] | list[Any]]) -> None:
    """Free things that nobody else holds; the list is empty then. Those that somebody holds are let alone."""
    if sum(map(len, things)) <= MOST_ENTRIES:
        things.clear()
    for _ in range(len(things)):
        each = things.pop(0)
        free_rows(each)
