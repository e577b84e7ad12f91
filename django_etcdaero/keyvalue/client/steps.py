"""What protocols of the key-value client ask for, one step after the other; how they are carried out is in
:mod:`django_etcdaero.system.steps`.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import suppress

from django_etcdaero.keyvalue.txn import Txn
from django_etcdaero.keyvalue.values import (
    PromptSink,
    RangeRequest,
    RangeResult,
    TxnResult,
    WatchBatch,
    WatchHandle,
    WatchLost,
    WatchRequest,
    WatchSink,
)
from django_etcdaero.system.steps import Step
from django_etcdaero.system.threads import wait, wait_for

from .alarm import Alarm
from .scope import Scope


class Commit(Step[TxnResult]):
    """Run a transaction; the answer is its result."""

    __slots__ = ("_timeout", "_txn")

    def __init__(self, txn: Txn, timeout: float | None) -> None:
        self._txn = txn
        self._timeout = timeout

    def block(self) -> TxnResult:
        return self._txn.commit(timeout=self._timeout)

    async def suspend(self) -> TxnResult:
        return await self._txn.acommit(timeout=self._timeout)


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


class StartWatch(Step[WatchHandle]):
    """Start a watch of the engine; ``sink`` gets keys with the full prefix. The answer is the watch."""

    __slots__ = ("_request", "_scope", "_sink", "_timeout")

    def __init__(self, scope: Scope, request: WatchRequest, sink: WatchSink, timeout: float | None) -> None:
        self._scope = scope
        self._request = request
        self._sink = sink
        self._timeout = timeout

    def block(self) -> WatchHandle:
        return self._scope.watch_raw(self._request, self._sink, timeout=self._timeout)

    async def suspend(self) -> WatchHandle:
        return await self._scope.awatch_raw(self._request, self._sink, timeout=self._timeout)


class Wait(Step[WatchLost | None]):
    """Wait for the first events of a watch, for the end of the watch or for an alarm, whichever comes first.

    The answer is the reason for which the watch ended, if it did. Without a watch it is only a pause.
    """

    def __init__(
        self,
        alarm: Alarm,
        left: Callable[[], float],
        watch: tuple[Scope, WatchRequest] | None = None,
        *,
        poll: float | None = None,
    ) -> None:
        """``left()`` returns the seconds left (0: the wait is over) or raises to end the wait; it is asked again when
        they have passed, and each ``poll`` seconds if that is given."""
        self._alarm = alarm
        self._left = left
        self._watch = watch
        self._poll = math.inf if poll is None else poll
        self._lost: WatchLost | None = None

    def block(self) -> WatchLost | None:
        woken = threading.Event()
        watch = None
        if self._watch is not None:
            scope, request = self._watch
            watch = scope.watch_raw(request, _Waker(self, woken.set), timeout=self._left())
        self._alarm.subscribe(woken.set)
        try:
            while (left := self._left()) > 0 and not wait(woken, min(left, self._poll)):
                continue
        finally:
            self._alarm.unsubscribe(woken.set)
            if watch is not None:
                watch.cancel()
        return self._lost

    async def suspend(self) -> WatchLost | None:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop may have been closed
                loop.call_soon_threadsafe(woken.set)

        watch = None
        if self._watch is not None:
            scope, request = self._watch
            watch = await scope.awatch_raw(request, _Waker(self, wake), timeout=self._left())
        self._alarm.subscribe(wake)
        try:
            while (left := self._left()) > 0 and not woken.is_set():
                try:
                    async with asyncio.timeout(min(left, self._poll)):
                        await woken.wait()
                except TimeoutError:
                    continue
        finally:
            self._alarm.unsubscribe(wake)
            if watch is not None:
                watch.cancel()
        return self._lost

    def end(self, why: WatchLost) -> None:
        """Be told that the watch has ended."""
        self._lost = why


class _Waker(PromptSink):
    """Ends a wait."""

    def __init__(self, waiting: Wait, wake: Callable[[], object]) -> None:
        self._waiting = waiting
        self._wake = wake

    def __call__(self, batch: WatchBatch) -> None:
        if batch.lost is not None:
            self._waiting.end(batch.lost)
        if batch.events or batch.lost is not None:
            self._wake()


class Until(Step[bool]):
    """Wait until ``condition()``, at most some seconds (``None``: without a limit); the answer is whether it holds."""

    def __init__(
        self,
        changed: threading.Condition,
        wakers: list[Callable[[], object]],
        condition: Callable[[], bool],
        seconds: float | None,
    ) -> None:
        """``changed`` is notified, and each of ``wakers`` called, when ``condition()`` may have come true."""
        self._changed = changed
        self._wakers = wakers
        self._condition = condition
        self._seconds = seconds

    def block(self) -> bool:
        with self._changed:
            return wait_for(self._changed, self._condition, self._seconds)

    async def suspend(self) -> bool:
        if self._condition():
            return True
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(woken.set)

        with self._changed:
            self._wakers.append(wake)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    while not self._condition():
                        await woken.wait()
                        woken.clear()
            return self._condition()
        finally:
            with self._changed:
                self._wakers.remove(wake)
