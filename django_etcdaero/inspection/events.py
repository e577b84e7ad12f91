"""What has happened to the keys under a prefix since a revision, from the store's history: for pages that are asked
again and again, and keep nothing in between.

No store says when a watch on history has caught up. So an answer ends when an event of the newest revision has come, or
nothing has for :data:`QUIET` seconds and the keys that there are do not show that something must still come. While they
show it when the time is over, the answer says that there is more. Only keys that have come and gone in between leave no
trace; so whoever asks on goes on after the last event that came (``seen``), and has the store look from a revision that
is older by at least :data:`OVERLAP` seconds (``since``): such an event would be missed only if a healthy watch came so
late. No answer goes back more than :data:`MOST_BACK` revisions: all watches of a process share a thread, which would be
busy with a long history for seconds.

Where events are missing there is a :class:`Gap`, and never silence: history was compacted or is too long, the store was
replaced, or there were too many at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from django_etcdaero.exceptions import Cancelled, Compacted, PermissionDenied
from django_etcdaero.keyvalue.client.open_watches import Followed, Use
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.keys import prefix_end
from django_etcdaero.keyvalue.values import Event, WatchBatch, WatchLost, WatchRequest
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Condition
from django_etcdaero.system.steps import drive

from .key_reach import oldest_readable

MOST_BACK = 10_000
"""Revisions that an answer goes back."""
MOST_EVENTS = 200
"""Events of one answer."""
QUIET = 0.5
"""Seconds without an event after which an answer ends."""
LONGEST = 2.0
"""Seconds that an answer waits for events altogether, unless the caller has other patience."""
OVERLAP = 30.0
"""Seconds by which ``since`` is to be older than the answer before."""


class Reason(Enum):
    """Why events are missing."""

    COMPACTED = "compacted"
    RESET = "reset"
    TOO_FAR = "too far"
    TOO_MANY = "too many"


@dataclass(frozen=True, slots=True)
class Gap:
    """Stands for events that are missing: those after the revision ``after``, up to ``until``."""

    reason: Reason
    after: int
    until: int


@dataclass(frozen=True, slots=True)
class Happened:
    """What has happened."""

    events: tuple[Event, ...]
    """In their order; those of one revision are together."""
    gap: Gap | None
    """What is missing: before the events, unless there are too many, then after them."""
    revision: int
    """Of the store, when it was asked."""
    seen: int
    """Up to which revision events were told, at least: to be given when it is asked again."""
    more: bool
    """Whether there are more events: then nothing after ``seen`` may be taken for known."""


def happened(
    kv: KV, prefix: bytes, *, since: int, seen: int = 0, most: int = MOST_EVENTS, longest: float = LONGEST
) -> Happened:
    """Return what has happened under ``prefix`` after the revisions ``since`` and ``seen``.

    ``since`` 0: nothing, only the revision from which on to ask. Waits for ``longest`` seconds at most, besides the
    calls to the store. Raises what the store raises, and ``PermissionDenied`` where it refuses the watch.
    """
    revision = kv.range(prefix, prefix=True, limit=1, keys_only=True).revision
    if since <= 0:
        return Happened((), None, revision, revision, more=False)
    seen = max(since, seen)
    if seen > revision:
        return Happened((), Gap(Reason.RESET, seen, revision), revision, revision, more=False)
    if seen == revision:
        return Happened((), None, revision, seen, more=False)
    gap = None
    first = min(revision, oldest_readable(kv, revision, wanted=since + 1))
    if first > seen + 1:
        gap = Gap(Reason.COMPACTED, seen, first - 1)
        seen = gap.until
    back = revision - MOST_BACK
    if first <= back:
        if seen < back:
            if gap is not None or _owed(kv, prefix, seen, back):
                gap = Gap(Reason.TOO_FAR, gap.after if gap else seen, back)
            seen = back
        first = back + 1
    try:
        events, owed = _collect(kv, prefix, first, after=seen, until=revision, most=most, longest=longest)
    except Compacted:  # just now
        return Happened((), Gap(Reason.COMPACTED, seen, revision), revision, revision, more=False)
    found = _cut(events, gap, revision, seen, most)
    return replace(found, more=True) if owed else found


def _owed(kv: KV, prefix: bytes, after: int, revision: int) -> bool:
    """Tell whether there must be events of the revisions after ``after``: keys that have changed, or are no more.

    Those that have come and gone in between leave no trace.
    """
    try:
        numbers = [kv.range(prefix, prefix=True, count_only=True, revision=each).count for each in (after, revision)]
    except Compacted:
        numbers = [0, 0]
    if numbers[0] != numbers[1]:
        return True
    changed = kv.range(prefix, prefix=True, min_mod_revision=after + 1, limit=1, keys_only=True, revision=revision)
    return bool(changed.kvs)


class _Collecting:
    """The sink of a watch."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.batches: list[WatchBatch] = []

    def __call__(self, batch: WatchBatch) -> None:
        with self.changed:
            self.batches.append(batch)
            self.changed.notify_all()


def _collect(
    kv: KV, prefix: bytes, first: int, *, after: int, until: int, most: int, longest: float
) -> tuple[list[Event], bool]:
    """Return the events after the revision ``after``, and whether some must still come."""
    sink = _Collecting()
    request = WatchRequest(prefix, prefix_end(prefix), start_revision=first)
    handle = drive(kv.start_watch(request, sink, Followed(Use.CHANGE), timeout=None))
    limit = monotonic() + longest
    found: list[Event] = []
    try:
        while len(found) <= most:
            with sink.changed:
                sink.changed.wait_for(lambda: sink.batches, QUIET)
                batches, sink.batches = sink.batches, []
            if not batches:
                if not _owed(kv, prefix, found[-1].kv.mod_revision if found else after, until):
                    break
                if monotonic() >= limit:
                    return found, True
                continue
            for batch in batches:
                found += (kv.keyspace.inward_event(each) for each in batch.events if each.kv.mod_revision > after)
                if batch.lost is WatchLost.REFUSED:
                    raise PermissionDenied(f"the store refused to watch {prefix!r}")
                if batch.lost is WatchLost.COMPACTED:
                    raise Compacted(f"history that the watch on {prefix!r} needs was compacted", batch.compact_revision)
                if batch.lost is not None:
                    raise Cancelled(f"the watch on {prefix!r} was lost: {batch.lost.value}")
            newest = batches[-1].events[-1].kv.mod_revision if batches[-1].events else batches[-1].revision
            if newest >= until:
                break
    finally:
        handle.cancel()
    return found, False


def _cut(events: Sequence[Event], gap: Gap | None, revision: int, seen: int, most: int) -> Happened:
    """Return at most so many events, whole revisions if there are several."""
    if len(events) <= most:
        last = events[-1].kv.mod_revision if events else seen
        return Happened(tuple(events), gap, revision, max(last, seen), more=False)
    first_left_out = events[most].kv.mod_revision
    whole = tuple(each for each in events[:most] if each.kv.mod_revision < first_left_out)
    if whole:
        return Happened(whole, gap, revision, whole[-1].kv.mod_revision, more=True)
    gap = Gap(Reason.TOO_MANY, first_left_out - 1, first_left_out)
    return Happened(tuple(events[:most]), gap, revision, first_left_out, more=True)
