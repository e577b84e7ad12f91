import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_etcdaero.keyvalue.client.background import Worker
from django_etcdaero.system.threads import Background, join, wait, wait_for


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


def raise_late(monkeypatch: pytest.MonkeyPatch, waiting: type) -> None:
    """Let a signal come in just before the main thread blocks: its handler runs when the thread wakes up next."""
    real, pending = waiting.wait, [True]

    def wait(self: object, timeout: float | None = None) -> bool:
        done: bool = real(self, timeout)
        if pending and threading.current_thread() is threading.main_thread():
            pending.clear()
            raise SystemExit(143)
        return done

    monkeypatch.setattr(waiting, "wait", wait)


def test_a_signal_is_seen_soon_however_long_the_main_thread_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    raise_late(monkeypatch, threading.Event)
    with pytest.raises(SystemExit):
        wait(threading.Event(), math.inf)
    raise_late(monkeypatch, threading.Condition)
    with pytest.raises(SystemExit), (condition := threading.Condition()):
        wait_for(condition, lambda: False, None)


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_waits_end_with_what_is_waited_for_or_with_the_time(in_main_thread: bool) -> None:
    def check() -> None:
        event, condition = threading.Event(), threading.Condition()
        assert not wait(event, 0.01)
        with condition:
            assert not wait_for(condition, lambda: False, 0.01)
            assert wait_for(condition, lambda: True, None)
        threading.Timer(0.7, event.set).start()  # later than the first look after signals
        assert wait(event, 10)
        assert wait(event, 0)

    if in_main_thread:
        check()
    else:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(check).result(20)


def ends(code: str) -> str:
    """Run a process that prints at its very end, after all else that is done then."""
    program = f"import atexit, threading, time\n@atexit.register\ndef last() -> None:\n    print(told())\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


def test_none_starts_when_the_process_ends() -> None:
    told = ends(
        """
from django_etcdaero.system.threads import Background
thread = Background(threading.Event().wait, name="t")
def told() -> bool:
    thread.start()
    return thread.alive
"""
    )
    assert told == "False"


def test_the_end_of_the_process_waits_for_one_that_is_starting() -> None:
    told = ends(
        """
from django_etcdaero.system.threads import Background
started, begun, start = [], threading.Event(), threading.Thread.start
def slow(thread: threading.Thread) -> None:
    start(thread)
    begun.set()
    time.sleep(0.5)
    started.append(thread.is_alive())
thread = Background(threading.Event().wait, name="t")
threading.Thread.start = slow
start(threading.Thread(target=thread.start, daemon=True))
begun.wait(10)
told = started.copy
"""
    )
    assert told == "[True]"


FORK = """
import os, threading
os.register_at_fork(after_in_child=lambda: mine.start())  # runs before what the package may have registered
from django_etcdaero.system.threads import Background

held, go_on, start = threading.Event(), threading.Event(), threading.Thread.start

def slow(thread: threading.Thread) -> None:
    held.set()
    go_on.wait(20)
    start(thread)

mine, other = Background(threading.Event().wait, name="mine"), Background(go_on.wait, name="other")
threading.Thread.start = slow
start(threading.Thread(target=other.start))
held.wait(20)
threading.Thread.start = start
if os.fork() == 0:
    print(mine.alive, flush=True)
    os._exit(0)
go_on.set()
os.wait()
"""


def test_a_child_can_start_them_whoever_was_starting_one_at_the_fork() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


class Interruption(Exception):
    """What a signal handler raises."""


def test_what_a_signal_handler_raises_while_a_thread_starts_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise Interruption

    name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
    begin, ran, go_on = getattr(threading, name), threading.Event(), threading.Event()

    def begin_and_be_interrupted(*args: object, **options: object) -> None:
        begin(*args, **options)
        ran.wait(20)
        signal.raise_signal(signal.SIGUSR1)

    def run() -> None:
        ran.set()
        go_on.wait(20)

    thread = Background(run, name="interrupted")
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(threading, name, begin_and_be_interrupted)
            with pytest.raises(Interruption):
                thread.start()
        assert thread.alive
    finally:
        signal.signal(signal.SIGUSR1, before)
        go_on.set()
    assert thread.join(20)
