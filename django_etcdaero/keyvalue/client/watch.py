"""Watches that users hold: iterators (or callbacks) over the changes of a range that never skip anything in silence.

Events come each once and in order. When some of them cannot be had any more the iteration raises
:class:`~django_etcdaero.exceptions.EventsLost` in their place, with a fresh snapshot of the range; who iterates again
gets the events after the snapshot's revision. That happens when

* the history the watch needs was compacted (it started too far back, or the store was away for too long),
* the store was wiped, replaced or restored,
* the consumer was slower than the changes and more than ``max_pending`` of them had piled up (what arrives at once, a
  large transaction or a piece of history, is taken whole by a consumer that has nothing else pending).

With ``resync=True`` there is a :class:`Resync` among the items instead; callbacks, to which nothing can be raised, get
one in any case. A consumer that keeps a copy of the range replaces the copy by the snapshot and goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar, cast

from django_etcdaero.exceptions import Cancelled, EventsLost, InvalidRequest
from django_etcdaero.keyvalue.arguments import check_flag
from django_etcdaero.keyvalue.keys import shown
from django_etcdaero.keyvalue.values import WatchRequest
from django_etcdaero.system.acting import acts
from django_etcdaero.system.steps import drive

from .background import logger
from .feed import Feed
from .feed import Progress as Progress
from .feed import Resync as Resync
from .feed import ResyncReason as ResyncReason
from .feed import WatchItem as WatchItem
from .items import Items
from .open_watches import Followed, Use
from .scope import Scope

_TURN = 100
"""Items of one watch that are delivered before other callbacks of the client get their turn."""


Item = TypeVar("Item", bound=WatchItem)


class Watch(Items[Item]):
    """A running watch; made with :meth:`KV.watch() <django_etcdaero.keyvalue.facade.KV.watch>`.

    Iterate over it, from one thread with ``for`` or from one task with ``async for``, or give a callback. It ends by
    :meth:`cancel`, the end of its ``with`` or ``async with`` block, or the closing of the client or the store; the
    iteration then stops.

    It runs from the moment it was made. Where an event loop runs it is started by ``async with``, which does not block
    the loop (or by ``with``, which does)::

        async with kv.watch("config/", prefix=True) as watch:
            async for event in watch:
                ...
    """

    def __init__(
        self,
        scope: Scope,
        request: WatchRequest,
        *,
        max_pending: int,
        callback: Callable[[WatchItem], object] | None = None,
        resync: bool = False,
        timeout: float | None,
        use: Use = Use.WATCH,
    ) -> None:
        self._scope = scope
        check_flag("resync", resync)
        self._callback = callback
        self._resync = resync
        self._key, self._end = request.key, request.range_end
        self._scheduled = False
        wake = callback and self._schedule
        self._feed = Feed(scope, request, Followed(use), max_pending=max_pending, wake=wake)
        self._timeout = timeout
        self._started = False
        self._pid = os.getpid()

    def __repr__(self) -> str:
        state = "" if not self.closed else " ended" if self._started else " not begun"
        return f"<Watch of {shown(self._key, self._end)}{state}>"

    @acts
    async def begin(self) -> None:
        """Start, if it was not started. For the parts of the client. Raises ``Cancelled`` if it has ended."""
        if not self._started:
            self._started = True
            try:
                await self._feed.start(timeout=self._timeout)
            except BaseException:
                self._feed.end(None)
                raise
            self._scope.life.keep_watch(self, alive=self._callback is not None)
        elif self.closed:
            raise self._feed.error or Cancelled("the watch has ended already; make another one")

    async def take(self, timeout: float | None) -> Item:
        """Return the next item; for the parts of the client."""
        if self._callback is not None:
            raise InvalidRequest("a watch with a callback cannot be iterated over as well")
        if not self._started:
            raise InvalidRequest("a watch that was made where an event loop runs begins with 'async with'")
        item = None
        if self._pid == os.getpid():
            try:
                item = await self._feed.next(timeout=timeout)
            finally:
                if self._feed.ended:
                    self._scope.life.forget_watch(self)
        if item is None:
            raise Cancelled("the watch has ended")
        if isinstance(item, Resync) and not self._resync:
            raise _lost(item)
        return cast("Item", item)

    @acts
    def cancel(self) -> None:
        """End the watch. Idempotent. What was not consumed yet is dropped; a waiting consumer wakes up."""
        if self._pid == os.getpid():
            self._started = True
            self._feed.end(None)
            self._scope.life.forget_watch(self)

    @property
    def closed(self) -> bool:
        """True when nothing more will come, or nothing yet: before its ``async with`` block."""
        return not self._started or self._feed.ended or self._pid != os.getpid()

    # callbacks -------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        with self._feed.changed.lock:
            if self._scheduled or self._feed.ended:
                return
            self._scheduled = True
        self._scope.callbacks.submit(self._dispatch)

    def _dispatch(self) -> float | None:
        """Task of the dispatcher: hand out what is there. A snapshot that fails is tried again later."""
        assert self._callback is not None
        feed = self._feed
        for _ in range(_TURN):
            with feed.changed.lock:
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
            except BaseException:  # SystemExit too: the thread is not the function's to end
                logger.exception("the callback of the watch on %r failed", self._key)
        else:
            return 0.0
        if feed.ended:
            self._scope.life.forget_watch(self)
            if feed.error is not None:
                logger.error("the watch on %r ended: %s", self._key, feed.error)
        return None


def _lost(marker: Resync) -> EventsLost:
    count = len(marker.kvs)
    was = "one key that was" if count == 1 else f"{count} keys that were"
    return EventsLost(
        f"events up to revision {marker.revision} are missing ({marker.reason.value});"
        f" the snapshot has the {was} there then",
        reason=marker.reason,
        snapshot=marker.kvs,
        revision=marker.revision,
        compact_revision=marker.compact_revision,
    )
