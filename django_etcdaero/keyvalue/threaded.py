"""Blocking calls of an engine, made for event loops in a few threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from django_etcdaero.system.acting import acts
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.pool import Pool

from .values import WatchBatch, WatchHandle, WatchLost, WatchSink

P = ParamSpec("P")
T = TypeVar("T")

_STOP_TIMEOUT = 5.0
"""Seconds that closing waits for calls under way."""


class ThreadedCalls:
    """Owner of the threads that make an engine's calls for event loops."""

    default_timeout: float = 5.0
    """Seconds that a call without a timeout may take."""

    async def in_thread(self, call: Callable[[float], T], *, timeout: float | None = None) -> T:
        """Return ``call(left)``, made in a thread of the engine; ``left`` are the seconds that are left for it.

        For what is rare and has no awaitable form. Raises what ``call`` raises, ``DeadlineExceeded`` and ``Cancelled``.
        """
        seconds = self.default_timeout if timeout is None else check_seconds("timeout", timeout)
        return await self._threads().run(call, timeout=seconds)

    async def _start_in_thread(
        self, start: Callable[[float], WatchHandle], sink: WatchSink, timeout: float | None
    ) -> WatchHandle:
        """Return the watch that ``start(left)`` starts in a thread.

        A cancelled call leaves no watch behind; nor does one whose event loop was closed meanwhile, which ``sink`` is
        told: the task may never learn it.
        """
        loop = asyncio.get_running_loop()
        mutex = threading.Lock()
        given_up = False
        started: list[WatchHandle] = []

        def keep_or_cancel(left: float) -> WatchHandle:
            handle = start(left)
            with mutex:
                started.append(handle)
                unwanted = given_up
            if unwanted or loop.is_closed():
                handle.cancel()
            if loop.is_closed():
                sink(WatchBatch((), 0, WatchLost.CLOSED))
            return handle

        try:
            return await self.in_thread(keep_or_cancel, timeout=timeout)
        except BaseException:
            with mutex:
                given_up = True
            for handle in started:
                handle.cancel()
            raise

    def _threads(self) -> Pool:
        # One C call on a dict is atomic: no lock here that a fork could leave held.
        pool: Pool = self.__dict__.get("_pool") or self.__dict__.setdefault("_pool", Pool())
        return pool

    def _stop_threads(self) -> None:
        """Closing: refuse what has not begun, wait for what is under way, within some seconds."""
        self._threads().stop(timeout=_STOP_TIMEOUT)

    def _forget_threads(self) -> None:
        """In the child of a fork, where the threads are not."""
        self.__dict__.pop("_pool", None)


def threaded(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return the awaitable twin of a blocking method: what stands in that one's place is called in a thread."""
    name = method.__name__

    @wraps(method, updated=())  # the twin of an abstract method is not abstract
    async def awaitable(self: ThreadedCalls, *arguments: Any, timeout: float | None = None, **options: Any) -> T:
        call: Callable[..., T] = getattr(self, name)
        return await self.in_thread(lambda left: call(*arguments, timeout=left, **options), timeout=timeout)

    awaitable.__name__ = f"a{name}"
    awaitable.__qualname__ = method.__qualname__.removesuffix(name) + awaitable.__name__
    return cast("Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]", acts(awaitable))
