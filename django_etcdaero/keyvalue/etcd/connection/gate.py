"""The gate that every use of gRPC goes through, so that a fork or the closing can wait until nobody is inside.

With it the steps of protocols (:mod:`django_etcdaero.system.steps`) that wait at the gate, or inside for an answer.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from grpc import StatusCode

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded
from django_etcdaero.keyvalue.etcd.messages.calling import GRACE, Unanswered
from django_etcdaero.keyvalue.etcd.messages.classes import Metadata
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Bell
from django_etcdaero.system.steps import Step

_GATE_POLL = 0.01
"""Seconds between two looks of a task at a gate that is closed, which it is while the process forks."""


class Gate:
    """Knows who is inside. It can be closed for a while (callers wait) or shut for good (they are refused).

    There is no lock on the way of a call, which a signal handler that raises could leave taken: whoever goes in adds a
    mark, and looks whether the gate is open after that; whoever closes it looks for marks after that.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        self.inside: set[object] = set()
        """The marks of those who are inside. Every call changes it by itself, in one step each::

            mark = object()
            try:
                gate.inside.add(mark)
                if not gate.is_open:
                    gate.wait(mark, deadline)
                ...
            finally:
                gate.inside.discard(mark)
                if not gate.is_open:
                    gate.left()
        """
        self.is_open = True
        """False while it is closed, and once it is shut. Read only; no property, because every call reads it."""
        self.is_shut = False
        """True after :meth:`shut`. Read only, too."""
        self._forking = False
        self._mutex = threading.Lock()  # who closes or shuts it first
        self._changed = Bell()

    def wait(self, mark: object, deadline: float | None) -> None:
        """Wait outside until the gate is open or ``deadline`` (of ``time.monotonic``, ``None``: no limit) has passed.

        For a caller who has come in with ``mark``, and is inside again afterwards, also if it raises
        ``DeadlineExceeded``, or ``Cancelled`` because the gate is shut.
        """
        while not self.is_open:
            if self.is_shut:
                raise self.refused()
            left = None if deadline is None else max(0.0, deadline - monotonic())
            try:
                self.inside.discard(mark)
                self._changed.ring()
                if not self._changed.wait_for(lambda: self.is_shut or not self._forking, left):
                    raise self.late()
            finally:
                self.inside.add(mark)

    def enter(self, mark: object) -> bool:
        """Go in with ``mark`` if the gate is open; return whether it is. Raises ``Cancelled`` when it is shut."""
        self.inside.add(mark)
        if self.is_open:
            return True
        self.leave(mark)
        if self.is_shut:
            raise self.refused()
        return False

    def leave(self, mark: object) -> None:
        """Go out again."""
        self.inside.discard(mark)
        if not self.is_open:
            self.left()

    def left(self) -> None:
        """Tell who waits for an empty room that somebody has left."""
        self._changed.ring()

    def late(self) -> DeadlineExceeded:
        """Return the error for a caller who has waited at a closed gate for as long as the call may take."""
        return DeadlineExceeded("the process was forking for as long as the call was allowed to take")

    def refused(self) -> Cancelled:
        """Return the error for a caller at a gate that is shut."""
        return Cancelled(f"the engine on {self._location} was closed")

    def close(self) -> bool:
        """Let nobody in until :meth:`open`; return whether it was open."""
        with self._mutex:
            was_open, self._forking, self.is_open = not self._forking, True, False
            return was_open

    def open(self) -> None:
        """Let those in who wait."""
        with self._mutex:
            self._forking, self.is_open = False, not self.is_shut
        self._changed.ring()

    def shut(self) -> bool:
        """Let nobody in any more; return whether it was this call that shut it."""
        with self._mutex:
            first, self.is_shut, self.is_open = not self.is_shut, True, False
        self._changed.ring()
        return first

    def wait_empty(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until nobody is inside; return whether that is so."""
        return self._changed.wait_for(lambda: not self.inside, timeout)


class Entry:
    """One caller's entry into the gate. Of one protocol; entering and leaving may be repeated.

    It ends at the latest with this object: what an exception has left inside does not hold up forks for ever.
    """

    __slots__ = ("__weakref__", "_mark", "gate")

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._mark = weakref.ref(self, gate.inside.discard)

    @property
    def is_inside(self) -> bool:
        """Whether it is."""
        return self._mark in self.gate.inside

    def try_enter(self) -> bool:
        """Go in if the gate is open; return whether it is. Raises ``Cancelled`` when it is shut."""
        return self.is_inside or self.gate.enter(self._mark)

    def enter(self, deadline: float | None) -> None:
        """Go in; wait while the gate is closed, until ``deadline`` (of ``time.monotonic``, ``None``: no limit).

        Raises ``DeadlineExceeded``, and ``Cancelled`` when the gate is shut.
        """
        if self.try_enter():
            return
        try:
            self.gate.inside.add(self._mark)
            self.gate.wait(self._mark, deadline)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Go out again, if inside. Allowed in gRPC's thread and the task's at once."""
        self.gate.leave(self._mark)


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
            if self._deadline is not None and monotonic() >= self._deadline:
                raise self._entry.gate.late()
            await asyncio.sleep(_GATE_POLL)


class Send(Step[Any]):
    """Make a unary call of gRPC inside the gate; the answer is the server's.

    Raises ``grpc.RpcError``, and ``ChannelClosed``. An awaited call has left the gate when it
    ends.
    """

    __slots__ = ("_call", "_entry", "_message", "_metadata", "_movable", "_timeout", "_wait")

    def __init__(
        self,
        entry: Entry,
        call: Any,
        message: Any,
        timeout: float,
        metadata: Metadata = (),
        *,
        movable: bool,
        wait: bool = False,
    ) -> None:
        """``timeout`` is in seconds; ``movable``: if the channel is left meanwhile it is as well to ask on another one,
        so an awaited call ends as lost; ``wait``: for a connection, too.
        """
        self._entry = entry
        self._call = call
        self._message = message
        self._timeout = timeout
        self._metadata = metadata
        self._movable = movable
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
        channel, loop = under_way.guarded, asyncio.get_running_loop()
        limit = monotonic() + self._timeout + GRACE

        timer = loop.call_later(self._timeout + GRACE, lambda: look())

        def look() -> None:
            nonlocal timer
            left = limit - monotonic()  # a test may have moved on the clock of the loop
            if left <= 0:
                tell()
            else:
                timer = loop.call_later(left, look)

        try:
            if self._movable:
                channel.movable.add(tell)
                if channel.is_left:
                    tell()
            await answered
        except BaseException:  # the task was cancelled, or its loop has ended without it
            under_way.cancel()
            raise
        finally:
            timer.cancel()
            channel.movable.discard(tell)
        if not under_way.done():
            under_way.cancel()
            raise (
                channel.silent() if monotonic() >= limit else Unanswered(StatusCode.UNAVAILABLE, "the channel was left")
            )
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
