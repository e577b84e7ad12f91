"""The gate that every use of gRPC goes through, so that a fork or the closing can wait until nobody is inside.

With it the steps of protocols (:mod:`django_etcdaero.system.steps`) that wait at the gate, or inside for an answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from grpc import StatusCode

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded
from django_etcdaero.keyvalue.etcd.messages.classes import Metadata
from django_etcdaero.system.steps import Step

_GATE_POLL = 0.01
"""Seconds between two looks of a task at a gate that is closed, which it is while the process forks."""


class Gate:
    """Counts who is inside. It can be closed for a while (callers wait) or shut for good (they are refused)."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._lock = threading.Lock()  # used directly where every call passes: a condition costs more
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._open = True
        self.is_shut = False
        """True after :meth:`shut`. Read only; no property, because every call reads it."""

    def enter(self, deadline: float | None) -> None:
        """Go in; wait while the gate is closed, until ``deadline`` (of ``time.monotonic``, ``None``: no limit).

        Raises ``DeadlineExceeded``, and ``Cancelled`` when the gate is shut.
        """
        with self._lock:
            if self._open and not self.is_shut:
                self._inside += 1
                return
            if not self._open:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not self._changed.wait_for(lambda: self._open or self.is_shut, left):
                    raise self.late()
            self._go_in()

    def try_enter(self) -> bool:
        """Go in if the gate is open; return whether it is. Raises ``Cancelled`` when it is shut."""
        with self._changed:
            if self._open or self.is_shut:
                self._go_in()
            return self._open

    def late(self) -> DeadlineExceeded:
        """Return the error for a caller who has waited at a closed gate for as long as the call may take."""
        return DeadlineExceeded("the process was forking for as long as the call was allowed to take")

    def refused(self) -> Cancelled:
        """Return the error for a caller at a gate that is shut."""
        return Cancelled(f"the engine on {self._location} was closed")

    def _go_in(self) -> None:
        if self.is_shut:
            raise self.refused()
        self._inside += 1

    def leave(self) -> None:
        """Go out again."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and (self.is_shut or not self._open):
                self._changed.notify_all()

    def close(self) -> bool:
        """Let nobody in until :meth:`open`; return whether it was open."""
        with self._changed:
            was_open, self._open = self._open, False
            return was_open

    def open(self) -> None:
        """Let those in who wait."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def shut(self) -> bool:
        """Let nobody in any more; return whether it was this call that shut it."""
        with self._changed:
            first, self.is_shut = not self.is_shut, True
            self._changed.notify_all()
            return first

    @property
    def is_closed(self) -> bool:
        """True between :meth:`close` and :meth:`open`, and after :meth:`shut`."""
        return self.is_shut or not self._open

    def wait_empty(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until nobody is inside; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._inside == 0, timeout)


class Entry:
    """One caller's entry into the gate. Of one protocol; entering and leaving may be repeated."""

    __slots__ = ("_inside", "gate")

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._inside: list[bool] = []

    def try_enter(self) -> bool:
        """Go in if the gate is open; return whether it is. Raises ``Cancelled`` when it is shut."""
        if not self._inside:
            if not self.gate.try_enter():
                return False
            self._inside.append(True)
        return True

    def enter(self, deadline: float | None) -> None:
        """Go in as :meth:`Gate.enter` does."""
        if not self._inside:
            self.gate.enter(deadline)
            self._inside.append(True)

    def leave(self) -> None:
        """Go out again, if inside."""
        with suppress(IndexError):  # one C call on a list is atomic: gRPC's thread and the task's may both come here
            self._inside.pop()
            self.gate.leave()


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
                raise self._entry.gate.late()
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
