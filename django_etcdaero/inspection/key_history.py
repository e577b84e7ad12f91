"""What a key was before, and keys that are no more, as far as the history of the store reaches.

The versions of a key in one life, from its creation to now or to its deletion, are read backwards: each says with its
mod revision where the one before ends. Where lives ended is known from the deletions, which a watch from the oldest
readable revision delivers without the values. A deleted key is read as of the revision before.

A store does not say when it has sent all there is of the past: deletions are complete as far as the store has sent them
until nothing came for a while.
"""

from __future__ import annotations

import queue
from collections import OrderedDict
from dataclasses import dataclass

from django_etcdaero.exceptions import Compacted, PermissionDenied
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.txn import watch
from django_etcdaero.keyvalue.values import KeyValue, PromptSink, WatchBatch, WatchLost
from django_etcdaero.system.clocks import monotonic

from .key_levels import exist
from .key_reach import Reach

QUIET = 0.4
"""Seconds without a further event after which a watch of the past has sent what there is: an etcd server looks every
0.1 seconds for watches that lag behind."""
MOST_DELETIONS = 2_000
"""Deleted keys that are remembered; of more, the oldest deletions are left out."""
MOST_EVENTS = 200_000
"""Deletions that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A key as it was from ``kv.mod_revision`` until something replaced or deleted it."""

    kv: KeyValue
    until: int | None
    """The revision that replaced or deleted it; ``None``: it is there now."""
    deleted: bool = False
    """Whether it was a deletion that ended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Versions of a key, the newest first."""

    found: list[Version]
    more: int
    """As of which revision to go on reading; 0: these are all that can be read."""
    compacted: bool = False
    """Whether there were earlier ones that cannot be read any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A key was deleted, and is not there now."""

    key: bytes
    revision: int
    """Of the deletion. The key can be read as of the revision before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletions:
    """Which keys were deleted, the newest deletion first."""

    found: list[Deletion]
    complete: bool
    """Whether it is all that the store has sent; else there were too many, or the time was over."""


def versions(
    kv: KV, key: bytes, reach: Reach, *, before: int = 0, limit: int = 20, timeout: float | None = None
) -> Versions:
    """Read the versions of a key backwards, at most ``limit`` of them.

    ``before``: the revision as of which to begin (a :attr:`Versions.more`); 0: now. Reads end at the creation of the
    key; with ``before`` set to the revision before a deletion they tell of an earlier life. ``timeout``: seconds for
    each read. Raises what the store raises.
    """
    found: list[Version] = []
    at, until, deleted = before, None, False
    if 0 < before < reach.newest:
        until = before + 1
        deleted = until >= reach.oldest and kv.get(key, revision=until, timeout=timeout) is None
    while len(found) < limit:
        try:
            each = kv.get(key, revision=at, timeout=timeout)
        except Compacted:
            return Versions(found=found, more=0, compacted=True)
        if each is None:
            return Versions(found=found, more=0)
        found.append(Version(kv=each, until=until, deleted=deleted))
        if each.version == 1:
            return Versions(found=found, more=0)
        at, until, deleted = each.mod_revision - 1, each.mod_revision, False
        if at < reach.oldest:
            return Versions(found=found, more=0, compacted=True)
    return Versions(found=found, more=at)


def deletions(kv: KV, key: bytes, reach: Reach, *, prefix: bool, seconds: float = 2.0) -> Deletions:
    """Return all deletions of a key, or the last one of each key with this beginning that is not there now.

    Takes ``seconds`` seconds at most, and one call of up to 128 keys for each so many that were deleted. Raises what
    the store raises; ``Compacted`` if history was compacted meanwhile.
    """
    sink = _Sink()
    request = watch(key, prefix=prefix, start_revision=reach.oldest + 1, no_put=True)
    until = monotonic() + seconds
    handle = kv.open_engine().watch(kv.keyspace.outward(request), sink, timeout=seconds)
    try:
        latest, complete = _collected(sink, kv, until=until, by_key=prefix)
    finally:
        handle.cancel()
    gone = sorted(latest.values(), key=lambda each: -each.revision)
    if prefix:
        there: set[bytes] = set()
        for begin in range(0, len(gone), 128):
            there |= exist(kv, [each.key for each in gone[begin : begin + 128]], timeout=seconds)
        gone = [each for each in gone if each.key not in there]
    return Deletions(found=gone, complete=complete)


def _collected(sink: _Sink, kv: KV, *, until: float, by_key: bool) -> tuple[OrderedDict[object, Deletion], bool]:
    latest: OrderedDict[object, Deletion] = OrderedDict()
    complete, seen = True, 0
    while True:
        left = until - monotonic()
        try:
            batch = sink.batches.get(timeout=max(0.0, min(QUIET, left)))
        except queue.Empty:
            return latest, complete and left > QUIET
        if batch.lost is not None:
            raise _error(batch.lost)
        for event in batch.events:
            key, seen = kv.keyspace.inward_event(event).kv.key, seen + 1
            known = key if by_key else event.kv.mod_revision
            latest[known] = Deletion(key=key, revision=event.kv.mod_revision)
            latest.move_to_end(known)
            if len(latest) > MOST_DELETIONS:
                latest.popitem(last=False)
                complete = False
        if seen >= MOST_EVENTS or left <= 0:
            return latest, False


def _error(lost: WatchLost) -> Exception:
    if lost is WatchLost.REFUSED:
        return PermissionDenied("the store refused to tell what was deleted")
    return Compacted(f"the history could not be read to its end ({lost.value})")


class _Sink(PromptSink):
    """Keeps what a watch delivers until it is asked for."""

    def __init__(self) -> None:
        self.batches: queue.SimpleQueue[WatchBatch] = queue.SimpleQueue()

    def __call__(self, batch: WatchBatch) -> None:
        self.batches.put(batch)
