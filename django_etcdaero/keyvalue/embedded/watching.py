"""One watch: what it wants, how far it has got, and how its batches reach their sink."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from django_etcdaero.keyvalue.values import (
    Event,
    EventType,
    WatchBatch,
    WatchHandle,
    WatchLost,
    WatchRequest,
    WatchSink,
)
from django_etcdaero.system.sqlite.identity import Identity

from .changes import Change

_log = logging.getLogger("django_etcdaero.kv")

_CANCEL_TIMEOUT = 1.0
"""Seconds that cancel() waits for a sink that does not return: it may itself wait for the caller of cancel()."""


class EmbeddedWatch(WatchHandle):
    """A running watch; its hub alone moves it forward and calls its sink."""

    __slots__ = (
        "_ended",
        "_lock",
        "_sink",
        "identity",
        "key",
        "next_revision",
        "progress_notify",
        "quiet",
        "range_end",
        "refused",
        "request",
        "seen_revision",
    )

    def __init__(self, request: WatchRequest, sink: WatchSink, seen_revision: int, identity: Identity | None) -> None:
        self.request = request
        self.key = request.key or b"\0"
        self.range_end = request.range_end
        self.refused = self.range_end not in (b"", b"\0") and self.range_end <= self.key
        self.seen_revision = seen_revision
        """The store's revision when the watch was asked for."""
        self.identity = identity
        """The file that it was asked of."""
        self.next_revision = request.start_revision if request.start_revision > 0 else seen_revision + 1
        """First revision not delivered yet."""
        self.quiet = True
        """Nothing was delivered since the last progress mark."""
        self._sink = sink
        self._ended = False
        # Held while the sink is called. Reentrant, because the sink may cancel its own watch.
        self._lock = threading.RLock()

    @property
    def ended(self) -> bool:
        """Nothing is delivered any more."""
        return self._ended

    def cancel(self) -> None:
        """End the watch, after the call of its sink that may be under way (and which is given a second)."""
        self._ended = True
        if self._lock.acquire(timeout=_CANCEL_TIMEOUT):
            self._lock.release()

    def wants(self, key: bytes) -> bool:
        """Tell whether ``key`` is in the range of the watch."""
        if not self.range_end:
            return key == self.key
        return key >= self.key and (self.range_end == b"\0" or key < self.range_end)

    def advance(self, changes: Sequence[Change], upto: int) -> None:
        """Deliver the changes of its range from its next revision on; it has then got as far as ``upto``."""
        request, start = self.request, self.next_revision
        events: list[Event] = []
        for change in changes:
            event = change.event
            if event.kv.mod_revision < start:
                continue
            if request.no_put if event.type is EventType.PUT else request.no_delete:
                continue
            events.append(change.with_previous if request.prev_kv else event)
        if upto >= start:
            self.next_revision = upto + 1
        if events:
            self.quiet = False
            self._deliver(WatchBatch(tuple(events), upto))

    def mark_progress(self, revision: int) -> None:
        """Tell that everything up to ``revision`` was delivered, unless something was delivered since the last time."""
        if self.quiet and self.next_revision > revision:
            self._deliver(WatchBatch((), revision))
        self.quiet = True

    def lose(self, why: WatchLost, revision: int) -> None:
        """End the watch and tell why; ``revision`` is the store's."""
        self._deliver(WatchBatch((), revision, why), last=True)

    def _deliver(self, batch: WatchBatch, *, last: bool = False) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = last
            try:
                self._sink(batch)
            except Exception:
                _log.exception("the sink of a watch on %r failed; the watch goes on", self.key)
