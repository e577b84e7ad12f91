import threading
import time
from collections.abc import Callable

import pytest

from django_etcdaero.kv.background import Worker
from django_etcdaero.threads import Background, join


def interrupt_starts(monkeypatch: pytest.MonkeyPatch, times: int = 1) -> None:
    """Let a signal handler raise just before a thread would run."""
    start, left = threading.Thread.start, [times]

    def interrupted(thread: threading.Thread) -> None:
        if left[0]:
            left[0] -= 1
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)


def test_it_runs_once_however_often_it_is_started() -> None:
    started: list[int] = []
    go_on = threading.Event()

    def target() -> None:
        started.append(1)
        go_on.wait(10)

    thread = Background(target, name="t")
    assert not thread.alive
    for _ in range(3):
        thread.start()
    assert thread.alive
    assert not thread.join(0.01)
    go_on.set()
    assert thread.join(10)
    assert (started, thread.alive) == ([1], False)


def test_to_join_what_never_ran_or_oneself_returns_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = Background(lambda: None, name="t")
    assert thread.join(10)
    interrupt_starts(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
    assert thread.join(10)
    assert join(threading.Thread(), 10)
    assert join(threading.current_thread(), 10)


def test_after_an_interrupted_start_it_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = threading.Event()
    thread = Background(ran.set, name="t")
    interrupt_starts(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
    thread.start()
    assert ran.wait(10)


@pytest.mark.parametrize("again", [True, False])
def test_a_worker_whose_start_was_interrupted_works_or_stops(monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    worker, ran = Worker("w"), threading.Event()
    task: Callable[[], None] = ran.set
    interrupt_starts(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        worker.submit(task)
    if again:
        worker.submit(task)
        assert ran.wait(10)
    before = time.monotonic()
    worker.stop(timeout=5)
    assert time.monotonic() - before < 5
