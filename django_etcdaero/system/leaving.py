"""Leaving a ``with``, also where a signal handler raises before the first instruction of what ``with`` calls for it.

CPython handles signals where a function begins, and no code of that function can catch what is raised there: a lock
would be held for as long as the process lives. But a ``with`` statement alone holds the object that it will call at the
end. When that is freed although it was not called, the block has been left nevertheless, and is ended in a thread.
"""

from __future__ import annotations

import _thread
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from .steps import drive


class Block(Protocol):
    """What is left by a ``with``."""

    def _leave(self, error: type[BaseException] | None) -> Coroutine[Any, Any, None]: ...

    def _abort(self) -> None: ...


class WayOut:
    """How one ``with`` ends its block."""

    __slots__ = ("__weakref__", "_block", "expected")

    _latest = threading.local()
    """``made``: the last one of this thread, which is that of the ``with`` that enters now."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self.expected = False
        """The block was entered, and has not been left."""

    @classmethod
    def for_with(cls, block: Block) -> WayOut:
        """Return that of a ``with`` that is about to enter ``block``."""
        made = cls(block)
        cls._latest.made = weakref.ref(made)
        return made

    @classmethod
    def of(cls, block: Block) -> WayOut | None:
        """Return that of the ``with`` that enters ``block`` in this thread; ``None``: it is not entered by one."""
        made: WayOut | None = getattr(cls._latest, "made", _nothing)()
        return made if made is not None and made._block is block else None

    def __call__(self, error: type[BaseException] | None, *exc_info: object) -> None:
        try:
            drive(self._block._leave(error))
            self.expected = False
        except BaseException:
            self.expected = False
            self._block._abort()
            raise

    def __del__(self) -> None:
        if self.expected:
            # Anything may be under way in this thread, with whatever locks: it can do nothing here but begin another.
            with suppress(RuntimeError):  # the interpreter ends
                _thread.start_new_thread(self._block._abort, ())


class Exit:
    """The ``__exit__`` of a class of blocks: ``with`` asks the object for it before entering, others ask the class."""

    def __get__(self, block: Block | None, owner: type[Any]) -> Callable[..., None]:
        return _leave if block is None else WayOut.for_with(block)


def _leave(block: Block, error: type[BaseException] | None, *exc_info: object) -> None:
    WayOut(block)(error, *exc_info)


def _nothing() -> None:
    return None
