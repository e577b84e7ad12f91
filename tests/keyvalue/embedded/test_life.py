"""Opening, sharing, forking and closing embedded engines, and what they do with time."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from django_etcdaero.exceptions import Cancelled, Compacted, LeaseNotFound
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, Retention, drop_memory
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, WatchLost, WatchRequest
from tests.keyvalue.recording import Recording, short
from tests.paths import ROOT
from tests.waiting import wait_until

Started = Callable[[], set[str]]

_numbers = itertools.count()


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a store in memory, forgotten after the test."""
    name = f"life-{next(_numbers)}"
    yield name
    drop_memory(name)


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


# memory --------------------------------------------------------------------------------------------------------------


def test_engines_in_memory_share_their_data_by_name(name: str) -> None:
    with closing(EmbeddedEngine.memory(name)) as one, closing(EmbeddedEngine.memory(name)) as two:
        with closing(EmbeddedEngine.memory(name + "-other")) as other:
            seen = Recording()
            two.watch(WatchRequest(b"a"), seen)
            one.put(PutRequest(b"a", b"1"))
            assert short(seen.wait(1)) == ["+a=1"]
            assert other.range(RangeRequest(b"a")).count == 0
        drop_memory(name + "-other")


def test_data_in_memory_survives_closing_until_it_is_dropped(name: str) -> None:
    with closing(EmbeddedEngine.memory(name)) as engine:
        engine.put(PutRequest(b"a"))
    with closing(EmbeddedEngine.memory(name)) as engine:
        assert engine.range(RangeRequest(b"a")).count == 1
        drop_memory(name)
        assert engine.range(RangeRequest(b"a")).count == 1
    with closing(EmbeddedEngine.memory(name)) as engine:
        assert engine.range(RangeRequest(b"a")).revision == 1


# closing -------------------------------------------------------------------------------------------------------------


def test_one_thread_serves_all_watches_and_close_joins_it(engine: EmbeddedEngine, started: Started) -> None:
    assert started() == set()
    sinks = [Recording() for _ in range(50)]
    for sink in sinks:
        engine.watch(WatchRequest(b"a"), sink)
    assert started() == {"etcdaero-watch"}
    engine.close()
    assert started() == set()
    assert {sink.wait_lost() for sink in sinks} == {WatchLost.CLOSED}
    gc.collect()  # an unclosed connection would warn here


def test_close_inside_a_sink_ends_the_engine(engine: EmbeddedEngine, started: Started) -> None:
    closed = threading.Event()

    def sink(batch: object) -> None:
        engine.close()
        closed.set()

    engine.watch(WatchRequest(b"a"), sink)
    engine.put(PutRequest(b"a"))
    assert closed.wait(10)
    wait_until(lambda: not started(), what="the end of the thread")
    with pytest.raises(Cancelled):
        engine.put(PutRequest(b"a"))


def test_close_while_threads_are_at_work_breaks_none_of_them(engine: EmbeddedEngine) -> None:
    outcomes: list[BaseException] = []
    started = threading.Barrier(5)

    def work() -> None:
        started.wait(10)
        try:
            while True:
                engine.put(PutRequest(b"a"))
                engine.range(RangeRequest(b"a"))
        except BaseException as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait(10)
    engine.close()
    if engine.info.location.startswith("mem:"):
        drop_memory(engine.info.location.removeprefix("mem:"))
    for thread in threads:
        thread.join(20)
    assert [type(error) for error in outcomes] == [Cancelled] * 4


# forks ---------------------------------------------------------------------------------------------------------------

FORK = """
import os, sys, threading
from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, WatchRequest

def open():
    return EmbeddedEngine.file(sys.argv[1]) if sys.argv[1] else EmbeddedEngine.memory()

engine = open()
engine.put(PutRequest(b"a", b"parent"))
# The watch thread is kept inside of its sink: a fork while a thread is inside of SQLite may hang by SQLite's own locks.
inside, go_on = threading.Event(), threading.Event()
handle = engine.watch(WatchRequest(b"a"), lambda batch: (inside.set(), go_on.wait(10)))
engine.put(PutRequest(b"a", b"seen"))
inside.wait(10)
if sys.argv[2] == "held":
    # Another thread is inside of every lock at the moment of the fork.
    for lock in (engine._close_lock, engine._store.reader._lock, engine._hub._lock):
        threading.Thread(target=lock.acquire).start()
pid = os.fork()
if pid == 0:
    for _ in range(2):
        try:
            engine.range(RangeRequest(b"a"))
        except ConfigurationError as error:
            assert "fork" in str(error)
        else:
            raise AssertionError("used across a fork")
        engine.abandon()
    handle.cancel()
    engine.close()
    mine = open()
    mine.put(PutRequest(b"b", b"child"))
    print(mine.range(RangeRequest(b"a")).count, mine.range(RangeRequest(b"b")).count, flush=True)
    mine.close()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
go_on.set()
if sys.argv[2] == "held":
    os._exit(0)
engine.put(PutRequest(b"a", b"again"))
print(engine.range(RangeRequest(b"a")).kvs[0].version, engine.range(RangeRequest(b"b")).count, flush=True)
engine.close()
"""


# Python 3.12 warns of a fork with threads: that is what is tested here.
PYTHON = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning"]


@pytest.mark.parametrize("locks", ["free", "held"])
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_an_engine_does_not_cross_a_fork(path: Path, kind: str, locks: str) -> None:
    done = subprocess.run(
        [*PYTHON, "-c", FORK, str(path) if kind == "file" else "", locks],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.stderr == ""
    child, *parent = done.stdout.splitlines()
    assert child == ("1 1" if kind == "file" else "0 1")
    assert parent == ([] if locks == "held" else ["3 1"] if kind == "file" else ["3 0"])


SHARED = """
import os, threading
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.values import PutRequest

engines = [EmbeddedEngine.memory(timeout=30) for _ in range(2)]
if os.fork() == 0:
    os._exit(0)
os.wait()
put = threading.Thread(target=lambda: print(engines[0].put(PutRequest(b"a")).revision))
put.start()  # not the thread that has forked
put.join(20)
os._exit(0 if not put.is_alive() else 1)
"""


def test_engines_on_one_store_in_memory_go_on_after_a_fork() -> None:
    done = subprocess.run([*PYTHON, "-u", "-c", SHARED], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


CLOSED_BY_PARENT = """
import os, sys
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest

engine = EmbeddedEngine.file(sys.argv[1])
engine.put(PutRequest(b"a"))
opened, closed = os.pipe(), os.pipe()
if os.fork() == 0:
    engine.abandon()
    mine = EmbeddedEngine.file(sys.argv[1])
    mine.put(PutRequest(b"b"))
    os.write(opened[1], b"x")
    os.read(closed[0], 1)
    print(os.path.exists(sys.argv[1] + "-wal"), mine.put(PutRequest(b"b")).revision, flush=True)
    mine.close()
    sys.exit(0)
os.read(opened[0], 1)
engine.close()
os.write(closed[1], b"x")
assert os.wait()[1] == 0
"""


def test_a_parent_that_closes_leaves_the_log_to_the_engine_of_its_child(path: Path) -> None:
    done = subprocess.run(
        [*PYTHON, "-c", CLOSED_BY_PARENT, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("True 4\n", "")


# time ----------------------------------------------------------------------------------------------------------------


def test_a_lease_begins_anew_after_the_host_was_restarted(path: Path) -> None:
    before, after = Clock(50_000.0), Clock(10.0)
    with closing(EmbeddedEngine.file(path, clock=before, boot="monday")) as engine:
        lease = engine.lease_grant(60).id
        engine.put(PutRequest(b"a", lease=lease))
        before.now += 50
        assert engine.lease_time_to_live(lease).ttl == 10
    with closing(EmbeddedEngine.file(path, clock=after, boot="tuesday")) as engine:
        assert engine.lease_time_to_live(lease).ttl == 60
        after.now += 59
        assert engine.range(RangeRequest(b"a")).count == 1
        after.now += 2
        assert engine.range(RangeRequest(b"a")).count == 0


def test_leases_expire_one_revision_each_in_the_order_of_their_deadlines(name: str) -> None:
    clock = Clock()
    with closing(EmbeddedEngine.memory(name, clock=clock)) as engine:
        late, early = engine.lease_grant(20).id, engine.lease_grant(10).id
        for lease, keys in ((late, b"xy"), (early, b"ab")):
            for key in keys:
                engine.put(PutRequest(bytes([key]), lease=lease))
        start = engine.range(RangeRequest(b"a")).revision
        seen = Recording()
        clock.now += 30
        assert engine.lease_list() == ()
        engine.watch(WatchRequest(b"\0", b"\0", start_revision=start + 1), seen)
        assert short(seen.wait(4)) == ["-a", "-b", "-x", "-y"]
        assert [event.kv.mod_revision - start for event in seen.events] == [1, 1, 2, 2]


def test_more_leases_than_end_in_one_transaction_all_end(name: str) -> None:
    clock = Clock()
    with closing(EmbeddedEngine.memory(name, clock=clock)) as engine:
        for number in range(1200):
            engine.put(PutRequest(b"%d" % number, lease=engine.lease_grant(5).id))
        clock.now += 6
        assert engine.range(RangeRequest(b"\0", b"\0")).count == 0
        assert engine.lease_list() == ()


def test_the_watch_thread_ends_leases_while_nobody_calls(name: str) -> None:
    clock = Clock()
    with closing(EmbeddedEngine.memory(name, clock=clock)) as engine:
        engine.put(PutRequest(b"a", lease=engine.lease_grant(5).id))
        seen = Recording()
        engine.watch(WatchRequest(b"a"), seen)
        clock.now += 6
        assert short(seen.wait(1)) == ["-a"]


def test_a_renewed_lease_lives_on(name: str) -> None:
    clock = Clock()
    with closing(EmbeddedEngine.memory(name, clock=clock)) as engine:
        lease = engine.lease_grant(5).id
        for _ in range(5):
            clock.now += 4
            assert engine.lease_keep_alive(lease) == 5
        clock.now += 5
        with pytest.raises(LeaseNotFound):
            engine.lease_keep_alive(lease)


# upkeep --------------------------------------------------------------------------------------------------------------


def test_a_store_forgets_old_history_by_itself(name: str) -> None:
    clock = Clock()
    keep = Retention(revisions=100, seconds=60)
    with closing(EmbeddedEngine.memory(name, clock=clock, retention=keep)) as engine:
        first = engine.put(PutRequest(b"a", b"1")).revision
        for number in range(600):
            engine.put(PutRequest(b"b", b"%d" % number))
        assert engine.range(RangeRequest(b"a", revision=first)).count == 1
        clock.now += 61
        for number in range(200):
            engine.put(PutRequest(b"b", b"%d" % number))
        with pytest.raises(Compacted):
            engine.range(RangeRequest(b"a", revision=first))
        newest = engine.range(RangeRequest(b"a")).revision
        assert engine.range(RangeRequest(b"b", revision=newest - 100)).count == 1
        assert engine.range(RangeRequest(b"a")).kvs[0].value == b"1"


def test_history_is_bounded_however_fast_it_is_written(name: str) -> None:
    keep = Retention(revisions=50, seconds=1e9)
    with closing(EmbeddedEngine.memory(name, retention=keep)) as engine:
        for number in range(1000):
            engine.put(PutRequest(b"b", b"%d" % number))
        with pytest.raises(Compacted):
            engine.range(RangeRequest(b"b", revision=300))


def test_a_file_does_not_grow_while_the_same_keys_are_written(path: Path) -> None:
    keep = Retention(revisions=100, seconds=0)
    with closing(EmbeddedEngine.file(path, retention=keep)) as engine:
        for number in range(8000):
            engine.put(PutRequest(b"%d" % (number % 10), b"x" * 1000))
        assert os.stat(f"{path}-wal").st_size < 6_000_000
    assert path.stat().st_size < 1_000_000


def test_a_watch_that_falls_behind_the_compaction_is_lost(name: str) -> None:
    with closing(EmbeddedEngine.memory(name)) as engine:
        slow, blocked, go_on = Recording(), threading.Event(), threading.Event()

        def sink(batch: object) -> None:
            slow(batch)  # type: ignore[arg-type]
            blocked.set()
            go_on.wait(10)

        engine.watch(WatchRequest(b"a"), sink)
        engine.put(PutRequest(b"a", b"1"))
        assert blocked.wait(10)
        for number in range(2, 6):
            last = engine.put(PutRequest(b"a", b"%d" % number)).revision
        engine.compact(last)
        go_on.set()
        assert slow.wait_lost() is WatchLost.COMPACTED
        assert short(slow.events) == ["+a=1"]


def test_a_lost_file_is_reported_once_while_it_cannot_be_opened(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(EmbeddedEngine.file(path)) as engine:
        seen = Recording()
        engine.watch(WatchRequest(b"a"), seen)
        engine.put(PutRequest(b"a"))
        seen.wait(1)
        path.unlink()
        path.mkdir()
        wait_until(lambda: caplog.records, what="a warning")
        path.rmdir()
        assert seen.wait_lost() is WatchLost.RESET
    assert [(record.name, record.levelno) for record in caplog.records] == [("django_etcdaero.kv", logging.WARNING)]
