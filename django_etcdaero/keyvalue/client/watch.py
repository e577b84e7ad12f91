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

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded, InvalidRequest
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.values import WatchRequest
from django_etcdaero.system.steps import adrive, drive
from django_etcdaero.system.threads import wait_for

from .background import logger
from .feed import Feed
from .feed import Progress as Progress
from .feed import Resync as Resync
from .feed import ResyncReason as ResyncReason
from .feed import WatchItem as WatchItem
from .scope import Scope

_SHORTEST = 0.1
"""Seconds that a snapshot may take even when the consumer's patience ends sooner."""

_TURN = 100
"""Items of one watch that are delivered before other callbacks of the client get their turn."""


class Watch:
    """A running watch; made with :meth:`KV.watch() <django_etcdaero.keyvalue.facade.KV.watch>`.

    Iterate over it (from one thread), or give a callback. It ends by :meth:`cancel`, the end of its ``with`` block, or
    the closing of the client or the store; the iteration then stops.
    """

    def __init__(
        self,
        scope: Scope,
        request: WatchRequest,
        *,
        max_pending: int,
        callback: Callable[[WatchItem], object] | None,
        timeout: float | None,
    ) -> None:
        self._scope = scope
        self._key = request.key
        self._callback = callback
        self._pid = os.getpid()
        self._scheduled = False
        wake = _ignore if callback is None else self._schedule
        self._feed = Feed(scope, request, max_pending=max_pending, wake=wake)
        drive(self._feed.start(timeout=timeout))

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
            self._feed.end(None)
            self._scope.forget_watch(self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()

    @property
    def closed(self) -> bool:
        """True when nothing more will come."""
        return self._feed.ended or self._pid != os.getpid()

    def _wait(self, timeout: float | None) -> WatchItem | None:
        if self._callback is not None:
            raise InvalidRequest("a watch with a callback cannot be iterated over as well")
        feed = self._feed
        limit = end_of(timeout)
        while not self.closed:
            left = None if limit is None else max(0.0, limit - time.monotonic())
            with feed.changed:
                if not wait_for(feed.changed, lambda: feed.has_work, left):
                    raise DeadlineExceeded("no event in time")
            item, delay = drive(feed.take(timeout=None if left is None else max(_SHORTEST, left)))
            if item is not None:
                return item
            if delay:
                if limit is not None and time.monotonic() + delay > limit:
                    raise DeadlineExceeded("no snapshot in time")
                with feed.changed:
                    feed.changed.wait_for(lambda: feed.ended, delay)
        self._scope.forget_watch(self)
        if feed.error is not None:
            raise feed.error
        return None

    # callbacks -------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        with self._feed.changed:
            if self._scheduled or self._feed.ended:
                return
            self._scheduled = True
        self._scope.callbacks.submit(self._dispatch)

    def _dispatch(self) -> float | None:
        """Task of the dispatcher: hand out what is there. A snapshot that fails is tried again later."""
        assert self._callback is not None
        feed = self._feed
        for _ in range(_TURN):
            with feed.changed:
                if not feed.has_work or feed.ended:
                    self._scheduled = False
                    break
            item, delay = drive(feed.take(timeout=None))
            if delay:
                return delay
            if item is None:
                continue
            try:
                if self._callback(item) is False:
                    feed.end(None)
            except Exception:
                logger.exception("the callback of the watch on %r failed", self._key)
        else:
            return 0.0
        if feed.ended:
            self._scope.forget_watch(self)
            if feed.error is not None:
                logger.error("the watch on %r ended: %s", self._key, feed.error)
        return None


class AsyncWatch:
    """A watch for one task; made with :meth:`KV.awatch() <django_etcdaero.keyvalue.facade.KV.awatch>`.

    ::

        async with kv.awatch("config/", prefix=True) as watch:
            async for item in watch:
                ...

    It runs inside its ``async with`` block, and ends with it, by :meth:`cancel`, or by the closing of the client or the
    store; the iteration then stops. Otherwise it is as :class:`Watch`.
    """

    def __init__(self, scope: Scope, request: WatchRequest, *, max_pending: int, timeout: float | None) -> None:
        self._scope = scope
        self._request = request
        self._max_pending = max_pending
        self._timeout = timeout
        self._pid = os.getpid()
        self._woken = asyncio.Event()
        self._feed: Feed | None = None

    async def __aenter__(self) -> AsyncWatch:
        if self._feed is not None:
            raise InvalidRequest("this watch has been started already; make another one")
        wake = _wake_up(asyncio.get_running_loop(), self._woken)
        feed = Feed(self._scope, self._request, max_pending=self._max_pending, wake=wake)
        self._feed = feed
        try:
            await adrive(feed.start(timeout=self._timeout))
        except BaseException:
            feed.end(None)
            raise
        self._scope.keep_watch(self)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.cancel()

    def __aiter__(self) -> AsyncWatch:
        return self

    async def __anext__(self) -> WatchItem:
        item = await self._wait(None)
        if item is None:
            raise StopAsyncIteration
        return item

    async def anext(self, *, timeout: float | None = None) -> WatchItem:
        """Return the next item, waiting for it at most ``timeout`` seconds (``None``: until the watch ends).

        Raises ``DeadlineExceeded``; ``Cancelled`` when the watch has ended; ``PermissionDenied`` if it was refused.
        """
        item = await self._wait(timeout)
        if item is None:
            raise Cancelled("the watch has ended")
        return item

    def cancel(self) -> None:
        """End the watch, from any thread. Idempotent. What was not consumed yet is dropped; a waiting task wakes up."""
        if self._feed is not None and self._pid == os.getpid():
            self._feed.end(None)
            self._scope.forget_watch(self)

    @property
    def closed(self) -> bool:
        """True when nothing more will come, or nothing yet: before the ``async with`` block."""
        return self._feed is None or self._feed.ended or self._pid != os.getpid()

    async def _wait(self, timeout: float | None) -> WatchItem | None:
        feed = self._feed
        if feed is None:
            raise InvalidRequest("a watch of a task runs inside 'async with'")
        limit = end_of(timeout)
        while not self.closed:
            left = None if limit is None else max(0.0, limit - time.monotonic())
            if not await self._until(lambda: feed.has_work, left):
                raise DeadlineExceeded("no event in time")
            item, delay = await adrive(feed.take(timeout=None if left is None else max(_SHORTEST, left)))
            if item is not None:
                return item
            if delay:
                if limit is not None and time.monotonic() + delay > limit:
                    raise DeadlineExceeded("no snapshot in time")
                await self._until(lambda: feed.ended, delay)
        self._scope.forget_watch(self)
        if feed.error is not None:
            raise feed.error
        return None

    async def _until(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Wait until ``condition()``, at most ``seconds``; return whether it holds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._woken.clear()
                    if not condition():  # it may have come true just before
                        await self._woken.wait()
        return condition()


def _wake_up(loop: asyncio.AbstractEventLoop, woken: asyncio.Event) -> Callable[[], object]:
    def wake() -> None:
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(woken.set)

    return wake


def _ignore() -> None:
    """Nothing to wake: a waiting thread is told by the feed's condition."""
