"""Watches of a collection, for threads and for asyncio."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.system.steps import adrive, drive

from .events import ObjectEvent
from .following import Following
from .timed_steps import TimedSteps

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.client.client import Client
    from django_etcdaero.keyvalue.values import KeyValue

T = TypeVar("T")


class ObjectWatch(Generic[T]):
    """A running watch; made with
    :meth:`Collection.watch() <django_etcdaero.keyvalue.objects.collection.Collection.watch>`.

    Iterate over it, from one thread. It ends by :meth:`cancel`, with its ``with`` block, or with the client.
    """

    def __init__(self, client: Client, following: Following[T], *, max_pending: int, timeout: float | None) -> None:
        self._following = following
        existing, start_revision = drive(following.begin(TimedSteps(client, timeout)))
        self._existing = deque(existing)
        self._watch = client.watch(
            following.start,
            following.end or None,
            start_revision=start_revision,
            prev_kv=True,
            max_pending=max_pending,
            timeout=timeout,
        )

    def __iter__(self) -> ObjectWatch[T]:
        return self

    def __next__(self) -> ObjectEvent[T]:
        while True:
            event = self._told() or self._following.event(next(self._watch))
            if event is not None:
                return event

    def next(self, *, timeout: float | None = None) -> ObjectEvent[T]:
        """Return the next event, waiting for it at most ``timeout`` seconds (``None``: until the watch ends).

        Raises ``DeadlineExceeded``; ``Cancelled`` when the watch has ended; ``PermissionDenied`` if it was refused.
        """
        limit = end_of(timeout)
        while True:
            event = self._told()
            if event is None:
                left = None if limit is None else max(0.0, limit - time.monotonic())
                event = self._following.event(self._watch.next(timeout=left))
            if event is not None:
                return event

    def cancel(self) -> None:
        """End the watch. Idempotent. What was not consumed yet is dropped; a waiting consumer wakes up."""
        self._existing.clear()
        self._watch.cancel()

    @property
    def closed(self) -> bool:
        """True when nothing more will come."""
        return self._watch.closed

    def __enter__(self) -> ObjectWatch[T]:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()

    def _told(self) -> ObjectEvent[T] | None:
        return _next_existing(self._existing, self._following)


class AsyncObjectWatch(Generic[T]):
    """A watch for asyncio: ``async with`` starts and ends it, ``async for`` or :meth:`anext` give the events."""

    def __init__(self, client: Client, following: Following[T], *, max_pending: int, timeout: float | None) -> None:
        self._client = client
        self._following = following
        self._max_pending = max_pending
        self._timeout = timeout
        self._existing: deque[KeyValue] = deque()
        self._watch: Any = None

    async def __aenter__(self) -> AsyncObjectWatch[T]:
        following = self._following
        existing, start_revision = await adrive(following.begin(TimedSteps(self._client, self._timeout)))
        watch = self._client.awatch(
            following.start,
            following.end or None,
            start_revision=start_revision,
            prev_kv=True,
            max_pending=self._max_pending,
            timeout=self._timeout,
        )
        self._watch = await watch.__aenter__()
        self._existing.extend(existing)
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._existing.clear()
        await self._watch.__aexit__(*exc_info)

    def __aiter__(self) -> AsyncObjectWatch[T]:
        return self

    async def __anext__(self) -> ObjectEvent[T]:
        while True:
            event = self._told() or self._following.event(await self._running().__anext__())
            if event is not None:
                return event

    async def anext(self, *, timeout: float | None = None) -> ObjectEvent[T]:
        """Return the next event; ``timeout`` and errors are those of :meth:`ObjectWatch.next`."""
        limit = end_of(timeout)
        while True:
            event = self._told()
            if event is None:
                left = None if limit is None else max(0.0, limit - time.monotonic())
                event = self._following.event(await self._running().anext(timeout=left))
            if event is not None:
                return event

    def _running(self) -> Any:
        if self._watch is None:
            raise InvalidRequest("the watch was not started: use it in an 'async with' block")
        return self._watch

    def _told(self) -> ObjectEvent[T] | None:
        return _next_existing(self._existing, self._following)


def _next_existing(existing: deque[KeyValue], following: Following[T]) -> ObjectEvent[T] | None:
    while existing:
        try:
            found = existing.popleft()
        except IndexError:  # the watch was cancelled by another thread
            return None
        event = following.existing(found)
        if event is not None:
            return event
    return None
