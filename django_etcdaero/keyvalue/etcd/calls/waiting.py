"""The two ways to make a call: a thread blocks, a task of an event loop is suspended.

What is tried, and when again, is written once, in :mod:`~django_etcdaero.keyvalue.etcd.calls.unary` and
:mod:`~django_etcdaero.keyvalue.etcd.watches.hub`; only the waiting is here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from grpc import StatusCode

from django_etcdaero.keyvalue.etcd.connection.gate import Gate
from django_etcdaero.keyvalue.etcd.connection.tokens import Metadata
from django_etcdaero.system.pool import Pool

from .settlement import Settlement

T = TypeVar("T")

_GATE_POLL = 0.01
"""Seconds between two looks of a task at a gate that is closed, which it is while the process forks."""


class Way(Protocol):
    """How one call waits. Of one caller, for one call."""

    async def enter(self, deadline: float | None) -> None:
        """Go through the gate, as :meth:`Gate.enter`."""

    def leave(self) -> None:
        """Go out again. Idempotent."""

    async def send(self, call: Any, message: Any, timeout: float, metadata: Metadata, *, wait: bool = False) -> Any:
        """Make a unary call of gRPC inside the gate and return the answer. ``wait``: for a connection, too.

        Raises ``grpc.RpcError``, and ``ValueError`` if the channel was closed.
        """

    async def run(self, function: Callable[[], T], timeout: float) -> T:
        """Return ``function()``, which may block for about ``timeout`` seconds."""

    async def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""

    async def settled(self, settlement: Settlement, seconds: float) -> bool:
        """Wait until it is settled, at most ``seconds``; return whether it is."""


class BlockingWay:
    """The thread itself waits. Its coroutines never suspend: :func:`django_etcdaero.keyvalue.blocking.complete`."""

    __slots__ = ("_gate", "_inside")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._inside = False

    async def enter(self, deadline: float | None) -> None:
        self._gate.enter(deadline)
        self._inside = True

    def leave(self) -> None:
        if self._inside:
            self._inside = False
            self._gate.leave()

    async def send(self, call: Any, message: Any, timeout: float, metadata: Metadata, *, wait: bool = False) -> Any:
        if wait:
            return call(message, timeout, metadata, wait_for_ready=True)
        return call(message, timeout, metadata)

    async def run(self, function: Callable[[], T], timeout: float) -> T:
        return function()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def settled(self, settlement: Settlement, seconds: float) -> bool:
        return settlement.wait(seconds)


class AwaitingWay:
    """The task is suspended; the thread of its event loop never waits."""

    __slots__ = ("_gate", "_inside", "_loop", "_threads")

    def __init__(self, gate: Gate, threads: Pool) -> None:
        """``threads`` are for the rare thing that can only block: logging in."""
        self._gate = gate
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._inside: list[bool] = []

    async def enter(self, deadline: float | None) -> None:
        while not self._gate.try_enter():
            if deadline is not None and time.monotonic() >= deadline:
                raise self._gate.late()
            await asyncio.sleep(_GATE_POLL)
        self._inside.append(True)

    def leave(self) -> None:
        with suppress(IndexError):  # one C call on a list is atomic: gRPC's thread and the task's may both come here
            self._inside.pop()
            self._gate.leave()

    async def send(self, call: Any, message: Any, timeout: float, metadata: Metadata, *, wait: bool = False) -> Any:
        under_way = call.future(message, timeout, metadata, wait_for_ready=wait or None)
        loop = self._loop
        answered: asyncio.Future[None] = loop.create_future()

        def done(_: Any) -> None:
            # Leaving is not left to the task: the loop may be waiting for a fork, which waits until nobody is inside.
            self.leave()
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(_settle, answered)

        under_way.add_done_callback(done)
        try:
            await answered
        except BaseException:  # the task was cancelled, or its loop has ended without it
            under_way.cancel()
            raise
        if under_way.code() is StatusCode.OK:
            return under_way.result()
        raise under_way

    async def run(self, function: Callable[[], T], timeout: float) -> T:
        return await self._threads.run(lambda left: function(), timeout=timeout)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def settled(self, settlement: Settlement, seconds: float) -> bool:
        loop = self._loop
        told: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(_settle, told)

        settlement.listen(tell)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await told
        return settlement.is_set()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
