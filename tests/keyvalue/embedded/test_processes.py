"""Several processes on one file: killed, stopped, and at work at the same time."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from django_etcdaero.exceptions import Compacted, StoreBusy
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.values import EventType, PutRequest, RangeRequest, WatchRequest
from tests.keyvalue.recording import Recording
from tests.programs import embedded_writing as children
from tests.programs.embedded_writing import child, line, whole

pytestmark = pytest.mark.slow


@pytest.fixture
def store(path: Path) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine.file(path)
    yield engine
    engine.close()


def oldest_readable(engine: EmbeddedEngine) -> int:
    """Return the first revision that is not compacted."""
    try:
        engine.range(RangeRequest(b"a", revision=1))
    except Compacted as error:
        return error.compact_revision
    return 1


@pytest.mark.parametrize("start", ["", "BEGIN IMMEDIATE", "FROM mark", "DELETE FROM history"])
def test_a_process_killed_at_any_statement_leaves_no_half_transaction(path: Path, start: str) -> None:
    """The statements are those of opening, of writing, and of the two parts of compaction."""
    with child(children.die_at_statement, path, 30, start) as process:
        for _ in range(30):
            assert line(process) == str(int(signal.SIGKILL))
            whole(path)


def test_a_process_killed_at_any_moment_loses_nothing_that_it_was_told_is_done(path: Path) -> None:
    dice = random.Random(7)
    for _ in range(8):
        with child(children.write_until_killed, path) as process:
            done = 0
            for _ in range(dice.randrange(1, 400)):
                done = int(line(process))
            process.kill()
            rest = process.communicate(timeout=20)[0].split()
            done = int(rest[-1]) if rest and rest[-1].isdigit() else done
        assert whole(path) >= done


def test_after_kills_every_revision_is_in_the_history_once(path: Path) -> None:
    for _ in range(3):
        with child(children.write_until_killed, path) as process:
            for _ in range(150):
                line(process)
    engine = EmbeddedEngine.file(path)
    oldest = oldest_readable(engine)
    newest = engine.range(RangeRequest(b"a")).revision
    assert newest - oldest >= children.SOON.revisions
    seen = Recording()
    engine.watch(WatchRequest(b"\0", b"\0", start_revision=oldest), seen)
    revisions = [event.kv.mod_revision for event in seen.wait(2 * (newest - oldest + 1))]
    assert revisions == sorted(revisions)
    assert sorted(set(revisions)) == list(range(oldest, newest + 1))
    engine.close()


def test_a_stopped_writer_makes_others_busy_and_not_hang(path: Path, store: EmbeddedEngine) -> None:
    store.put(PutRequest(b"a"))
    with child(children.stop_inside_transaction, path) as process:
        assert os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT) is not None
        with pytest.raises(StoreBusy, match=str(path)):
            store.put(PutRequest(b"a"), timeout=0.3)
        with pytest.raises(StoreBusy):
            store.lease_grant(5, timeout=0.0)
        assert store.range(RangeRequest(b"a")).count == 1
        assert store.range(RangeRequest(b"stopped")).count == 0
        other = EmbeddedEngine.file(path)
        assert other.range(RangeRequest(b"a")).count == 1
        other.close()
        process.send_signal(signal.SIGCONT)
        assert line(process) == "done"
        store.put(PutRequest(b"a"))
        assert store.range(RangeRequest(b"stopped")).count == 1


def test_eight_processes_lose_no_increment(path: Path, store: EmbeddedEngine) -> None:
    store.put(PutRequest(b"counter", b"0"))
    with ExitStack() as stack:
        processes = [stack.enter_context(child(children.increment, path, 40)) for _ in range(8)]
        assert [process.wait(60) for process in processes] == [0] * 8
    kv = store.range(RangeRequest(b"counter")).kvs[0]
    assert (kv.value, kv.version) == (b"320", 321)


def test_a_watch_sees_the_puts_of_other_processes_in_order(path: Path, store: EmbeddedEngine) -> None:
    seen = Recording()
    store.watch(WatchRequest(b"\0", b"\0"), seen)
    with child(children.put_many, path, "x", 800) as one, child(children.put_many, path, "y", 800) as two:
        for number in range(200):
            store.put(PutRequest(b"z", b"%d" % number))
        assert one.wait(60) == two.wait(60) == 0
    events = seen.wait(1800)
    revisions = [event.kv.mod_revision for event in events]
    assert revisions == list(range(revisions[0], revisions[0] + 1800))
    assert Counter(event.kv.key for event in events) == {b"x": 800, b"y": 800, b"z": 200}
    for name, count in ((b"x", 800), (b"y", 800), (b"z", 200)):
        assert [int(event.kv.value) for event in events if event.kv.key == name] == list(range(count))


def test_the_lease_of_a_killed_process_expires_before_the_eyes_of_others(path: Path, store: EmbeddedEngine) -> None:
    seen = Recording()
    store.watch(WatchRequest(b"leased"), seen)
    with child(children.hold_lease, path) as process:
        lease = int(line(process))
        seen.wait(1)
        process.kill()
    assert seen.wait(2)[1].type is EventType.DELETE
    assert store.lease_time_to_live(lease).ttl == -1
