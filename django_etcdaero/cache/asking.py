"""Asking the store inside of a protocol: in this thread, or in one of a few where an event loop waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.system.pool import InThread, Pool

from .outage import Outage

T = TypeVar("T")


class Asking:
    """Makes calls of one cache. ``pool()`` gives the threads for event loops; ``timeout``: seconds for a call."""

    def __init__(self, outage: Outage, pool: Callable[[], Pool], *, timeout: float) -> None:
        self._outage = outage
        self._pool = pool
        self._timeout = timeout

    async def call(
        self, operation: str, function: Callable[[], T], default: T, *, give_up: Callable[[], object] | None = None
    ) -> T:
        """Return what ``function`` does, or ``default`` when the store is away and errors are ignored.

        ``give_up()`` is called when the task that waits for it is cancelled.
        """
        run = InThread(
            self._pool, lambda: self._outage.run(operation, function, default), self._timeout, give_up=give_up
        )
        try:
            return await run
        except DeadlineExceeded:
            if not self._outage.ignores:
                raise
            return default  # all threads wait for a store that is away
