"""Two methods of one protocol: the blocking one, and its awaitable twin."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .steps import adrive, drive

P = ParamSpec("P")
T = TypeVar("T")


def twins(
    protocol: Callable[P, Coroutine[Any, Any, T]], *, name: str | None = None, awaited: str | None = None
) -> tuple[Callable[P, T], Callable[P, Coroutine[Any, Any, T]]]:
    """Return the two forms of ``protocol``, a method ``async def _put`` over steps: ``put, aput = twins(_put)``.

    ``name`` and ``awaited`` name them where they are called otherwise.
    """
    name = name or protocol.__name__.removeprefix("_")
    place = protocol.__qualname__.removesuffix(protocol.__name__)

    @wraps(protocol)
    def blocking(*args: P.args, **kwargs: P.kwargs) -> T:
        return drive(protocol(*args, **kwargs))

    @wraps(protocol)
    async def awaitable(*args: P.args, **kwargs: P.kwargs) -> T:
        return await adrive(protocol(*args, **kwargs))

    blocking.__name__, blocking.__qualname__ = name, place + name
    awaitable.__name__ = awaited or f"a{name}"
    awaitable.__qualname__ = place + awaitable.__name__
    return blocking, awaitable
