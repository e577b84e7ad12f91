"""Which exceptions came from outside of the code that they went through."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from django_etcdaero.system.interruption import interrupts


class TimeIsUp(Exception):
    """As a limit on the time of a task raises it."""


def raising(number: int, frame: object) -> None:
    raise TimeIsUp


def raising_with(extra: object, number: int, frame: object) -> None:
    raise TimeIsUp


class Raising:
    def handle(self, number: int, frame: object) -> None:
        raise TimeIsUp

    def __call__(self, number: int, frame: object) -> None:
        raise TimeIsUp


@contextmanager
def installed(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def raised_by(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "handler",
    [raising, Raising().handle, Raising(), partial(raising_with, 1)],
    ids=["function", "method", "object", "partial"],
)
def test_what_a_handler_of_a_signal_raises(handler: Any) -> None:
    with installed(handler):
        assert interrupts(raised_by(lambda: signal.raise_signal(signal.SIGUSR1)))
        assert not interrupts(raised_by(lambda: int("x")))


def test_the_same_exception_raised_by_the_code_itself_is_its_own() -> None:
    def code() -> None:
        raise TimeIsUp

    with installed(raising):
        assert not interrupts(raised_by(code))


@pytest.mark.parametrize("error", [SystemExit(1), RuntimeError(), BaseException()])
def test_faults_of_the_code(error: BaseException) -> None:
    assert not interrupts(error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), type("GreenletExit", (BaseException,), {})()])
def test_what_nobody_raises_for_a_fault(error: BaseException) -> None:
    assert interrupts(error)
