"""What has come in for a watch and was not consumed yet: bounded, without a gap, whoever consumes it.

An engine's thread feeds it; a thread or a task takes items out. When events are missing the next item is a
:class:`Resync`: the range is read, the snapshot put before what comes, and watched from the next revision on.
"""

from __future__ import annotations

import enum
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from django_etcdaero.exceptions import (
    Cancelled,
    Compacted,
    DeadlineExceeded,
    EtcdAeroError,
    InvalidRequest,
    PermissionDenied,
)
from django_etcdaero.keyvalue.arguments import check_count, end_of, seconds_until
from django_etcdaero.keyvalue.values import (
    Event,
    KeyValue,
    PromptSink,
    RangeRequest,
    WatchBatch,
    WatchHandle,
    WatchLost,
    WatchRequest,
)
from django_etcdaero.system.clocks import monotonic

from .background import TRANSIENT, backoff, logger
from .open_watches import Followed
from .scope import Scope
from .steps import Changes, Read, Until

_PAGE = 1000

_SHORTEST = 0.1
"""Seconds that a snapshot may take even when the consumer's patience ends sooner."""


class ResyncReason(enum.StrEnum):
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
    compact_revision: int = 0
    """The oldest revision that can still be read, where ``reason`` is ``COMPACTED``; 0: the store did not say."""


@dataclass(frozen=True, slots=True)
class Progress:
    """All events up to ``revision`` have been delivered. Only with ``progress_notify``."""

    revision: int


WatchItem: TypeAlias = Event | Resync | Progress


_REASONS = {WatchLost.COMPACTED: ResyncReason.COMPACTED, WatchLost.RESET: ResyncReason.RESET}


class _Sink(PromptSink):
    """Takes the batches of one engine watch to the feed, without keeping a forgotten one alive."""

    def __init__(self, feed: Feed) -> None:
        self._feed = weakref.ref(feed)
        self.handle: WatchHandle | None = None

    def __call__(self, batch: WatchBatch) -> None:
        feed = self._feed()
        if feed is not None:
            feed.receive(self, batch)
        elif self.handle is not None:
            self.handle.cancel()


class Feed:
    """The pending items of one watch."""

    def __init__(
        self,
        scope: Scope,
        request: WatchRequest,
        followed: Followed,
        *,
        max_pending: int,
        wake: Callable[[], object] | None = None,
    ) -> None:
        """``wake()`` is called from any thread, with ``changed``, when there is work or the watch has ended."""
        check_count("max_pending", max_pending)
        if max_pending < 1:
            raise InvalidRequest(f"max_pending must be at least 1, not {max_pending}")
        self.changed = Changes(wake)
        """Guards what follows."""
        self.ended = False
        self.error: EtcdAeroError | None = None
        """Why it ended, unless that was wanted."""
        self._scope = scope
        self._request = request
        self._followed = followed
        self._max_pending = max_pending
        self._pending: deque[WatchItem] = deque()
        self._missing: ResyncReason | None = None
        self._compact_revision = 0  # that was told together with the reason
        self._drained = False  # the store sends no more; what is pending is still delivered
        self._failures = 0
        self._sink = _Sink(self)

    # taking out ------------------------------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """True when :meth:`take` has something to do."""
        return bool(self._pending) or self._missing is not None or self._drained or self.ended

    async def next(self, *, timeout: float | None) -> WatchItem | None:
        """Return the next item, waiting for it at most ``timeout`` seconds; ``None`` when the watch has ended.

        Raises ``DeadlineExceeded``, and why the watch ended unless that was wanted.
        """
        limit = end_of(timeout)
        while not self.ended:
            left = seconds_until(limit)
            if not await Until(self.changed, lambda: self.has_work, left):
                raise DeadlineExceeded("no event in time")
            item, delay = await self.take(timeout=None if left is None else max(_SHORTEST, left))
            if item is not None:
                return item
            if delay:
                if limit is not None and monotonic() + delay > limit:
                    raise DeadlineExceeded("no snapshot in time")
                await Until(self.changed, lambda: self.ended, delay)
        if self.error is not None:
            raise self.error
        return None

    async def take(self, *, timeout: float | None) -> tuple[WatchItem | None, float]:
        """Return the next item, making a snapshot if one is due; or ``None`` and the seconds to wait.

        ``timeout`` (seconds) is for each call to the store.
        """
        with self.changed.lock:
            if self.ended:
                return None, 0.0
            if self._pending:
                item = self._pending.popleft()
                return (self._scope.keyspace.inward_event(item) if isinstance(item, Event) else item), 0.0
            reason = self._missing
        if reason is None:
            if self._drained:
                self.end(self.error)
            return None, 0.0
        try:
            await self._resync(reason, timeout=timeout)
        except (*TRANSIENT, Compacted) as error:
            self._failures += 1
            logger.debug("resync of %r: %s", self._request.key, error)
            return None, backoff(self._failures)
        except Cancelled:
            self.end(None)
        except EtcdAeroError as error:
            self.end(error)
        else:
            self._failures = 0
        return None, 0.0

    async def _resync(self, reason: ResyncReason, *, timeout: float | None) -> None:
        """Read the range, put it before what comes, and watch from the next revision on."""
        old = self._sink.handle
        if old is not None:
            old.cancel()
        kvs, revision = await self.snapshot(timeout)
        with self.changed.lock:
            self._sink = _Sink(self)
            self._pending.append(Resync(reason, kvs, revision, self._compact_revision))
            self._missing = None
        try:
            await self.start(after=revision, timeout=timeout)
        except BaseException:
            with self.changed.lock:
                self._sink = _Sink(self)
                self._pending.clear()
                self._missing = reason
            raise

    async def snapshot(self, timeout: float | None) -> tuple[tuple[KeyValue, ...], int]:
        """Return the keys of the range, and their revision. ``timeout`` (seconds) is for each call to the store."""
        key, end = self._request.key, self._request.range_end
        kvs: list[KeyValue] = []
        revision = 0
        while True:  # in key order, which is the store's own: told to sort, it would read all that is left
            page = await Read(self._scope, RangeRequest(key, end, limit=_PAGE, revision=revision), timeout)
            revision = revision or page.revision
            kvs.extend(page.kvs)
            if not page.more:
                return tuple(kvs), revision
            key = page.kvs[-1].key + b"\0"

    # being fed -------------------------------------------------------------------------------------------------------

    async def start(self, *, after: int | None = None, timeout: float | None) -> None:
        """Begin to watch, with the revision after ``after`` if that is given."""
        request = self._request if after is None else replace(self._request, start_revision=after + 1)
        sink = self._sink
        sink.handle = await self._scope.start_watch(request, sink, self._followed, timeout=timeout)
        if self.ended or sink is not self._sink:
            sink.handle.cancel()

    def receive(self, sink: _Sink, batch: WatchBatch) -> None:
        """Take a batch from the engine, unless ``sink`` belongs to a watch of the past."""
        with self.changed.lock:
            if sink is not self._sink or self.ended or self._missing is not None:
                return
            if self._pending and len(self._pending) + len(batch.events) > self._max_pending:
                self._pending.clear()
                self._missing, self._compact_revision = ResyncReason.OVERFLOW, 0
            else:
                self._add(batch)
            overflowed = self._missing is ResyncReason.OVERFLOW
            self.changed.notify_all()
        if overflowed and sink.handle is not None:
            sink.handle.cancel()

    def _add(self, batch: WatchBatch) -> None:
        if batch.events:
            self._pending.extend(batch.events)
        elif batch.lost is None and self._request.progress_notify:
            if self._pending and isinstance(self._pending[-1], Progress):
                self._pending.pop()
            self._pending.append(Progress(batch.revision))
        if batch.lost is not None:
            self._missing, self._compact_revision = _REASONS.get(batch.lost), batch.compact_revision
            self._drained = batch.lost in (WatchLost.CLOSED, WatchLost.REFUSED)
            if batch.lost is WatchLost.REFUSED:
                self.error = PermissionDenied(f"the store refused to watch {self._request.key!r}")

    def end(self, error: EtcdAeroError | None) -> bool:
        """End the watch and drop what is pending. Return whether it was this call that ended it."""
        with self.changed.lock:
            if self.ended:
                return False
            self.ended = True
            self.error = error
            self._pending.clear()
            handle = self._sink.handle
            self.changed.notify_all()
        if handle is not None:
            handle.cancel()
        return True
