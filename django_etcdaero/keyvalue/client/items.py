"""What comes one after the other until it is cancelled: consumed by a thread, or by a task."""

from __future__ import annotations

import time
from collections import deque
from typing import Generic, Self, TypeVar

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded, EtcdAeroError
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.system.steps import adrive, drive

from .scope import Scope
from .steps import Changes, Until

T = TypeVar("T")

_CHECK = 0.5
"""Seconds between two looks of a waiting consumer at whether the client was closed."""


class Incoming(Generic[T]):
    """Where the items come from."""

    async def take(self, timeout: float | None) -> T:
        """Return the next item, waiting for it at most ``timeout`` seconds. Raises ``Cancelled`` after the end."""
        raise NotImplementedError

    def cancel(self) -> None:
        """End it. Idempotent. What was not consumed yet is dropped; a waiting consumer wakes up."""
        raise NotImplementedError


class Items(Incoming[T]):
    """An iterator for one thread, which is cancelled at the end of its ``with`` block."""

    def next(self, *, timeout: float | None = None) -> T:
        """Return the next item, waiting for it at most ``timeout`` seconds (``None``: until the end).

        Raises ``DeadlineExceeded``; ``Cancelled`` after the end; ``PermissionDenied`` if the store refused to tell.
        """
        return drive(self.take(timeout))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return drive(self.take(None))
        except Cancelled:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()


class AsyncItems(Incoming[T]):
    """An iterator for one task, which is cancelled at the end of its ``async with`` block."""

    async def anext(self, *, timeout: float | None = None) -> T:
        """Return the next item as ``next()`` does, without blocking the event loop; the errors are the same."""
        return await adrive(self.take(timeout))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await adrive(self.take(None))
        except Cancelled:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.cancel()


class Inbox(Items[T], AsyncItems[T]):
    """An iterator, for one thread or one task, that ends when it is cancelled or the client is closed."""

    def __init__(self, scope: Scope) -> None:
        scope.open_engine()
        self._scope = scope
        self._changed = Changes()
        self._pending: deque[T] = deque()
        self._ended = False
        self._error: EtcdAeroError | None = None

    async def take(self, timeout: float | None) -> T:
        """Return the next item, waiting for it at most ``timeout`` seconds. Raises ``Cancelled`` after the end."""
        limit = end_of(timeout)
        while True:
            with self._changed:
                if self._has_next():
                    return self._pending.popleft()
            await Until(self._changed, lambda: self._ended or bool(self._pending), _patience(limit))

    def cancel(self) -> None:
        """End it. Idempotent. What was not consumed yet is dropped; a waiting consumer wakes up."""
        self._end(None)

    # for those who fill it -------------------------------------------------------------------------------------------

    def _end(self, error: EtcdAeroError | None) -> bool:
        """End it, with the error that consumers get from now on. Return False if it had ended."""
        with self._changed:
            if self._ended:
                return False
            self._ended = True
            self._error = error
            self._pending.clear()
            self._changed.notify_all()
            return True

    def _has_next(self) -> bool:
        if self._ended:
            raise self._error or Cancelled("the iteration has ended")
        if self._pending:
            return True
        try:
            self._scope.open_engine()
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
