"""Which revision a store had at a point in time, as far as that can be known.

No store says when a revision was made. But some values of the package say when they were written: published versions,
last loads and registrations of processes. Each gives a revision and a moment at which it was not there yet. Of loads,
and of versions in the history of a dataset, it is known as well that they were written soon after. (Not of others: a
process that has lost its lease registers anew with the time of its start.) So for a point in time there is a revision
that was there for certain, and one that was not yet: the truth is between them. Clocks of different hosts are taken to
agree.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, DATASETS, LOADS, PROCESSES
from django_etcdaero.exceptions import Compacted
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import KeyValue

from .key_reach import Reach

SLACK = 10.0
"""Seconds from the time in a value until the value was written, at most, where that is soon."""
_LATEST = 1e11
"""Seconds since the epoch that are a date: of the year 5138."""
MOST_BACK = 40
"""Earlier values that are looked at, of all keys together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """A revision, and when it was made."""

    revision: int
    at: float
    """Seconds since the epoch: not before."""
    soon: bool
    """Whether it was made within :data:`SLACK` after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The revisions that a store may have had at a point in time, both included."""

    first: int
    """It was there for certain; 0: nothing is known of so early a time."""
    last: int
    """The next one was not there yet."""
    since: float | None = None
    """When ``first`` was made, or some seconds before that."""
    until: float | None = None
    """The revision after ``last`` was made later than this; ``None``: there is none yet."""

    def chosen(self, reach: Reach) -> int:
        """Return the revision to look at: the one that was there for certain, and nothing later, where it is known."""
        return max(reach.oldest, self.first or self.last)


def dated_revisions(kv: KV, reach: Reach, *, timeout: float | None = None) -> list[Dated]:
    """Read what says when it was written, in the order of revisions. ``timeout``: seconds for each read.

    ``kv`` is the client of an alias, below its prefix. Bounded: of a key's earlier values a few are read. Raises what
    the store raises.
    """
    found: list[Dated] = []
    announced = kv.range(ANNOUNCEMENTS, prefix=True, limit=500, timeout=timeout).kvs
    loads = list(kv.range(LOADS, prefix=True, limit=500, timeout=timeout).kvs)
    _note(found, (*announced, *loads, *kv.range(PROCESSES, prefix=True, limit=500, timeout=timeout).kvs))
    for each in announced[:20]:
        history = DATASETS.encode() + each.key.removeprefix(ANNOUNCEMENTS.encode()) + b"/history/"
        _note(found, kv.range(history, prefix=True, limit=100, timeout=timeout).kvs)
    for _ in range(MOST_BACK):
        loads = [each for each in loads if each.version > 1 and each.mod_revision > reach.oldest]
        if not loads:
            break
        newest = max(loads, key=lambda each: each.mod_revision)
        loads.remove(newest)
        try:
            earlier = kv.get(newest.key, revision=newest.mod_revision - 1, timeout=timeout)
        except Compacted:
            continue
        if earlier is not None:
            loads.append(earlier)
            _note(found, [earlier])
    found.append(Dated(revision=reach.newest + 1, at=time.time(), soon=False))
    return sorted(found, key=lambda each: each.revision)


def span_at(moment: float, dated: Iterable[Dated], reach: Reach) -> Span | None:
    """Return which revisions the store may have had at ``moment`` (seconds since the epoch).

    ``None``: no readable one is known to be from before; the store may have been compacted since, or nothing in it
    says when it was written.
    """
    first, last, since, until = 0, reach.newest, None, None
    for each in dated:
        if each.soon and each.at + SLACK <= moment and first < each.revision <= reach.newest:
            first, since = each.revision, each.at
        elif each.at > moment and each.revision - 1 <= last:
            last, until = each.revision - 1, each.at
    if last < reach.oldest or (not first and until is None):
        return None
    if first < reach.oldest:
        first, since = 0, None
    if first > last:  # clocks that do not agree
        first, since = last, until
    return Span(first=first, last=last, since=since, until=until if last < reach.newest else None)


def _note(found: list[Dated], kvs: Iterable[KeyValue]) -> None:
    """Add what values say of the time of their own revision."""
    for each in kvs:
        try:
            value = json.loads(each.value)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            parts, soon = _times(each, value)
            if all(type(part) in (int, float) and 0 <= part < _LATEST for part in parts):
                found.append(Dated(revision=each.mod_revision, at=float(sum(parts)), soon=soon))


def _times(kv: KeyValue, value: dict[str, Any]) -> tuple[list[Any], bool]:
    """Return what adds up to the time in a value, and whether it was written soon after."""
    if kv.key.startswith(LOADS.encode()):
        noted = value.get("noted_after", 0)
        return [value.get("load_started"), noted], bool(noted)
    if kv.key.startswith(PROCESSES.encode()):
        return [value.get("started")], False
    # A rollback announces an old version once more; its entry in the history stays as it was written.
    return [value.get("published_at")], kv.version == 1 and b"/history/" in kv.key
