"""Items that come from other threads, consumed one after the other by a thread or by a task."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded, EtcdAeroError
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.items import AsyncItems, Items
from django_etcdaero.keyvalue.client.steps import Until

T = TypeVar("T")

_CHECK = 0.5
"""Seconds between two looks of a waiting consumer at whether the client was closed."""


class Inbox(Items[T], AsyncItems[T]):
    """An iterator, for one thread or one task, that ends when it is cancelled or the client is closed."""

    def __init__(self, client: Client) -> None:
        client.open_engine()
        self._client = client
        self._changed = threading.Condition(threading.RLock())
        self._pending: deque[T] = deque()
        self._wakers: list[Callable[[], object]] = []
        self._ended = False
        self._error: EtcdAeroError | None = None

    async def take(self, timeout: float | None) -> T:
        """Return the next item, waiting for it at most ``timeout`` seconds. Raises ``Cancelled`` after the end."""
        limit = end_of(timeout)
        while True:
            with self._changed:
                if self._has_next():
                    return self._pending.popleft()
            await Until(self._changed, self._wakers, lambda: self._ended or bool(self._pending), _patience(limit))

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
