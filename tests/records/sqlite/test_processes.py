"""A store that several processes have open: none loses a write, and none hangs."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from django_etcdaero.exceptions import StoreBusy
from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.records.store import Record
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def run_together(start: Callable[[str], subprocess.Popen[str]], script: str, count: int = 8) -> list[object]:
    """Run the script in ``count`` processes that pass ``gate()`` together; return the JSON that each prints."""
    processes = [start(script) for _ in range(count)]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        answers.append(json.loads(out))
    return answers


def test_of_processes_counting_none_loses_an_increment(store: SqliteStore, start: Callable) -> None:
    store.put(b"n", 0)
    sums = run_together(
        start,
        """
with_store = SqliteStore(path, busy_timeout=60)
gate()
print(json.dumps([with_store.increment(b"n", 1) for _ in range(100)]))
with_store.close()
""",
    )
    assert sorted(total for some in sums for total in some) == list(range(1, 801))
    assert store.get(b"n") == Record(800, 801, None)


def test_of_processes_racing_for_a_record_exactly_one_wins(start: Callable) -> None:
    """The file does not exist before, so that they race to create its tables too."""
    answers = run_together(
        start,
        """
store = SqliteStore(path, busy_timeout=60)
def won(error, **how):
    try:
        store.put(key, os.getpid(), **how)
    except error:
        return False
    return True
gate()
created, replaced = [], []
for number in range(50):
    key = b"%d" % number
    created.append(won(KeyExists, create_only=True))
    replaced.append(won(VersionConflict, generation=1))
print(json.dumps([created, replaced]))
store.close()
""",
    )
    for race in (0, 1):
        for number in range(50):
            assert [answer[race][number] for answer in answers].count(True) == 1


def test_what_one_process_writes_the_others_see_at_once(store: SqliteStore, start: Callable) -> None:
    process = start("""
store = SqliteStore(path)
store.put(b"k", b"theirs", ttl=60)
print("done", flush=True)
sys.stdin.readline()
print(store.get(b"k").value.decode(), flush=True)
store.close()
""")
    assert process.stdout.readline() == "done\n"
    assert store.get(b"k").value == b"theirs"
    store.put(b"k", b"ours")
    assert process.communicate("\n", timeout=30) == ("ours\n", "")


def test_a_process_killed_while_writing_leaves_whole_records(store: SqliteStore, path: Path, start: Callable) -> None:
    process = start("""
items = {b"%05d" % number: b"%05d" % number * 600 for number in range(20_000)}
gate()
store = SqliteStore(path)
while True:
    store.put_many(items)
""")
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    wait_until(lambda: store.exists(b"00000"), what="the first records")
    process.kill()
    process.wait()
    keys = [key for key, _ in store.scan()]
    assert keys
    records = store.get_many(keys)
    assert len(records) == len(keys)
    assert all(record.value == key * 600 for key, record in records.items())
    store.put(b"k", b"v")
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (len(keys) + 1,)
        assert connection.execute("SELECT count(*) FROM payloads").fetchone() == (len(keys) + 1,)
    connection.close()


def test_a_process_stopped_inside_a_transaction_makes_others_busy_not_hang(store: SqliteStore, start: Callable) -> None:
    store.put(b"k", b"before")
    process = start("""
connection = sqlite3.connect(path, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
gate()
connection.execute("COMMIT")
connection.close()
""")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreBusy, match=r"records\.sqlite3"):
        store.put(b"k", b"after", timeout=0.2)
    assert store.get(b"k", timeout=0.2).value == b"before"
    process.send_signal(signal.SIGCONT)
    assert process.communicate("\n", timeout=30) == ("", "")
    store.put(b"k", b"after")
    assert store.get(b"k").value == b"after"


def test_a_forked_child_refuses_the_inherited_store_and_works_with_its_own(store: SqliteStore, start: Callable) -> None:
    process = start("""
store = SqliteStore(path)
store.put(b"parent", b"")
pid = os.fork()
if pid == 0:
    inherited = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.exists(entry.path)]
    assert not [name for name in inherited if name.startswith(path)], inherited
    try:
        store.get(b"parent")
    except ConfigurationError as error:
        assert "abandon()" in str(error)
    else:
        raise AssertionError("used in another process")
    store.abandon()
    store.close()
    own = SqliteStore(path)
    own.put(b"child", own.get(b"parent").value)
    own.close()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
store.put(b"again", store.get(b"child").value)
store.close()
""")
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert set(store.get_many([b"parent", b"child", b"again"])) == {b"parent", b"child", b"again"}


def test_a_child_forked_inside_a_transaction_does_not_disturb_it(store: SqliteStore, start: Callable) -> None:
    process = start("""
import threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # CPython 3.12 warns of a fork with threads: the very case
inside, forked = threading.Event(), threading.Event()
def clock():
    inside.set()
    assert forked.wait(30)
    return time.time()
store = SqliteStore(path, clock=clock)
thread = threading.Thread(target=store.put_many, args=({b"%d" % number: number for number in range(100)},))
thread.start()
assert inside.wait(30)
pid = os.fork()
if pid == 0:
    store.abandon()
    own = SqliteStore(path)
    assert own.get(b"0") is None
    own.close()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
forked.set()
thread.join()
store.close()
""")
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert len(store.exists_many([b"%d" % number for number in range(100)])) == 100
