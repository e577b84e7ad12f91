"""Locks between processes of one host, with processes that are stopped and killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.exceptions import StoreBusy
from django_etcdaero.inspection.locks import all_contended, release
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

TTL = 2


class HolderProcess:
    """A process that acquired the lock ``L``."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.programs.lock_holding", str(path), "L", str(TTL)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.token = self.read()["token"]

    def ask(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def kv(path: Path) -> Iterator[KV]:
    engine = EmbeddedEngine.file(path)
    client = KV(engine)
    yield client
    client.close()
    engine.close()


@pytest.fixture
def hold(kv: KV, path: Path) -> Iterator[Callable[[], HolderProcess]]:
    started: list[HolderProcess] = []

    def start() -> HolderProcess:
        started.append(HolderProcess(path))
        return started[-1]

    yield start
    for holder in started:
        holder.end()


def freeze(holder: HolderProcess, kv: KV) -> None:
    """Stop the process where it holds no lock of the file, as all but a few moments are."""

    def stopped_outside_a_transaction() -> bool:
        holder.process.send_signal(signal.SIGSTOP)
        try:
            kv.put("probe", "", timeout=0.2)
        except StoreBusy:
            holder.process.send_signal(signal.SIGCONT)
            return False
        return True

    wait_until(stopped_outside_a_transaction, what="a stopped process that blocks nobody")


def test_processes_exclude_each_other(kv: KV, hold: Callable[[], HolderProcess]) -> None:
    holder = hold()
    lock = kv.lock("L", ttl=TTL)
    assert not lock.try_acquire()
    told = lock.holder()
    assert told is not None
    assert (told.pid, told.token) == (holder.process.pid, holder.token)
    holder.ask()
    assert holder.read() == {"lost": False, "held": True, "guarded": True}


def test_a_holder_that_slept_past_its_ttl_knows_it_at_once_when_it_wakes(
    kv: KV, hold: Callable[[], HolderProcess]
) -> None:
    holder = hold()
    freeze(holder, kv)
    lock = kv.lock("L", ttl=TTL)
    lock.acquire(20)
    assert lock.token > holder.token
    holder.ask()
    holder.process.send_signal(signal.SIGCONT)
    assert holder.read() == {"lost": True, "held": False, "guarded": False}
    lock.check()
    lock.release()
    assert kv.get("guarded") is None


def test_the_lock_of_a_killed_holder_is_free_after_its_ttl(kv: KV, hold: Callable[[], HolderProcess]) -> None:
    holder = hold()
    holder.process.kill()
    with kv.lock("L", ttl=TTL, timeout=TTL + 3) as lock:
        assert lock.token > holder.token


def test_a_holder_that_was_killed_is_known_to_be_dead_until_its_lease_ends(
    kv: KV, hold: Callable[[], HolderProcess]
) -> None:
    holder = hold()
    (seen,) = all_contended(kv).found
    assert not seen.holder.dead
    holder.end()
    (seen,) = all_contended(kv).found
    assert (seen.holder.dead, seen.holder.pid, seen.holder.token) == (True, holder.process.pid, holder.token)
    assert release(kv, b"L", token=holder.token) == seen.holder
    assert all_contended(kv).found == []
