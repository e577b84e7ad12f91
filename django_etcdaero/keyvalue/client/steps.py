"""What a protocol asks for, one step after the other, and the two drivers that carry it out.

A protocol (entering a line, waiting, leaving) is written once, as a generator that yields steps and is sent their
answers; errors are thrown into it where it yielded. :func:`drive` does the steps with blocking calls, :func:`adrive`
with awaits. When the caller is interrupted instead (``KeyboardInterrupt``, the cancellation of a task) the generator
gets that exception, or ``GeneratorExit``, and must end without asking for another step.
"""

from __future__ import annotations

import asyncio
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from django_etcdaero.keyvalue.txn import Txn
from django_etcdaero.keyvalue.values import PromptSink, WatchBatch, WatchLost, WatchRequest
from django_etcdaero.system.threads import wait

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.facade import KV

T = TypeVar("T")


class Step(ABC):
    """One thing that a protocol needs done."""

    @abstractmethod
    def block(self) -> Any:
        """Do it in this thread and return the answer."""

    @abstractmethod
    async def suspend(self) -> Any:
        """Do it without blocking the event loop and return the answer."""


Steps: TypeAlias = Generator[Step, Any, T]
"""A protocol that ends with a ``T``."""


class Alarm(Protocol):
    """What ends every wait: a lease or a guard."""

    def subscribe(self, listener: Callable[[], object]) -> None:
        """Call ``listener()`` from any thread when the wait is pointless; now if it is already."""

    def unsubscribe(self, listener: Callable[[], object]) -> None:
        """Take a listener off again, if it is there."""


class Commit(Step):
    """Run a transaction; the answer is its result."""

    def __init__(self, txn: Txn, timeout: float | None) -> None:
        self._txn = txn
        self._timeout = timeout

    def block(self) -> Any:
        return self._txn.commit(timeout=self._timeout)

    async def suspend(self) -> Any:
        return await self._txn.acommit(timeout=self._timeout)


class OpenSession(Step):
    """Get the client's session of a time to live; the answer is the session."""

    def __init__(self, kv: KV, ttl: int, timeout: float | None) -> None:
        self._kv = kv
        self._ttl = ttl
        self._timeout = timeout

    def block(self) -> Any:
        return self._kv.session(self._ttl, timeout=self._timeout)

    async def suspend(self) -> Any:
        return await self._kv.asession(self._ttl, timeout=self._timeout)


class Wait(Step):
    """Wait for the first events of a watch, for the end of the watch or for an alarm, whichever comes first.

    The answer is the reason for which the watch ended, if it did. Without a request it is only a pause.
    """

    def __init__(
        self,
        kv: KV,
        alarm: Alarm,
        left: Callable[[], float],
        request: WatchRequest | None = None,
        *,
        poll: float | None = None,
    ) -> None:
        """``left()`` returns the seconds left (0: the wait is over) or raises to end the wait; it is asked again when
        they have passed, and each ``poll`` seconds if that is given."""
        self._kv = kv
        self._alarm = alarm
        self._left = left
        self._request = request
        self._poll = math.inf if poll is None else poll
        self._lost: WatchLost | None = None

    def block(self) -> Any:
        woken = threading.Event()
        watch = None
        if self._request is not None:
            watch = self._kv.watch_raw(self._request, _Waker(self, woken.set), timeout=self._left())
        self._alarm.subscribe(woken.set)
        try:
            while (left := self._left()) > 0 and not wait(woken, min(left, self._poll)):
                continue
        finally:
            self._alarm.unsubscribe(woken.set)
            if watch is not None:
                watch.cancel()
        return self._lost

    async def suspend(self) -> Any:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop may have been closed
                loop.call_soon_threadsafe(woken.set)

        watch = None
        if self._request is not None:
            watch = await self._kv.awatch_raw(self._request, _Waker(self, wake), timeout=self._left())
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


def drive(steps: Steps[T]) -> T:
    """Carry a protocol out in this thread and return what it ends with."""
    try:
        step = steps.send(None)
        while True:
            try:
                answer = step.block()
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        steps.close()  # an interrupt may come between two steps


async def adrive(steps: Steps[T]) -> T:
    """Carry a protocol out in the running event loop and return what it ends with."""
    try:
        step = steps.send(None)
        while True:
            try:
                answer = await step.suspend()
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        steps.close()
