"""One way to write what exists in a blocking and in an awaitable form: as coroutines over steps, with two drivers.

A protocol (entering a queue, waiting, a call that is tried again) is written once, as an ``async def`` that awaits
:class:`Step` objects and other protocols. :func:`drive` carries it out in the calling thread, without an event loop:
each step blocks until it is done. :func:`adrive` carries it out in the running event loop: each step is awaited. An
error of a step is raised where the step was awaited. When the caller is interrupted instead (``KeyboardInterrupt``, the
cancellation of a task) that exception is raised there, or ``GeneratorExit`` between two steps, and the protocol must
end without asking for another step.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, ParamSpec, TypeVar, cast

from django_etcdaero.exceptions import InvalidRequest

from .clocks import monotonic
from .turns import Claim, Turn

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_LOCK_POLL = 0.01
"""Seconds between two tries of a task to take a turn that threads take as well."""


class Step(ABC, Generic[T_co]):
    """One thing that a protocol needs done from outside; awaiting it gives the answer."""

    __slots__ = ()

    @abstractmethod
    def block(self) -> T_co:
        """Do it in this thread and return the answer."""

    @abstractmethod
    async def suspend(self) -> T_co:
        """Do it without blocking the event loop and return the answer."""

    def __await__(self) -> Generator[Step[Any], Any, T_co]:
        answer: T_co = yield self
        return answer


class Call(Step[T]):
    """Make a call that exists in both forms, which take the same arguments."""

    __slots__ = ("_acall", "_arguments", "_call", "_options")

    def __init__(
        self, call: Callable[P, T], acall: Callable[P, Awaitable[T]], /, *arguments: P.args, **options: P.kwargs
    ) -> None:
        self._call = call
        self._acall = acall
        self._arguments = arguments
        self._options = options

    def block(self) -> T:
        return self._call(*self._arguments, **self._options)

    async def suspend(self) -> T:
        return await self._acall(*self._arguments, **self._options)


class Apply(Step[T]):
    """Call a function of the user's, which may be a coroutine function where an event loop carries the protocol out."""

    __slots__ = ("_argument", "_function")

    def __init__(self, function: Callable[[Any], T | Awaitable[T]], argument: Any) -> None:
        self._function = function
        self._argument = argument

    def block(self) -> T:
        answer = self._function(self._argument)
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            raise InvalidRequest(
                f"{self._function!r} returned what is to be awaited, which only the awaited form of this call does"
            )
        return answer

    async def suspend(self) -> T:
        answer = self._function(self._argument)
        return cast("T", await answer if inspect.isawaitable(answer) else answer)


class Take(Step[bool]):
    """Take a turn within some seconds; the answer is whether it was taken."""

    __slots__ = ("_claim", "_timeout", "_turn")

    def __init__(self, turn: Turn, claim: Claim, timeout: float) -> None:
        self._turn = turn
        self._claim = claim
        self._timeout = timeout

    def block(self) -> bool:
        return self._turn.wait(self._claim, self._timeout)

    async def suspend(self) -> bool:
        limit = monotonic() + self._timeout
        while not (taken := self._turn.take(self._claim)) and monotonic() < limit:
            await asyncio.sleep(_LOCK_POLL)
        return taken


class Pause(Step[None]):
    """Do nothing for some seconds."""

    __slots__ = ("_seconds",)

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def block(self) -> None:
        time.sleep(self._seconds)

    async def suspend(self) -> None:
        await asyncio.sleep(self._seconds)


def drive(protocol: Coroutine[Any, Any, T]) -> T:
    """Carry a protocol out in this thread; return its result or raise its error."""
    try:
        step = protocol.send(None)
        while True:
            try:
                answer = step.block()
            except BaseException as error:
                step = protocol.throw(error)
            else:
                step = protocol.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        protocol.close()  # a signal handler that raises may have left it between two steps


async def adrive(protocol: Coroutine[Any, Any, T]) -> T:
    """Carry a protocol out in the running event loop; return its result or raise its error."""
    try:
        step = protocol.send(None)
        while True:
            try:
                answer = await step.suspend()
            except BaseException as error:
                if inspect.getcoroutinestate(protocol) == inspect.CORO_CLOSED:  # of two that are garbage it went first
                    raise
                step = protocol.throw(error)
            else:
                step = protocol.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        protocol.close()
