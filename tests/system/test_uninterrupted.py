"""Calls that handlers of signals do not interrupt."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_etcdaero.system import uninterrupted as module
from django_etcdaero.system.uninterrupted import raised_inside, uninterrupted


class Interrupt(BaseException):
    """As a handler raises it."""


def test_what_a_call_returns_or_raises() -> None:
    assert uninterrupted(lambda: 1) == 1
    with pytest.raises(KeyError):
        uninterrupted(lambda: {}["x"])


def test_other_threads_make_it_themselves() -> None:
    with ThreadPoolExecutor(1) as threads:
        made_in = threads.submit(lambda: uninterrupted(threading.current_thread)).result()
    assert made_in.name.startswith("ThreadPoolExecutor")
    assert uninterrupted(threading.current_thread).name == "etcdaero-call"


def test_what_a_handler_raises_is_raised_when_the_call_has_ended() -> None:
    done: list[str] = []
    raised = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        done.append("raised")
        raised.set()
        raise Interrupt

    def call() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        assert raised.wait(20)
        done.append("ended")

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupt):
            uninterrupted(call)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert done == ["raised", "ended"]


def test_without_a_thread_to_be_had_the_call_is_made_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "_caller", None)
    monkeypatch.setattr(threading.Thread, "start", fail)
    assert uninterrupted(lambda: 1) == 1
    with pytest.raises(KeyError):
        uninterrupted(lambda: {}["x"])


def test_what_was_raised_inside_a_function_in_c() -> None:
    lost = SystemError("<method 'x'> returned a result with an exception set")
    lost.__cause__ = Interrupt()
    assert raised_inside(lost) is lost.__cause__
    bare = SystemError("x")
    assert raised_inside(bare) is bare


def test_one_thread_makes_the_calls_and_ends_when_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_caller", None)
    monkeypatch.setattr(module, "LINGER", 0.05)
    made_in = {uninterrupted(threading.get_ident) for _ in range(20)}
    assert len(made_in) == 1
    thread = uninterrupted(threading.current_thread)
    thread.join(20)
    assert not thread.is_alive()
    assert uninterrupted(lambda: 2) == 2


def test_calls_and_the_end_of_the_thread_may_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_caller", None)
    monkeypatch.setattr(module, "LINGER", 0.0)
    assert [uninterrupted(lambda number=number: number) for number in range(500)] == list(range(500))  # type: ignore[misc]
