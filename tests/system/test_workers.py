"""Jobs that block hold up no other, and few threads do the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.system import workers as module
from django_etcdaero.system.workers import PLACES, Workers
from tests.waiting import wait_until


class Gate:
    """Jobs that wait until they are let through; the order in which they began is remembered."""

    def __init__(self) -> None:
        self.began: list[object] = []
        self.opened = threading.Event()

    def job(self, name: object) -> Callable[[], None]:
        def run() -> None:
            self.began.append(name)
            assert self.opened.wait(20)

        return run


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers("test-workers")
    yield made
    made.stop()
    made.join(20)


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("test-workers")


def test_a_few_run_side_by_side_and_the_others_wait(workers: Workers, gate: Gate) -> None:
    for number in range(PLACES + 3):
        assert workers.submit(number, gate.job(number))
    wait_until(lambda: len(gate.began) == PLACES, what="the first jobs")
    assert threads() == PLACES
    assert workers.busy(PLACES + 2)
    gate.opened.set()
    wait_until(lambda: len(gate.began) == PLACES + 3, what="all jobs")
    assert sorted(gate.began) == list(range(PLACES + 3))  # type: ignore[type-var]
    assert threads() == PLACES


def test_who_takes_long_gives_the_place_away(workers: Workers, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(module, "monotonic", lambda: now)
    for number in range(3 * PLACES):
        workers.submit(number, gate.job(number))
    for turn in (1, 2, 3):
        wait_until(lambda turn=turn: len(gate.began) == turn * PLACES, what="the jobs of a turn")  # type: ignore[misc]
        tend_at = workers.tend()
        assert len(gate.began) == turn * PLACES
        if turn < 3:
            assert tend_at == now + module.HOLD
            now += module.HOLD
            workers.tend()
    assert workers.tend() is None


def test_of_one_key_one_job_runs_at_a_time(workers: Workers, gate: Gate) -> None:
    assert workers.submit("a", gate.job(1))
    wait_until(lambda: gate.began, what="the job")
    assert not workers.submit("a", gate.job(2))
    gate.opened.set()
    wait_until(lambda: not workers.busy("a"), what="its end")
    assert workers.submit("a", gate.job(3))
    wait_until(lambda: gate.began == [1, 3], what="the next job")


def test_what_somebody_waits_for_begins_at_once_in_the_order_of_need(workers: Workers, gate: Gate) -> None:
    for number in range(PLACES + 5):
        workers.submit(number, gate.job(number))
    wait_until(lambda: len(gate.began) == PLACES, what="the first jobs")
    others = [number for number in range(PLACES + 5) if number not in gate.began]
    late = others[3]
    assert not workers.submit(late, gate.job("never"), urgent=True)  # it waits already
    wait_until(lambda: gate.began[PLACES:] == [late], what="the one that became urgent")
    assert workers.submit("new", gate.job("new"), urgent=True)
    wait_until(lambda: gate.began[PLACES:] == [late, "new"], what="the urgent one")


def test_a_group_with_many_jobs_does_not_keep_another_waiting(
    workers: Workers, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(module, "monotonic", lambda: now)
    for number in range(5 * PLACES):
        workers.submit(number, gate.job("many"), group="many")
    workers.submit("one", gate.job("one"), group="one")
    wait_until(lambda: len(gate.began) == PLACES, what="the first jobs")
    now += module.HOLD
    workers.tend()
    wait_until(lambda: len(gate.began) == 2 * PLACES, what="the next jobs")
    assert "one" in gate.began


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(1), KeyboardInterrupt()])
def test_what_a_job_raises_is_logged_and_ends_no_thread(
    workers: Workers, gate: Gate, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    gate.opened.set()
    workers.submit("a", fail)
    wait_until(lambda: not workers.busy("a"), what="its end")
    assert workers.submit("a", gate.job(1))
    wait_until(lambda: gate.began == [1], what="the next job")
    assert "a job failed in a way that nobody foresaw" in caplog.text
    assert threads() == 1


def test_a_thread_without_work_ends(workers: Workers, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER", 0.01)
    gate.opened.set()
    workers.submit("a", gate.job(1))
    wait_until(lambda: gate.began == [1] and threads() == 0, what="the end of the thread")
    workers.submit("a", gate.job(2))
    wait_until(lambda: gate.began == [1, 2], what="another thread")


def test_where_no_thread_can_be_started_the_job_waits(
    workers: Workers, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    gate.opened.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert workers.submit("a", gate.job(1))
        assert workers.tend() is not None
    assert gate.began == []
    workers.tend()
    wait_until(lambda: gate.began == [1], what="the job")


def test_once_stopped_nothing_begins(workers: Workers, gate: Gate) -> None:
    for number in range(PLACES + 1):
        workers.submit(number, gate.job(number))
    wait_until(lambda: len(gate.began) == PLACES, what="the first jobs")
    workers.stop()
    assert not workers.submit("late", gate.job("late"))
    gate.opened.set()
    workers.join(20)
    assert len(gate.began) == PLACES
    assert threads() == 0


def test_many_threads_submit_and_everything_runs_once(workers: Workers) -> None:
    ran: list[int] = []
    submitted = [
        threading.Thread(target=lambda first=first: [  # type: ignore[misc]
            workers.submit(number, lambda number=number: ran.append(number), urgent=number % 3 == 0, group=number % 5)
            for number in range(first, first + 200)
        ])
        for first in range(0, 1600, 200)
    ]  # fmt: skip
    for thread in submitted:
        thread.start()
    for thread in submitted:
        thread.join(20)
    wait_until(lambda: len(ran) == 1600, what="all jobs")
    assert sorted(ran) == list(range(1600))


def test_the_end_of_a_job_is_told_when_another_of_its_key_may_begin() -> None:
    ran: list[str] = []
    told: list[tuple[object, bool]] = []

    def ended(key: object) -> None:
        told.append((key, not told and workers.submit(key, lambda: ran.append("again"))))

    workers = Workers("test-workers", on_end=ended)
    workers.submit("a", lambda: ran.append("first"))
    wait_until(lambda: len(told) == 2, what="the end of both")
    workers.stop()
    workers.join(20)
    assert ran == ["first", "again"]
    assert told == [("a", True), ("a", False)]
