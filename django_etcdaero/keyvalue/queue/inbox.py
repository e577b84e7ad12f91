"""Items that come from other threads, consumed one after the other by a thread or by a task."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded, EtcdAeroError
from django_etcdaero.keyvalue.arguments import end_of

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.client.client import Client

T = TypeVar("T")

_CHECK = 0.5
"""Seconds between two looks of a waiting consumer at whether the client was closed."""


class Inbox(Generic[T]):
    """An iterator, for one thread or one task, that ends when it is cancelled or the client is closed."""

    def __init__(self, client: Client) -> None:
        client.open_engine()
        self._client = client
        self._changed = threading.Condition(threading.RLock())
        self._pending: deque[T] = deque()
        self._wakers: list[Callable[[], None]] = []
        self._ended = False
        self._error: EtcdAeroError | None = None

    def next(self, *, timeout: float | None = None) -> T:
        """Return the next item, waiting for it at most ``timeout`` seconds (``None``: until the end).

        Raises ``DeadlineExceeded``; ``Cancelled`` after the end; ``PermissionDenied`` if the store refused to tell.
        """
        limit = end_of(timeout)
        while True:
            with self._changed:
                if self._has_next():
                    return self._pending.popleft()
                self._changed.wait(_patience(limit))

    async def anext(self, *, timeout: float | None = None) -> T:
        """Return the next item as :meth:`next` does, without blocking the event loop."""
        limit = end_of(timeout)
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop may have been closed
                loop.call_soon_threadsafe(woken.set)

        with self._changed:
            self._wakers.append(wake)
        try:
            while True:
                woken.clear()
                with self._changed:
                    if self._has_next():
                        return self._pending.popleft()
                patience = _patience(limit)
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        await woken.wait()
        finally:
            with self._changed:
                self._wakers.remove(wake)

    def cancel(self) -> None:
        """End it. Idempotent. What was not consumed yet is dropped; a waiting consumer wakes up."""
        self._end(None)

    def __iter__(self) -> Inbox[T]:
        return self

    def __next__(self) -> T:
        try:
            return self.next()
        except Cancelled:
            raise StopIteration from None

    def __enter__(self) -> Inbox[T]:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()

    def __aiter__(self) -> Inbox[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.anext()
        except Cancelled:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Inbox[T]:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.cancel()

    # for those who fill it -------------------------------------------------------------------------------------------

    def _end(self, error: EtcdAeroError | None) -> bool:
        """End it, with the error that consumers get from now on. Return False if it had ended."""
        with self._changed:
            if self._ended:
                return False
            self._ended = True
            self._error = error
            self._pending.clear()
            self._wake()
            return True

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
            for wake in self._wakers:
                wake()

    def _has_next(self) -> bool:
        if self._ended:
            raise self._error or Cancelled("the iteration has ended")
        if self._pending:
            return True
        try:
            self._client.open_engine()
        except Cancelled:
            self._end(None)
            raise
        return False


def _patience(limit: float | None) -> float:
    if limit is None:
        return _CHECK
    left = limit - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("nothing came in time")
    return min(left, _CHECK)
