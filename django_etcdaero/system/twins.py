"""Two methods of one protocol: the blocking one, and its awaitable twin. Likewise ``with`` and ``async with``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from .acting import acts
from .blocking import refuse_in_event_loop
from .leaving import Exit, WayOut
from .steps import adrive, drive

P = ParamSpec("P")
T = TypeVar("T")


def twins(
    protocol: Callable[P, Coroutine[Any, Any, T]], *, name: str | None = None, awaited: str | None = None
) -> tuple[Callable[P, T], Callable[P, Coroutine[Any, Any, T]]]:
    """Return the two forms of ``protocol``, a method ``async def _put`` over steps: ``put, aput = twins(_put)``.

    ``name`` and ``awaited`` name them where they are called otherwise. If the protocol acts, so do both. In an event
    loop the blocking one raises ``InvalidRequest``.
    """
    name = name or protocol.__name__.removeprefix("_")
    place = protocol.__qualname__.removesuffix(protocol.__name__)
    twin = awaited or f"a{name}"
    told, instead = f"{name}()", f"await {twin}(…)"

    @wraps(protocol)
    def blocking(*args: P.args, **kwargs: P.kwargs) -> T:
        refuse_in_event_loop(told, instead)
        return drive(protocol(*args, **kwargs))

    @wraps(protocol)
    async def awaitable(*args: P.args, **kwargs: P.kwargs) -> T:
        return await adrive(protocol(*args, **kwargs))

    blocking.__name__, blocking.__qualname__ = name, place + name
    awaitable.__name__, awaitable.__qualname__ = twin, place + twin
    return blocking, acts(awaitable)


class TwinBlocks:
    """What is entered and left by ``with`` and ``async with``, by two protocols."""

    async def _enter(self) -> None:
        """Do nothing, unless a class does."""

    async def _leave(self, error: type[BaseException] | None) -> None:
        """End it; ``error`` is what the body has raised."""
        raise NotImplementedError

    def _abort(self) -> None:
        """End it in the background, if it has not ended: a signal handler has raised between two steps."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        refuse_in_event_loop("'with'", "async with")
        way_out = WayOut.of(self)
        try:
            drive(self._enter())
            if way_out is not None:
                way_out.expected = True
            return self
        except BaseException:
            self._abort()
            raise

    if TYPE_CHECKING:  # a checker of types looks for a method, and takes a descriptor for none

        def __exit__(self, error: type[BaseException] | None, *exc_info: object) -> None: ...

    else:
        __exit__ = Exit()

    async def __aenter__(self) -> Self:
        await adrive(self._enter())
        return self

    async def __aexit__(self, error: type[BaseException] | None, *exc_info: object) -> None:
        await adrive(self._leave(error))
