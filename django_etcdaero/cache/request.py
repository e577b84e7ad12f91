"""What ``get_or_set`` is asked for, and the steps in which it waits and loads."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async

from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.functions import is_coroutine_function
from django_etcdaero.system.steps import Step

from .lifetime import Life, life_of


@dataclass(frozen=True, slots=True)
class Request:
    """What ``get_or_set`` was asked for. Times are in seconds."""

    prefix: str
    key: str
    load: Callable[[], Any]
    timeout: float | None
    tags: tuple[str, ...] = ()
    stale: float = 0.0
    soft_timeout: float | None = None
    eager: float | None = None
    """Share of the timeout after which the entry is loaded anew in the background."""
    jitter: float = 0.0
    awaited: bool = False
    """An event loop waits: ``load`` may be a coroutine function, or give something to await."""

    @property
    def life(self) -> Life:
        """The life of what is loaded now."""
        return life_of(self.timeout, stale=self.stale, jitter=self.jitter, exact=self.eager is not None)


class Wait(Step[bool]):
    """Wait for an event; the answer is whether it was set."""

    __slots__ = ("_event", "_timeout")

    def __init__(self, event: Flag, timeout: float) -> None:
        self._event = event
        self._timeout = timeout

    def block(self) -> bool:
        return self._event.wait(self._timeout)

    async def suspend(self) -> bool:
        limit = monotonic() + self._timeout
        pause = 0.001
        while not self._event.is_set() and monotonic() < limit:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.02)
        return self._event.is_set()


class Load(Step[Any]):
    """Call the user's function, which may be a coroutine function where an event loop waits."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def block(self) -> Any:
        return plain_value(self._function)

    async def suspend(self) -> Any:
        return await called(self._function)


def refuse_to_await(default: object) -> None:
    """Raise ``TypeError`` for a ``default`` of ``get_or_set`` that nothing there would await."""
    if is_coroutine_function(default):
        raise TypeError(f"get_or_set(): default must not be a coroutine function, as {default!r}: await aget_or_set()")


def refuse_awaitable(value: object, what: str) -> None:
    """Raise ``TypeError`` for an awaitable, which is closed; ``what`` says whose it is."""
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError(f"get_or_set(): {what}, a {type(value).__name__}: await aget_or_set() with a function instead")


def plain_value(function: Callable[[], Any]) -> Any:
    """Return what ``function`` gives. Raises ``TypeError`` for something that is to be awaited."""
    value = function()
    refuse_awaitable(value, "default must not return what is to be awaited")
    return value


async def called(function: Callable[[], Any]) -> Any:
    """Return what ``function`` gives, called in a thread unless it is a coroutine function."""
    return await _awaited(function() if is_coroutine_function(function) else await sync_to_async(function)())


async def _awaited(value: Any) -> Any:
    while inspect.isawaitable(value):
        value = await value
    return value


def from_a_thread(function: Callable[[], Any], loop: asyncio.AbstractEventLoop, *, timeout: float) -> Callable[[], Any]:
    """Return a function for another thread that gives what ``function`` gives.

    What is to be awaited is awaited in ``loop``, where it belongs, for ``timeout`` seconds at most.
    """

    def call() -> Any:
        value = function()
        if not inspect.isawaitable(value):
            return value
        waiting = _awaited(value)
        try:
            future = asyncio.run_coroutine_threadsafe(waiting, loop)
        except RuntimeError:  # the loop was closed
            waiting.close()
            if inspect.iscoroutine(value):
                value.close()
            raise
        try:
            return future.result(timeout)
        finally:
            future.cancel()

    return call


def names(tags: Iterable[str] | str) -> tuple[str, ...]:
    """Return ``tags`` as a tuple. Raises ``TypeError`` for anything but an iterable of ``str``, and for one ``str``."""
    if isinstance(tags, str):
        raise TypeError(f"tags must be a list of str, not the str {tags!r}")
    found = tuple(tags)
    for tag in found:
        if not isinstance(tag, str):
            raise TypeError(f"a tag must be a str, not {type(tag).__name__}")
        if not tag:
            raise ValueError("a tag must have one character at least")
    return tuple(dict.fromkeys(found))
