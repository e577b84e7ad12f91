"""Deletions of the past, as a watch delivers them, and when it has delivered all of them.

An embedded engine marks it when a watch has caught up. An etcd server does not, so it is found out by a second watch,
on a key whose last change is known. The server takes the watches that lag behind one pass at a time, all of them
together (up to 512). The second one is asked for after the first, so when its event arrives a whole pass is over: if
the first one was sent nothing in it, and nothing right after, there is nothing left to send.
"""

from __future__ import annotations

import queue

from django_etcdaero.exceptions import Compacted, DeadlineExceeded, EtcdAeroError, PermissionDenied
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.ops import watch
from django_etcdaero.keyvalue.values import Event, PromptSink, WatchBatch, WatchLost
from django_etcdaero.system.clocks import monotonic

GRACE = 0.15
"""Seconds in which what was sent in the same pass has arrived."""
MOST_EVENTS = 100_000
_CANDIDATES = 100


def past_deletions(kv: KV, key: bytes, start: int, *, prefix: bool, until: float) -> tuple[list[Event], bool]:
    """Return the deletions of a key, or of all with this beginning, from revision ``start`` on; and whether all came.

    They may not if it takes until ``until`` (by :func:`~django_etcdaero.system.clocks.monotonic`), if there are more
    than :data:`MOST_EVENTS`, or if on an etcd server no key was changed since ``start``. Raises what the store raises.
    """
    engine = kv.open_engine()
    sink = _Sink()
    request = watch(key, prefix=prefix, start_revision=start, no_put=True, progress_notify=True)
    found: list[Event] = []
    try:
        handle = engine.watch(kv.keyspace.outward(request), sink, timeout=max(0.1, until - monotonic()))
    except DeadlineExceeded:
        return found, False
    try:
        if engine.marks_caught_up:
            complete = _up_to_the_mark(kv, sink, found, until)
        else:
            complete = _pass_by_pass(kv, sink, found, start, until)
    finally:
        handle.cancel()
    return found, complete and len(found) < MOST_EVENTS


def _up_to_the_mark(kv: KV, sink: _Sink, found: list[Event], until: float) -> bool:
    while len(found) < MOST_EVENTS:
        batch = sink.next(until - monotonic())
        if batch is None:
            return False
        if not batch.events:
            return True
        found += map(kv.keyspace.inward_event, batch.events)
    return False


def _pass_by_pass(kv: KV, sink: _Sink, found: list[Event], start: int, until: float) -> bool:
    keys = kv.range("", prefix=True, limit=_CANDIDATES, keys_only=True, timeout=max(0.1, until - monotonic())).kvs
    newest = max(keys, key=lambda each: each.mod_revision, default=None)
    if newest is None or newest.mod_revision < start:
        while (batch := sink.next(until - monotonic())) is not None and len(found) < MOST_EVENTS:
            found += map(kv.keyspace.inward_event, batch.events)
        return False
    second = watch(newest.key, start_revision=newest.mod_revision)
    while len(found) < MOST_EVENTS:
        passed = _Sink()
        try:
            handle = kv.open_engine().watch(kv.keyspace.outward(second), passed, timeout=max(0.1, until - monotonic()))
        except DeadlineExceeded:
            return False
        try:
            over = passed.next(until - monotonic()) is not None
        finally:
            handle.cancel()
        sent = 0
        while (batch := sink.next(min(GRACE, until - monotonic()))) is not None:
            sent += len(batch.events)
            found += map(kv.keyspace.inward_event, batch.events)
        if not over or monotonic() > until:
            return False
        if not sent:
            return True
    return False


class _Sink(PromptSink):
    """Keeps what a watch delivers until it is asked for."""

    def __init__(self) -> None:
        self._batches: queue.SimpleQueue[WatchBatch] = queue.SimpleQueue()

    def __call__(self, batch: WatchBatch) -> None:
        self._batches.put(batch)

    def next(self, seconds: float) -> WatchBatch | None:
        """Return the next batch, ``None`` if there is none in so many seconds. Raises why the watch ended."""
        try:
            batch = self._batches.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if batch.lost is not None:
            raise _error(batch.lost, batch.compact_revision)
        return batch


def _error(lost: WatchLost, compact_revision: int) -> EtcdAeroError:
    if lost is WatchLost.REFUSED:
        return PermissionDenied("the store refused to tell what was deleted")
    return Compacted(f"the history could not be read to its end ({lost.value})", compact_revision)
