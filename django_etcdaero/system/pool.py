"""A few threads that make blocking calls for event loops."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded

from .clocks import monotonic
from .conditions import Condition
from .steps import Step
from .threads import join

T = TypeVar("T")

SIZE = 4
"""Threads at most, for who does not say otherwise: SQLite does one thing at a time, and what else comes is rare."""

_LINGER = 10.0
"""Seconds that a thread waits for another call before it ends."""


class _Job:
    """One call that an event loop waits for."""

    __slots__ = ("answer", "call", "context", "deadline", "given_up", "loop")

    def __init__(self, call: Callable[[float], Any], deadline: float) -> None:
        self.call = call
        self.context = contextvars.copy_context()
        """The call belongs to the span of the task that waits for it."""
        self.deadline = deadline
        self.given_up = False
        """Nobody waits for the answer any more."""
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Any] = self.loop.create_future()

    def run(self) -> None:
        """Make the call, unless it is too late for it, and wake up who waits."""
        if self.given_up:
            return
        left = self.deadline - monotonic()
        try:
            if left <= 0:
                raise DeadlineExceeded("no thread was free to make the call in time")
            result = self.context.run(self.call, left)
        except BaseException as error:
            self.settle(None, error)
        else:
            self.settle(result, None)

    def settle(self, result: Any, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)


class Pool:
    """Owner of a few threads ``etcdaero-async``, which run while there are calls, and for a while after them."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._changed = Condition()
        self._jobs: deque[_Job] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._stopped = False

    async def run(self, call: Callable[[float], T], *, timeout: float) -> T:
        """Return ``call(left)``, made in one of the threads with what is left of ``timeout`` (seconds) by then.

        Raises what it raises; ``DeadlineExceeded`` if no thread was free in time, ``Cancelled`` after :meth:`stop`.
        A call that is under way when the waiting task is cancelled is finished, and its result dropped.
        """
        job = _Job(call, monotonic() + timeout)
        with self._changed:
            if self._stopped:
                raise Cancelled("the store was closed")
            self._jobs.append(job)
            if len(self._jobs) > self._idle and len(self._threads) < self._size:
                thread = threading.Thread(target=self._run, name="etcdaero-async", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()
        try:
            answer: T = await job.answer
        except asyncio.CancelledError:
            job.given_up = True
            raise
        return answer

    def stop(self, *, timeout: float) -> None:
        """Refuse what has not begun and wait for the threads at most ``timeout`` seconds. Idempotent."""
        with self._changed:
            self._stopped = True
            left, self._jobs = self._jobs, deque()
            threads = tuple(self._threads)
            self._changed.notify_all()
        for job in left:
            job.settle(None, Cancelled("the store was closed"))
        limit = monotonic() + timeout
        for thread in threads:
            join(thread, max(0.0, limit - monotonic()))

    def _run(self) -> None:
        while (job := self._next()) is not None:
            job.run()
            del job  # while waiting for the next one nothing of this one is kept alive

    def _next(self) -> _Job | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._jobs or self._stopped, _LINGER)
            self._idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            if not self._stopped:
                self._threads.remove(threading.current_thread())
            return None


class InThread(Step[T]):
    """Call a function that can only block: here, or in one of a pool's threads."""

    __slots__ = ("_function", "_give_up", "_threads", "_timeout")

    def __init__(
        self,
        threads: Callable[[], Pool],
        function: Callable[[], T],
        timeout: float,
        *,
        give_up: Callable[[], object] | None = None,
    ) -> None:
        """``give_up()`` is called when nobody waits for it any more. ``timeout``: seconds until it must have begun."""
        self._threads = threads
        self._function = function
        self._timeout = timeout
        self._give_up = give_up

    def block(self) -> T:
        return self._function()

    async def suspend(self) -> T:
        try:
            return await self._threads().run(lambda _: self._function(), timeout=self._timeout)
        except asyncio.CancelledError:
            if self._give_up is not None:
                self._give_up()
            raise
