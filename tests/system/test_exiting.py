"""The end of a command by a signal, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.paths import ROOT

START = """
import multiprocessing, os, signal, sys, threading, time
from django_etcdaero.system import exiting
"""

TOLD_TO_ANOTHER_THREAD = """
blocked = threading.Lock()
blocked.acquire()

def interrupt():
    time.sleep(0.5)  # the main thread is blocked by then: only what comes to itself interrupts it
    signal.pthread_kill(threading.get_ident(), signal.{signal})
    time.sleep(60)

with exiting.exit_on_signals(own_process=True, code={code}):
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        blocked.acquire()
    finally:
        print("on the way out", flush=True)
"""

ENDLESS = """
exiting.PATIENCE = 0.5
with exiting.exit_on_signals(own_process=True, code={code}):
    try:
        signal.raise_signal(signal.{signal})
    finally:
        print("on the way out", flush=True)
        threading.Event().wait()
"""

ENDED_FORK = """
exiting.PATIENCE = 0.1
with exiting.exit_on_signals(own_process=True):
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.write(tell, b"1")  # Python has forgotten what came while it forked
        time.sleep(60)
        os._exit(1)
    os.read(told, 1)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    time.sleep(1)  # longer than a guard that was told would wait
print("done", flush=True)
"""


MANY_ENDED_FORKS = """
with exiting.exit_on_signals(own_process={own}):
    for _ in range(200):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(1)
        os.kill(child, signal.{signal})  # at once: most are not through the hooks of their fork
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.{signal}
    handler = signal.getsignal(signal.{signal})
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
assert signal.getsignal(signal.{signal}) != handler
print("done", flush=True)
"""

FORKING_THREADS = """
def fork():
    for _ in range(50):
        child = os.fork()
        if not child:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

with exiting.exit_on_signals(own_process=True):
    threads = [threading.Thread(target=fork) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        signal.raise_signal(signal.SIGTERM)
    except SystemExit as ended:
        print(ended.code, flush=True)
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    # CPython 3.12 and newer warn of a fork with threads, which is the very case of some scripts.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", START + script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", None), ("SIGINT", None), ("SIGTERM", 0)])
def test_a_main_thread_that_blocks_for_ever_is_told(name: str, code: int | None) -> None:
    ended = run(TOLD_TO_ANOTHER_THREAD.format(signal=name, code=code))
    assert (ended.stdout, ended.stderr) == ("on the way out\n", "")
    assert ended.returncode == 128 + signal.Signals[name]


@pytest.mark.parametrize(
    ("name", "code", "expected"), [("SIGTERM", None, 143), ("SIGINT", None, 130), ("SIGTERM", 0, 0)]
)
def test_a_way_out_that_does_not_end_is_cut_short(name: str, code: int | None, expected: int) -> None:
    ended = run(ENDLESS.format(signal=name, code=code))
    assert (ended.stdout, ended.returncode) == ("on the way out\n", expected), ended.stderr


def test_the_end_of_a_fork_is_not_the_end_of_its_parent() -> None:
    ended = run(ENDED_FORK)
    assert (ended.stdout, ended.returncode) == ("done\n", 0), ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_fork_ends_by_a_signal_however_early_it_comes(name: str, own: bool) -> None:
    ended = run(MANY_ENDED_FORKS.format(signal=name, own=own))
    assert (ended.stdout, ended.returncode) == ("done\n", 0), ended.stderr


def test_threads_that_fork_at_once_leave_the_signals_as_they_were() -> None:
    ended = run(FORKING_THREADS)
    assert (ended.stdout, ended.stderr) == ("143\n", "")
