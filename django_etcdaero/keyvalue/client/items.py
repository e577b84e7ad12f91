"""What comes one after the other until it is cancelled: consumed by a thread, or by a task."""

from __future__ import annotations

from collections import deque
from typing import Generic, Self, TypeVar

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded, EtcdAeroError
from django_etcdaero.system.acting import acts
from django_etcdaero.system.blocking import refuse_in_event_loop
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.steps import adrive, drive

from .scope import Scope
from .steps import Changes, Until

T = TypeVar("T")


class Items(Generic[T]):
    """An iterator, for one thread or one task, which is cancelled at the end of its ``with`` or ``async with``."""

    async def take(self, timeout: float | None) -> T:
        """Return the next item, waiting for it at most ``timeout`` seconds. Raises ``Cancelled`` after the end."""
        raise NotImplementedError

    @acts
    async def begin(self) -> None:
        """Start it, if it has to be started and was not yet."""

    @acts
    def cancel(self) -> None:
        """End it. Idempotent. What was not consumed yet is dropped; a waiting consumer wakes up."""
        raise NotImplementedError

    @acts
    def next(self, *, timeout: float | None = None) -> T:
        """Return the next item, waiting for it at most ``timeout`` seconds (``None``: until the end).

        Raises ``DeadlineExceeded``; ``Cancelled`` after the end; ``PermissionDenied`` if the store refused to tell.
        """
        refuse_in_event_loop("next()", "await anext(…)")
        return drive(self.take(timeout))

    @acts
    async def anext(self, *, timeout: float | None = None) -> T:
        """Return the next item as :meth:`next` does, without blocking the event loop; the errors are the same."""
        return await adrive(self.take(timeout))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        refuse_in_event_loop("'for'", "async for")
        try:
            return drive(self.take(None))
        except Cancelled:
            raise StopIteration from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await adrive(self.take(None))
        except Cancelled:
            raise StopAsyncIteration from None

    def __enter__(self) -> Self:
        refuse_in_event_loop("'with'", "async with")
        drive(self.begin())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()

    async def __aenter__(self) -> Self:
        await adrive(self.begin())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.cancel()


class Inbox(Items[T]):
    """An iterator, for one thread or one task, that ends when it is cancelled or the client is closed."""

    def __init__(self, scope: Scope) -> None:
        scope.open_engine()
        self._scope = scope
        self._changed = Changes()
        self._pending: deque[T] = deque()
        self._ended = False
        self._error: EtcdAeroError | None = None

    @property
    def closed(self) -> bool:
        """True when nothing more will come."""
        return self._ended

    async def take(self, timeout: float | None) -> T:
        """Return the next item, waiting for it at most ``timeout`` seconds. Raises ``Cancelled`` after the end."""
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        if not self._has_news():
            self._scope.open_engine()  # in the child of a fork nothing will come
        if not await Until(self._changed, self._has_news, seconds):
            raise DeadlineExceeded("nothing came in time")
        with self._changed.lock:
            if self._ended:
                raise self._error or Cancelled("the iteration has ended")
            return self._pending.popleft()

    @acts
    def cancel(self) -> None:
        """End it. Idempotent. What was not consumed yet is dropped; a waiting consumer wakes up."""
        self._end(None)

    def _has_news(self) -> bool:
        return self._ended or bool(self._pending)

    def _end(self, error: EtcdAeroError | None) -> bool:
        """End it, with the error that consumers get from now on. Return False if it had ended."""
        with self._changed.lock:
            if self._ended:
                return False
            self._ended = True
            self._error = error
            self._pending.clear()
            self._changed.notify_all()
            return True
