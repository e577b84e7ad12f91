"""Watches that users hold: iterators (or callbacks) over the changes of a range that never skip anything in silence.

Events come each once and in order. When some of them cannot be had any more the consumer gets a :class:`Resync` in
their place: a fresh snapshot of the range, followed by the events after the snapshot's revision. That happens when

* the history the watch needs was compacted (it started too far back, or the store was away for too long),
* the store was wiped, replaced or restored,
* the consumer was slower than the changes and more than ``max_pending`` of them had piled up (what arrives at once, a
  large transaction or a piece of history, is taken whole by a consumer that has nothing else pending).

A consumer that keeps a copy of the range replaces the copy by ``Resync.kvs`` and goes on.
"""

from __future__ import annotations

import enum
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from django_etcdaero.exceptions import (
    Cancelled,
    Compacted,
    DeadlineExceeded,
    EtcdAeroError,
    InvalidRequest,
    PermissionDenied,
)

from .background import TRANSIENT, backoff, logger
from .engine import Event, KeyValue, SortOrder, WatchBatch, WatchHandle, WatchLost, WatchRequest

if TYPE_CHECKING:
    from .client import KV

_PAGE = 1000
_SHORTEST = 0.1
"""Seconds that a snapshot may take even when the consumer's patience ends sooner."""

_TURN = 100
"""Items of one watch that are delivered before other callbacks of the client get their turn."""


class ResyncReason(enum.Enum):
    """Why events are missing."""

    COMPACTED = "compacted"
    RESET = "reset"
    OVERFLOW = "overflow"


@dataclass(frozen=True, slots=True)
class Resync:
    """Stands for the events that are missing: all keys of the watched range as of ``revision``, in key order."""

    reason: ResyncReason
    kvs: tuple[KeyValue, ...]
    revision: int


WatchItem: TypeAlias = "Event | Resync"

_REASONS = {WatchLost.COMPACTED: ResyncReason.COMPACTED, WatchLost.RESET: ResyncReason.RESET}


class _Sink:
    """Takes the batches of one engine watch to the :class:`Watch`, without keeping a forgotten one alive."""

    def __init__(self, watch: Watch) -> None:
        self._watch = weakref.ref(watch)
        self.handle: WatchHandle | None = None

    def __call__(self, batch: WatchBatch) -> None:
        watch = self._watch()
        if watch is not None:
            watch._feed(self, batch)
        elif self.handle is not None:
            self.handle.cancel()


class Watch:
    """A running watch; made with :meth:`KV.watch() <django_etcdaero.kv.client.KV.watch>`.

    Iterate over it (from one thread), or give a callback. It ends by :meth:`cancel`, the end of its ``with`` block, or
    the closing of the client or the store; the iteration then stops.
    """

    def __init__(
        self,
        kv: KV,
        request: WatchRequest,
        *,
        max_pending: int,
        callback: Callable[[WatchItem], object] | None,
        timeout: float | None,
    ) -> None:
        self._kv = kv
        self._request = request
        self._max_pending = max_pending
        self._callback = callback
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._pending: deque[WatchItem] = deque()
        self._missing: ResyncReason | None = None
        self._drained = False  # the store sends no more; what is pending is still delivered
        self._ended = False
        self._error: EtcdAeroError | None = None
        self._scheduled = False
        self._failures = 0
        self._sink = _Sink(self)
        self._start(request, timeout=timeout)

    # consuming -------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> WatchItem:
        item = self._wait(None)
        if item is None:
            raise StopIteration
        return item

    def next(self, *, timeout: float | None = None) -> WatchItem:
        """Return the next item, waiting for it at most ``timeout`` seconds (``None``: until the watch ends).

        Raises ``DeadlineExceeded``; ``Cancelled`` when the watch has ended; ``PermissionDenied`` if it was refused.
        """
        item = self._wait(timeout)
        if item is None:
            raise Cancelled("the watch has ended")
        return item

    def cancel(self) -> None:
        """End the watch. Idempotent. What was not consumed yet is dropped; a waiting consumer wakes up."""
        if self._pid == os.getpid():
            self._end(None)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()

    @property
    def closed(self) -> bool:
        """True when nothing more will come."""
        return self._ended or self._pid != os.getpid()

    def _wait(self, timeout: float | None) -> WatchItem | None:
        if self._callback is not None:
            raise InvalidRequest("a watch with a callback cannot be iterated over as well")
        limit = None if timeout is None else time.monotonic() + timeout
        while not self.closed:
            left = None if limit is None else max(0.0, limit - time.monotonic())
            with self._changed:
                if not self._changed.wait_for(self._has_work, left):
                    raise DeadlineExceeded("no event in time")
            item, delay = self._take(None if left is None else max(_SHORTEST, left))
            if item is not None:
                return item
            if delay:
                if limit is not None and time.monotonic() + delay > limit:
                    raise DeadlineExceeded("no snapshot in time")
                with self._changed:
                    self._changed.wait_for(lambda: self._ended, delay)
        if self._error is not None:
            raise self._error
        return None

    def _has_work(self) -> bool:
        return bool(self._pending) or self._missing is not None or self._drained or self._ended

    def _take(self, timeout: float | None) -> tuple[WatchItem | None, float]:
        """Return the next item, making a snapshot if one is due; or ``None`` and the seconds to wait."""
        with self._changed:
            if self._ended:
                return None, 0.0
            if self._pending:
                item = self._pending.popleft()
                return (self._kv.namespace.inward_event(item) if isinstance(item, Event) else item), 0.0
            reason = self._missing
        if reason is None:
            if self._drained:
                self._end(self._error)
            return None, 0.0
        try:
            self._resync(reason, timeout=timeout)
        except (*TRANSIENT, Compacted) as error:
            self._failures += 1
            logger.debug("resync of %r: %s", self._request.key, error)
            return None, backoff(self._failures)
        except Cancelled:
            self._end(None)
        except EtcdAeroError as error:
            self._end(error)
        else:
            self._failures = 0
        return None, 0.0

    def _dispatch(self) -> float | None:
        """Task of the dispatcher: hand out what is there. A snapshot that fails is tried again later."""
        assert self._callback is not None
        for _ in range(_TURN):
            with self._changed:
                if not self._has_work() or self._ended:
                    self._scheduled = False
                    return None
            item, delay = self._take(None)
            if delay:
                return delay
            if item is None:
                continue
            try:
                if self._callback(item) is False:
                    self._end(None)
            except Exception:
                logger.exception("the callback of the watch on %r failed", self._request.key)
        return 0.0

    # being fed -------------------------------------------------------------------------------------------------------

    def _start(self, request: WatchRequest, *, timeout: float | None) -> None:
        sink = self._sink
        sink.handle = self._kv.watch_raw(request, sink, timeout=timeout)
        if self._ended or sink is not self._sink:
            sink.handle.cancel()

    def _feed(self, sink: _Sink, batch: WatchBatch) -> None:
        with self._changed:
            if sink is not self._sink or self._ended or self._missing is not None:
                return
            if self._pending and len(self._pending) + len(batch.events) > self._max_pending:
                self._pending.clear()
                self._missing = ResyncReason.OVERFLOW
            else:
                self._pending.extend(batch.events)
                self._missing = None if batch.lost is None else _REASONS.get(batch.lost)
                self._drained = batch.lost in (WatchLost.CLOSED, WatchLost.REFUSED)
                if batch.lost is WatchLost.REFUSED:
                    self._error = PermissionDenied(f"the store refused to watch {self._request.key!r}")
            overflowed = self._missing is ResyncReason.OVERFLOW
            schedule = self._callback is not None and not self._scheduled and self._has_work()
            self._scheduled = self._scheduled or schedule
            self._changed.notify_all()
        if schedule:
            self._kv.dispatcher.submit(self._dispatch)
        if overflowed and sink.handle is not None:
            sink.handle.cancel()

    def _resync(self, reason: ResyncReason, *, timeout: float | None) -> None:
        """Read the range, put it first in line, and watch from the next revision on."""
        old = self._sink.handle
        if old is not None:
            old.cancel()
        kvs, revision = self._snapshot(timeout)
        with self._changed:
            self._sink = _Sink(self)
            self._pending.append(Resync(reason, kvs, revision))
            self._missing = None
        try:
            self._start(replace(self._request, start_revision=revision + 1), timeout=timeout)
        except BaseException:
            with self._changed:
                self._sink = _Sink(self)
                self._pending.clear()
                self._missing = reason
            raise

    def _snapshot(self, timeout: float | None) -> tuple[tuple[KeyValue, ...], int]:
        key, end = self._request.key, self._request.range_end
        kvs: list[KeyValue] = []
        revision = 0
        while True:
            page = self._kv.range(
                key, end or None, limit=_PAGE, revision=revision, sort_order=SortOrder.ASCEND, timeout=timeout
            )
            revision = revision or page.revision
            kvs.extend(page.kvs)
            if not page.more:
                return tuple(kvs), revision
            key = page.kvs[-1].key + b"\0"

    def _end(self, error: EtcdAeroError | None) -> None:
        with self._changed:
            if self._ended:
                return
            self._ended = True
            self._error = error
            self._pending.clear()
            handle = self._sink.handle
            self._changed.notify_all()
        if handle is not None:
            handle.cancel()
        self._kv.forget_watch(self)
        if error is not None and self._callback is not None:
            logger.error("the watch on %r ended: %s", self._request.key, error)
