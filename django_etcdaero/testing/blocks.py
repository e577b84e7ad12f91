"""Context managers that decorate tests: functions, coroutine functions and whole classes.

``contextlib.ContextDecorator`` makes a function of whatever it decorates. Of a class that leaves no tests at all, and a
generator would only run when the block has ended. Here classes stay classes, and what cannot work is refused.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from contextlib import ExitStack
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, Final, TypeVar, cast
from unittest import TestCase

T = TypeVar("T", bound=Callable[..., Any])

_BLOCKS: Final = "_etcdaero_blocks"
"""Where a class keeps what it was decorated with, outermost first."""
_ENTERED: Final = "_etcdaero_entered"


class Block(ABC):
    """A context manager that can be entered again inside itself, and that decorates tests."""

    @abstractmethod
    def __enter__(self) -> Any: ...

    @abstractmethod
    def __exit__(self, *exc_info: object) -> None: ...

    def __call__(self, target: T) -> T:
        """Decorate a function, a coroutine function, or a test class: then each of its tests runs inside the block.

        Raises ``TypeError`` for other classes and for generator functions, which run after the block would have ended.
        """
        if isinstance(target, type):
            self._decorate_class(target)
            return target
        if not callable(target):
            raise self._refusal(f"{target!r} is not a function")
        if isgeneratorfunction(target) or isasyncgenfunction(target):
            raise self._refusal(f"{_name(target)} is a generator function, use 'with' inside it")
        return cast(T, self._coroutine(target) if iscoroutinefunction(target) else self._function(target))

    def _function(self, function: Any) -> Any:
        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                result = function(*args, **kwargs)
                if isinstance(result, Generator | Coroutine | AsyncGenerator):
                    if not isinstance(result, AsyncGenerator):
                        result.close()
                    raise self._refusal(f"{_name(function)} returned a {type(result).__name__}, use 'with' inside it")
                return result

        return inside

    def _coroutine(self, function: Any) -> Any:
        @wraps(function)
        async def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return inside

    def _decorate_class(self, cls: Any) -> None:
        if issubclass(cls, TestCase):
            cls.setUp = _entering(cls.setUp)
        elif "pytest" in sys.modules and any(name.startswith("test") for name in dir(cls)):
            cls._etcdaero_enter = _entering_fixture()
        else:
            raise self._refusal(f"{cls.__qualname__} is not a class of tests")
        setattr(cls, _BLOCKS, (self, *vars(cls).get(_BLOCKS, ())))

    def _refusal(self, reason: str) -> TypeError:
        return TypeError(f"{type(self).__name__} decorates functions, coroutine functions and test classes: {reason}")


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", repr(function))


def _blocks(cls: type) -> list[Block]:
    """Return what a class and its bases were decorated with; a subclass has the last word."""
    return [block for each in reversed(cls.__mro__) for block in vars(each).get(_BLOCKS, ())]


def _entering(set_up: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @wraps(set_up)
    def enter_and_set_up(test: TestCase) -> Any:
        if _ENTERED not in vars(test):  # the setUp of a decorated base comes here, too
            setattr(test, _ENTERED, True)
            test.addCleanup(delattr, test, _ENTERED)
            for block in _blocks(type(test)):
                test.enterContext(block)
        return set_up(test)

    return enter_and_set_up


def _entering_fixture() -> Any:
    import pytest

    @pytest.fixture(autouse=True)
    def enter(self: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for block in _blocks(type(self)):
                stack.enter_context(block)
            yield

    return enter
