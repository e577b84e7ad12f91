"""``@kv.lock("name")``: a function that runs under a lock, each call under a lock object of its own."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.arguments import check_function
from django_etcdaero.system.blocking import refuse_in_event_loop
from django_etcdaero.system.functions import is_coroutine_function
from django_etcdaero.system.threads import in_event_loop

P = ParamSpec("P")
R = TypeVar("R")


class Held(AbstractContextManager[Any], AbstractAsyncContextManager[Any], Protocol):
    """What is entered and left around a call. A protocol."""


def under(make: Callable[[], Held], function: Callable[P, R], label: str) -> Callable[P, R]:
    """Return ``function`` such that each call is made in ``with make()``, one of a coroutine function awaited in it.

    A call in a call of the same thread or task would wait for itself: it raises ``InvalidRequest``.
    """
    check_function("what is decorated", function, may_be_awaited=True)
    name = getattr(function, "__qualname__", repr(function))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidRequest(f"{name} is a generator: it would run when the lock {label!r} is released already")
    callers: set[Hashable] = set()

    @contextmanager
    def one_call() -> Iterator[None]:
        caller: Hashable = (asyncio.current_task() if in_event_loop() else None) or threading.get_ident()
        if caller in callers:
            raise InvalidRequest(f"{name}() calls itself under the lock {label!r}, which it holds already")
        callers.add(caller)
        try:
            yield
        finally:
            callers.discard(caller)

    if is_coroutine_function(function):

        @wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            with one_call():
                async with make():
                    return await cast("Awaitable[Any]", function(*args, **kwargs))

        return cast("Callable[P, R]", awaited)

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        refuse_in_event_loop(f"{name}(), which waits for the lock {label!r},", f"async def {name}(…)")
        with one_call(), make():
            answer = function(*args, **kwargs)
            if inspect.iscoroutine(answer):
                answer.close()
                raise InvalidRequest(f"{name}() returned a coroutine, which would run when {label!r} is released")
            return answer

    return called
