"""An event that calls who listens, besides waking who waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from django_etcdaero.keyvalue.etcd.connection.waiting import waker
from django_etcdaero.system.steps import Step


class Settlement(threading.Event):
    """Set once and for all."""

    def __init__(self) -> None:
        super().__init__()
        self._mutex = threading.Lock()
        self._listener: Callable[[], object] | None = None

    def set(self) -> None:
        """Wake all threads that wait and call the listener."""
        super().set()
        with self._mutex:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener()

    def listen(self, listener: Callable[[], object]) -> None:
        """Call ``listener()`` from the thread that sets it, now if it is set. A new listener replaces the last one."""
        with self._mutex:
            self._listener = listener
        if self.is_set():
            self.set()


class Settled(Step[bool]):
    """Wait until a settlement is set, for some seconds at most; the answer is whether it is."""

    __slots__ = ("_seconds", "_settlement")

    def __init__(self, settlement: Settlement, seconds: float) -> None:
        self._settlement = settlement
        self._seconds = seconds

    def block(self) -> bool:
        return self._settlement.wait(self._seconds)

    async def suspend(self) -> bool:
        told, tell = waker()
        self._settlement.listen(tell)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await told
        return self._settlement.is_set()
