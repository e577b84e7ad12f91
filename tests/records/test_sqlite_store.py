"""What the store in a SQLite file promises beyond the contract: several processes, faults, and a well-kept file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
    ResponseError,
    StoreBusy,
    StoreFull,
)
from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.records.store import Record
from django_etcdaero.system.sqlite import errors, opening
from django_etcdaero.system.sqlite.identity import Identity
from tests.paths import ROOT
from tests.records.conftest import Clock
from tests.waiting import wait_until

PROLOGUE = """
import json, os, sqlite3, sys
from django_etcdaero.exceptions import *
from django_etcdaero.records.sqlite.store import SqliteStore
path = sys.argv[1]
def gate():
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite3"


@pytest.fixture
def open_store(path: Path) -> Iterator[Callable[..., SqliteStore]]:
    opened: list[SqliteStore] = []

    def open_one(**options: object) -> SqliteStore:
        opened.append(SqliteStore(path, **options))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., SqliteStore]) -> SqliteStore:
    return open_store()


@pytest.fixture
def start(path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a Python process that runs a script; ``gate()`` in it waits until the test sends a line."""
    processes: list[subprocess.Popen[str]] = []

    def start_one(script: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROLOGUE + script, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


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


@pytest.fixture
def lock_holder(store: SqliteStore, path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who is in the middle of a write transaction."""
    store.put(b"before", b"")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


@pytest.fixture
def met_lock(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a call has found the file locked, that is, when it waits."""
    event = threading.Event()
    is_busy = errors.is_busy

    def observed(error: sqlite3.Error) -> bool:
        event.set()
        return is_busy(error)

    monkeypatch.setattr(errors, "is_busy", observed)
    return event


# --- several processes -----------------------------------------------------------------------------------------------


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


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_a_writer_waits_for_another_to_finish(
    store: SqliteStore, lock_holder: sqlite3.Connection, met_lock: threading.Event
) -> None:
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(store.put, b"k", b"v")
        assert met_lock.wait(10)
        lock_holder.execute("COMMIT")
        writing.result(10)
    assert store.get(b"k") == Record(b"v", 1, None)


def test_the_store_s_own_bound_holds_when_the_call_has_none(
    open_store: Callable, lock_holder: sqlite3.Connection
) -> None:
    with pytest.raises(StoreBusy):
        open_store(busy_timeout=0.1).put(b"k", b"v")


def test_threads_waiting_for_a_writer_of_their_own_process_are_bounded_too(
    store: SqliteStore, lock_holder: sqlite3.Connection
) -> None:
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(store.put, b"k", b"v", timeout=0.2) for _ in range(4)]
        assert {type(each.exception(10)) for each in writing} == {StoreBusy}


def test_close_cancels_a_call_that_waits(
    store: SqliteStore, lock_holder: sqlite3.Connection, met_lock: threading.Event
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.put, b"k", b"v", timeout=30)
        assert met_lock.wait(10)
        store.close()
        assert isinstance(waiting.exception(10), Cancelled)


def test_a_long_call_ends_between_two_parts_when_its_time_is_up(store: SqliteStore) -> None:
    items = {b"%d" % number: number for number in range(5000)}
    with pytest.raises(DeadlineExceeded):
        store.put_many(items, timeout=0)
    assert 0 < len(store.exists_many(items)) < 5000


def test_close_waits_for_a_call_under_way_and_leaves_no_connection_open(path: Path) -> None:
    """An open connection would be a ResourceWarning (CPython 3.13) and keep the -wal file."""
    inside, release = threading.Event(), threading.Event()

    def clock() -> float:
        inside.set()
        assert release.wait(10)
        return 1_000_000.0

    def closed() -> bool:
        try:
            store.scan()
        except Cancelled:
            return True
        return False

    store = SqliteStore(path, clock=clock)
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(store.put, b"k", b"v")
        assert inside.wait(10)
        closing = pool.submit(store.close)
        wait_until(closed, what="the store to be closed")
        release.set()
        writing.result(10)
        closing.result(10)
    assert not Path(f"{path}-wal").exists()
    store = SqliteStore(path)
    assert store.get(b"k") == Record(b"v", 1, None)
    store.close()


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_path_may_be_relative_and_the_working_directory_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("sub/records.sqlite3")
    monkeypatch.chdir("/")
    store.put(b"k", b"v")
    store.close()
    assert (tmp_path / "sub" / "records.sqlite3").exists()


def test_a_new_store_touches_no_disk_before_its_first_call(path: Path) -> None:
    SqliteStore(path)
    assert not path.exists()


@pytest.mark.parametrize("left_behind", [True, False], ids=["wal left behind", "wal removed too"])
def test_a_deleted_file_is_an_empty_store_for_all_who_had_it_open(
    open_store: Callable, path: Path, left_behind: bool
) -> None:
    one, other = open_store(), open_store()
    one.put(b"old", b"")
    assert other.exists(b"old")
    for suffix in [""] if left_behind else ["", "-wal", "-shm"]:
        Path(f"{path}{suffix}").unlink()
    one.put(b"new", b"1")
    assert other.get(b"old") is None
    assert other.get(b"new") == Record(b"1", 1, None)
    other.put(b"new", b"2")
    assert one.get(b"new") == Record(b"2", 2, None)


def test_a_deleted_directory_is_made_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "sub" / "records.sqlite3")
    store.put(b"old", b"")
    shutil.rmtree(tmp_path / "sub")
    assert store.get(b"old") is None
    store.put(b"new", b"")
    assert store.get(b"new") is not None
    store.close()


def test_a_replaced_file_is_read_from_then_on(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    store.put(b"old", b"")
    store.put(b"k", b"old")
    other = SqliteStore(tmp_path / "other.sqlite3")
    other.put(b"k", b"new")
    other.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    (tmp_path / "other.sqlite3").replace(path)
    assert store.get_many([b"old", b"k"]) == {b"k": Record(b"new", 1, None)}
    store.put(b"k", b"newer")
    assert store.get(b"k") == Record(b"newer", 2, None)


def test_a_scan_goes_on_when_the_file_is_replaced(store: SqliteStore, path: Path) -> None:
    store.put_many({b"%05d" % number: number for number in range(3000)})
    scan = store.scan()
    next(scan)
    path.unlink()
    assert len(list(scan)) < 3000


def test_a_file_that_is_not_a_database_is_named(store: SqliteStore, path: Path) -> None:
    path.write_bytes(b"this is no database, and long enough to be looked at. " * 100)
    with pytest.raises(ResponseError, match=r"records\.sqlite3"):
        store.get(b"k")
    with pytest.raises(ResponseError, match=r"records\.sqlite3"):
        store.put(b"k", b"v")


def test_a_damaged_database_is_named(path: Path) -> None:
    store = SqliteStore(path)
    store.put_many({b"%05d" % number: b"x" * 3000 for number in range(2000)})
    store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xee" * (size - 4096))
    store = SqliteStore(path)
    with pytest.raises(ResponseError, match=r"records\.sqlite3"):
        store.get_many([b"%05d" % number for number in range(2000)])
    store.close()


def test_a_full_disk_is_store_full_and_reading_goes_on(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database = opening.open_database

    def open_small(*args: object, **options: object) -> tuple[sqlite3.Connection, Identity]:
        connection, identity = open_database(*args, **options)
        connection.execute("PRAGMA max_page_count = 50")
        return connection, identity

    monkeypatch.setattr(opening, "open_database", open_small)
    store.put(b"k", b"v")
    with pytest.raises(StoreFull, match=r"records\.sqlite3"):
        store.put_many({b"%d" % number: b"x" * 10_000 for number in range(50)})
    assert store.get(b"k") == Record(b"v", 1, None)
    assert [key for key, _ in store.scan()] == [b"k"]
    assert store.delete(b"k") is True


def test_expired_records_make_room_for_new_ones(open_store: Callable, path: Path) -> None:
    clock = Clock()
    store = open_store(clock=clock)
    sizes = []
    for generation in range(10):
        for part in range(5):
            store.put_many({b"%d/%d/%d" % (generation, part, n): b"x" * 3000 for n in range(100)}, ttl=5)
        clock.passed += 6
        store.close()
        store = open_store(clock=clock)
        sizes.append(path.stat().st_size)
    assert max(sizes[2:]) <= sizes[1] * 1.2
    store.put(b"last", b"")
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone()[0] <= 500
    connection.close()


def test_single_writes_remove_expired_records_too(open_store: Callable, path: Path) -> None:
    clock = Clock()
    store = open_store(clock=clock)
    store.put_many({b"%d" % number: b"" for number in range(100)}, ttl=5)
    clock.passed += 6
    for _ in range(10):
        store.put(b"k", b"")
    store.close()
    with sqlite3.connect(path) as connection:
        for table in ("records", "payloads"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
    connection.close()


def test_the_store_of_another_owner_is_refused(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch(0o600)
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(ConfigurationError, match=r"records\.sqlite3"):
        store.get(b"k")
