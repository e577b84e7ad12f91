"""What a call to a member waits for: steps of the protocols (:mod:`django_etcdaero.system.steps`) that make calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from grpc import StatusCode

from django_etcdaero.keyvalue.etcd.messages.classes import Metadata
from django_etcdaero.system.steps import Step

from .gate import Gate

_GATE_POLL = 0.01
"""Seconds between two looks of a task at a gate that is closed, which it is while the process forks."""


class Entry:
    """One caller's entry into the gate. Of one protocol; entering and leaving may be repeated."""

    __slots__ = ("_gate", "_inside")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._inside: list[bool] = []

    def try_enter(self) -> bool:
        """Go in if the gate is open; return whether it is. Raises ``Cancelled`` when it is shut."""
        if not self._inside:
            if not self._gate.try_enter():
                return False
            self._inside.append(True)
        return True

    def enter(self, deadline: float | None) -> None:
        """Go in as :meth:`Gate.enter` does."""
        if not self._inside:
            self._gate.enter(deadline)
            self._inside.append(True)

    def leave(self) -> None:
        """Go out again, if inside."""
        with suppress(IndexError):  # one C call on a list is atomic: gRPC's thread and the task's may both come here
            self._inside.pop()
            self._gate.leave()

    def late(self) -> Exception:
        """Return the error for a caller who could not enter in time."""
        return self._gate.late()


class Enter(Step[None]):
    """Go through the gate, as :meth:`Gate.enter`."""

    __slots__ = ("_deadline", "_entry")

    def __init__(self, entry: Entry, deadline: float | None) -> None:
        self._entry = entry
        self._deadline = deadline

    def block(self) -> None:
        self._entry.enter(self._deadline)

    async def suspend(self) -> None:
        while not self._entry.try_enter():
            if self._deadline is not None and time.monotonic() >= self._deadline:
                raise self._entry.late()
            await asyncio.sleep(_GATE_POLL)


class Send(Step[Any]):
    """Make a unary call of gRPC inside the gate; the answer is the server's.

    Raises ``grpc.RpcError``, and ``ValueError`` if the channel was closed. An awaited call has left the gate when it
    ends.
    """

    __slots__ = ("_call", "_entry", "_message", "_metadata", "_timeout", "_wait")

    def __init__(
        self, entry: Entry, call: Any, message: Any, timeout: float, metadata: Metadata = (), *, wait: bool = False
    ) -> None:
        """``timeout`` is in seconds; ``wait``: for a connection, too."""
        self._entry = entry
        self._call = call
        self._message = message
        self._timeout = timeout
        self._metadata = metadata
        self._wait = wait

    def block(self) -> Any:
        if self._wait:
            return self._call(self._message, self._timeout, self._metadata, wait_for_ready=True)
        return self._call(self._message, self._timeout, self._metadata)

    async def suspend(self) -> Any:
        under_way = self._call.future(self._message, self._timeout, self._metadata, wait_for_ready=self._wait or None)
        answered, tell = waker()
        entry = self._entry

        def done(_: Any) -> None:
            # Leaving is not left to the task: the loop may be waiting for a fork, which waits until nobody is inside.
            entry.leave()
            tell()

        under_way.add_done_callback(done)
        try:
            await answered
        except BaseException:  # the task was cancelled, or its loop has ended without it
            under_way.cancel()
            raise
        if under_way.code() is StatusCode.OK:
            return under_way.result()
        raise under_way


def waker() -> tuple[asyncio.Future[None], Callable[[], None]]:
    """Return a future of the running event loop, and a function that ends it, from any thread, once or often."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    def tell() -> None:
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(settle)

    return future, tell
