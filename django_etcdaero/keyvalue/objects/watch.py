"""Watches of a collection, for threads and for asyncio."""

from __future__ import annotations

import time
from collections import deque
from typing import Generic, Self, TypeVar

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.items import AsyncItems, Incoming, Items
from django_etcdaero.keyvalue.client.watch import AsyncWatch, Watch
from django_etcdaero.keyvalue.txn import watch
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.steps import adrive, drive

from .events import ObjectEvent
from .following import Following
from .timed_steps import TimedSteps

T = TypeVar("T")


class _Held(Incoming["ObjectEvent[T]"], Generic[T]):
    """What both kinds of watches have in common."""

    _watch: Watch | AsyncWatch | None = None

    def __init__(self, following: Following[T]) -> None:
        self._following = following
        self._existing: deque[KeyValue] = deque()

    async def take(self, timeout: float | None) -> ObjectEvent[T]:
        """Return the next event, waiting for it at most ``timeout`` seconds. Raises ``Cancelled`` after the end."""
        limit = end_of(timeout)
        while True:
            event = self._told()
            if event is None:
                if self._watch is None:
                    raise InvalidRequest("the watch was not started: use it in an 'async with' block")
                left = None if limit is None else max(0.0, limit - time.monotonic())
                event = self._following.event(await self._watch.take(left))
            if event is not None:
                return event

    def cancel(self) -> None:
        """End the watch. Idempotent. What was not consumed yet is dropped; a waiting consumer wakes up."""
        self._existing.clear()
        if self._watch is not None:
            self._watch.cancel()

    def _told(self) -> ObjectEvent[T] | None:
        while self._existing:
            try:
                found = self._existing.popleft()
            except IndexError:  # the watch was cancelled by another thread
                return None
            event = self._following.existing(found)
            if event is not None:
                return event
        return None


class ObjectWatch(_Held[T], Items["ObjectEvent[T]"]):
    """A running watch; made with
    :meth:`Collection.watch() <django_etcdaero.keyvalue.objects.collection.Collection.watch>`.

    Iterate over it, from one thread. It ends by :meth:`cancel`, with its ``with`` block, or with the client.
    """

    _watch: Watch

    def __init__(self, client: Client, following: Following[T], *, max_pending: int, timeout: float | None) -> None:
        super().__init__(following)
        existing, revision = drive(following.begin(TimedSteps(client, timeout)))
        self._existing.extend(existing)
        request = watch(following.start, following.end or None, start_revision=revision, prev_kv=True)
        self._watch = Watch(client, request, max_pending=max_pending, callback=None, timeout=timeout)

    @property
    def closed(self) -> bool:
        """True when nothing more will come."""
        return self._watch.closed


class AsyncObjectWatch(_Held[T], AsyncItems["ObjectEvent[T]"]):
    """A watch for asyncio: ``async with`` starts and ends it, ``async for`` or :meth:`anext` give the events."""

    def __init__(self, client: Client, following: Following[T], *, max_pending: int, timeout: float | None) -> None:
        super().__init__(following)
        self._client = client
        self._max_pending = max_pending
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        following = self._following
        existing, revision = await adrive(following.begin(TimedSteps(self._client, self._timeout)))
        request = watch(following.start, following.end or None, start_revision=revision, prev_kv=True)
        started = AsyncWatch(self._client, request, max_pending=self._max_pending, timeout=self._timeout)
        self._watch = await started.__aenter__()
        self._existing.extend(existing)
        return self
