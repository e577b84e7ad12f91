"""What ``get_or_set`` is asked for, and the steps in which it waits and loads."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async

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

    @property
    def life(self) -> Life:
        """The life of what is loaded now."""
        return life_of(self.timeout, stale=self.stale, jitter=self.jitter, exact=self.eager is not None)


class Wait(Step[bool]):
    """Wait for an event; the answer is whether it was set."""

    __slots__ = ("_event", "_timeout")

    def __init__(self, event: threading.Event, timeout: float) -> None:
        self._event = event
        self._timeout = timeout

    def block(self) -> bool:
        return self._event.wait(self._timeout)

    async def suspend(self) -> bool:
        limit = time.monotonic() + self._timeout
        pause = 0.001
        while not self._event.is_set() and time.monotonic() < limit:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.02)
        return self._event.is_set()


class Load(Step[Any]):
    """Call the user's function, which may be a coroutine function where an event loop waits."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def block(self) -> Any:
        value = self._function()
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError("get_or_set() was given a coroutine function; await aget_or_set() instead")
        return value

    async def suspend(self) -> Any:
        return await called(self._function)


async def called(function: Callable[[], Any]) -> Any:
    """Return what ``function`` gives, called in a thread unless it is a coroutine function."""
    value = function() if inspect.iscoroutinefunction(function) else await sync_to_async(function)()
    while inspect.isawaitable(value):
        value = await value
    return value


def load_of(default: Any) -> Callable[[], Any]:
    """Return a function that gives the value: ``default`` itself if it can be called."""
    return default if callable(default) else lambda: default


def names(tags: Iterable[str] | str) -> tuple[str, ...]:
    """Return ``tags`` as a tuple. Raises ``TypeError`` for anything but an iterable of ``str``, and for one ``str``."""
    if isinstance(tags, str):
        raise TypeError(f"tags must be a list of str, not the str {tags!r}")
    found = tuple(dict.fromkeys(tags))
    for tag in found:
        if not isinstance(tag, str):
            raise TypeError(f"a tag must be a str, not {type(tag).__name__}")
        if not tag:
            raise ValueError("a tag must have one character at least")
    return found
