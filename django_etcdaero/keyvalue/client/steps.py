"""What protocols of the key-value client ask for, one step after the other, and until when they wait for it; how steps
are carried out is in :mod:`django_etcdaero.system.steps`.

Limits are moments by ``time.monotonic()`` until which a caller is willing to wait, however many calls that takes.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import suppress

from django_etcdaero.keyvalue.ops import Txn
from django_etcdaero.keyvalue.values import (
    PromptSink,
    RangeRequest,
    RangeResult,
    TxnResult,
    WatchBatch,
    WatchHandle,
    WatchLost,
    WatchRequest,
)
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Bell
from django_etcdaero.system.steps import Call, Step

from .open_watches import Followed
from .scope import Scope

SLACK = 0.01
"""Seconds by which a store's own timer may be ahead of ours."""

_SHORTEST = 0.001


def seconds_left(limit: float) -> float:
    """Return the time that a call may take; when the limit has passed the shortest there is, so that it fails."""
    return max(_SHORTEST, limit - monotonic())


def is_over(limit: float) -> bool:
    """Tell whether an error that comes now is due to the limit."""
    return monotonic() >= limit - SLACK


# --- calls -----------------------------------------------------------------------------------------------------------


class Commit(Call[TxnResult]):
    """Run a transaction; the answer is its result."""

    __slots__ = ()

    def __init__(self, txn: Txn, timeout: float | None) -> None:
        super().__init__(txn.commit, txn.acommit, timeout=timeout)


class Read(Step[RangeResult]):
    """Read keys; the answer is the result, without the client's prefix."""

    __slots__ = ("_request", "_scope", "_timeout")

    def __init__(self, scope: Scope, request: RangeRequest, timeout: float | None) -> None:
        self._scope = scope
        self._request = request
        self._timeout = timeout

    def block(self) -> RangeResult:
        keyspace = self._scope.keyspace
        return keyspace.inward(self._scope.open_engine().range(keyspace.outward(self._request), timeout=self._timeout))

    async def suspend(self) -> RangeResult:
        keyspace = self._scope.keyspace
        request = keyspace.outward(self._request)
        return keyspace.inward(await self._scope.open_engine().arange(request, timeout=self._timeout))


# --- waiting ---------------------------------------------------------------------------------------------------------


class Changes:
    """A lock, and a way for threads and tasks to wait for what it guards."""

    def __init__(self, wake: Callable[[], object] | None = None) -> None:
        """``wake()`` is called, with the lock, whenever something changed; it must not raise."""
        self.bell = Bell()
        self.wakers: list[Callable[[], object]] = [] if wake is None else [wake]
        self.lock = threading.RLock()

    def notify_all(self) -> None:
        """Wake all who wait. With the lock."""
        self.bell.ring()
        for wake in tuple(self.wakers):
            wake()


class Until(Step[bool]):
    """Wait until ``condition()``, at most some seconds (``None``: without a limit); the answer is whether it holds."""

    __slots__ = ("_changes", "_condition", "_seconds")

    def __init__(self, changes: Changes, condition: Callable[[], bool], seconds: float | None) -> None:
        """All of ``changes`` are woken when ``condition()``, which needs no lock, may have come true."""
        self._changes = changes
        self._condition = condition
        self._seconds = seconds

    def block(self) -> bool:
        return self._changes.bell.wait_for(self._condition, self._seconds)

    async def suspend(self) -> bool:
        if self._condition():
            return True
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(woken.set)

        self._changes.wakers.append(wake)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    while not self._condition():
                        await woken.wait()
                        woken.clear()
            return self._condition()
        finally:
            self._changes.wakers.remove(wake)


class Alarm:
    """A lease, a place in a queue, an object under a lease: what ends every wait that is for its sake."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()
        """Guards what follows, and the state of the class that is one."""
        self._listeners: list[Callable[[], object]] | None = []

    def subscribe(self, listener: Callable[[], object]) -> None:
        """Call ``listener()`` once, from the thread that finds out, when it ends in any way; now if it has ended.

        For the parts of the client: a listener must be quick and never raise.
        """
        with self._mutex:
            if self._listeners is not None:
                self._listeners.append(listener)
                return
        listener()

    def unsubscribe(self, listener: Callable[[], object]) -> None:
        """Take a listener off again, if it is there."""
        with self._mutex:
            if self._listeners and listener in self._listeners:
                self._listeners.remove(listener)

    def _ring(self) -> None:
        """Tell that it has ended. Without the mutex."""
        with self._mutex:
            listeners, self._listeners = self._listeners or [], None
        for listener in listeners:
            listener()


async def wait(
    alarm: Alarm,
    left: Callable[[], float],
    *watches: tuple[Scope, WatchRequest, Followed],
    poll: float = math.inf,
    enough: Callable[[WatchBatch], bool] | None = None,
) -> WatchLost | None:
    """Wait for the first events of a watch, for the end of a watch or for ``alarm``, whichever comes first.

    Return the reason for which a watch ended, if one did. ``left()`` returns the
    seconds left (0: the wait is over) or raises to end the wait; it is asked again when they have passed, and each
    ``poll`` seconds. ``enough()``, in the threads that bring events, tells of each batch whether it ends the wait.
    """
    woken = _Woken(enough)
    alarm.subscribe(woken.wake)
    try:
        for scope, request, followed in watches:
            woken.handles.append(await scope.start_watch(request, woken, followed, timeout=left()))
        while (seconds := left()) > 0 and not await Until(woken.changes, woken.is_set, min(seconds, poll)):
            continue
    finally:
        alarm.unsubscribe(woken.wake)
        woken.leave()
    return woken.lost


async def pause(alarm: Alarm, seconds: float) -> None:
    """Wait some seconds, or until ``alarm``."""
    limit = monotonic() + seconds
    await wait(alarm, lambda: limit - monotonic())


class _Woken(PromptSink):
    """What ends a wait."""

    def __init__(self, enough: Callable[[WatchBatch], bool] | None) -> None:
        self.changes = Changes(self._leave_for_a_closed_loop)
        self.lost: WatchLost | None = None
        self.handles: list[WatchHandle] = []
        """Of the watches, as soon as each is known."""
        self._enough = enough
        self._set = False
        self._loop: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):  # none is running
            self._loop = asyncio.get_running_loop()

    def is_set(self) -> bool:
        return self._set

    def wake(self) -> None:
        with self.changes.lock:
            self._set = True
            self.changes.notify_all()

    def leave(self) -> None:
        """End the watches."""
        for handle in self.handles:
            handle.cancel()

    def __call__(self, batch: WatchBatch) -> None:
        self.lost = self.lost if batch.lost is None else batch.lost
        ends = bool(batch.events) and (self._enough is None or self._enough(batch))
        if ends or batch.lost is not None:
            self.wake()

    def _leave_for_a_closed_loop(self) -> None:
        if self._loop is not None and self._loop.is_closed():
            self.leave()  # the task that waits does not any more
