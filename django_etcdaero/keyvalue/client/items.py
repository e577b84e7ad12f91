"""What comes one after the other until it is cancelled: consumed by a thread, or by a task."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

from django_etcdaero.exceptions import Cancelled
from django_etcdaero.system.steps import adrive, drive

T = TypeVar("T")


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
