"""What a process can do that is the first to open a file of SQLite, when there is no room for anything beside it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from django_etcdaero.exceptions import ClusterError, ConfigurationError, StoreBusy, StoreFull
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.embedded.schema import SCHEMA
from django_etcdaero.keyvalue.values import PutRequest
from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.system.sqlite import errors, opening
from django_etcdaero.system.sqlite.kept_log import KeptLog
from django_etcdaero.system.sqlite.path import companions
from django_etcdaero.system.sqlite.without_room import read_without_room
from tests.full_disk import SmallDisk, small_disk
from tests.paths import ROOT
from tests.programs.reading_without_room import KEY

KINDS = pytest.mark.parametrize("kind", ["kv", "records"])


class Program:
    """A process that has a store, and no room unless it is ``unlimited``."""

    def __init__(self, kind: str, path: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.programs.reading_without_room", kind, str(path), *options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the program ended instead of answering"
        return json.loads(line)

    def ask(self, command: str) -> Any:
        self.tell(command)
        return self.answer()

    def die(self) -> None:
        """Let it end without closing anything."""
        self.tell("die")
        self._process.wait(60)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


Start = Callable[..., Program]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Program] = []

    def start_one(*arguments: Any) -> Program:
        started.append(Program(*arguments))
        return started[-1]

    yield start_one
    for program in started:
        program.end()


def make(kind: str, path: Path, number: int) -> None:
    """Leave a store with this number in it that nobody has open, and no file beside it."""
    put(kind, path, number)
    assert not path.with_name(path.name + "-shm").exists()


def put(kind: str, path: Path, number: int) -> None:
    """Open it, write, and close it."""
    if kind == "kv":
        with contextlib.closing(EmbeddedEngine.file(path)) as engine:
            engine.put(PutRequest(KEY, b"%d" % number))
    else:
        with contextlib.closing(SqliteStore(path)) as store:
            store.put(KEY, b"%d" % number)


@KINDS
def test_who_opens_first_reads_and_writes_once_there_is_room(start: Start, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    make(kind, path, 1)
    first, second = start(kind, path), start(kind, path)
    assert [first.ask("read"), second.ask("read"), first.ask("read")] == [1, 1, 1]
    assert first.ask("write 2") == "StoreFull"
    assert first.ask("read") == 1
    first.ask("room")
    assert first.ask("write 2") is None
    assert [first.ask("read"), second.ask("read")] == [2, 2]
    assert start(kind, path, "unlimited").ask("read") == 2


@KINDS
def test_what_a_killed_process_left_in_the_log_is_read(start: Start, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    make(kind, path, 1)
    killed = start(kind, path, "unlimited")
    assert killed.ask("write 2") is None
    killed.die()
    assert path.with_name("store-wal").stat().st_size > 0
    reader = start(kind, path)
    assert [reader.ask("read"), reader.ask("read")] == [2, 2]


@pytest.mark.slow
@KINDS
def test_nothing_committed_is_missed_while_others_come_and_go(start: Start, kind: str, tmp_path: Path) -> None:
    path, last = tmp_path / "store", 40
    make(kind, path, 1)
    readers = [start(kind, path) for _ in range(3)]
    for reader in readers:
        reader.tell(f"follow {last}")
        assert reader.answer() == "following"
    for number in range(2, last + 1):  # each time by somebody who may be the first to open it and the last to close it
        put(kind, path, number)
    for reader in readers:
        assert reader.answer() >= 3
        reader.ask("room")
        assert reader.ask(f"write {last + 1}") is None
    assert [reader.ask("read") for reader in readers] == [last + 1] * 3
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_watch_sees_what_others_write(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "store"
    make("kv", path, 1)
    reader = start("kv", path)
    reader.tell("watch 3")
    assert reader.answer() == "watching"
    for number in (2, 3):
        put("kv", path, number)
    assert reader.answer() == 2


@KINDS
def test_there_is_nothing_to_read_where_no_file_could_be_made(start: Start, kind: str, tmp_path: Path) -> None:
    program = start(kind, tmp_path / "store")
    assert program.ask("read") == "StoreFull"
    assert not (tmp_path / "store").exists()


def test_leases_of_an_earlier_boot_do_not_keep_readers_away(tmp_path: Path) -> None:
    """They would begin anew with the first connection, which takes a write."""
    path = tmp_path / "store"
    with contextlib.closing(EmbeddedEngine.file(path, boot="earlier")) as engine:
        lease = engine.lease_grant(2)
        engine.put(PutRequest(KEY, b"1", lease=lease.id))
    code = (
        "import sys; from tests.programs.reading_without_room import *\n"
        "limit_files(); engine = EmbeddedEngine.file(sys.argv[1], boot='now', clock=lambda: 1e9)\n"
        "print(engine.get(KEY).value)\n"
        "unlimit_files(); engine.put(PutRequest(b'k', b'v')); print(engine.get(KEY).value)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout.split() == ["b'1'", "b'1'"]


# --- one process -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def refused(path: Path) -> Iterator[Callable[[Callable[[sqlite3.Connection], Any]], Any]]:
    """A database as a refused attempt to open it leaves it, and how to read it."""
    opening.open_database(str(path), SCHEMA, timeout=5)[0].close()
    for name in companions(str(path)):
        Path(name).touch()
    log = KeptLog(str(path))

    def read(work: Callable[[sqlite3.Connection], Any]) -> Any:
        return read_without_room(str(path), SCHEMA, work, StoreFull("no room"), deadline=monotonic() + 5, log=log)[0]

    yield read
    log.forget()


def test_a_read_without_room_makes_nothing_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with refused(path) as read:
        assert read(lambda connection: connection.execute("SELECT count(*) FROM latest").fetchone()) == (0,)
        with pytest.raises(ConfigurationError, match=f"{path}: cannot be written"):
            read(lambda connection: connection.execute("DELETE FROM latest"))
    assert [Path(name).stat().st_size for name in companions(str(path))] == [0, 0]


def test_a_file_that_others_can_read_is_made_private_without_room_too(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with refused(path) as read:
        path.chmod(0o644)
        read(lambda connection: None)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_signal_handler_opens_nothing_for_good_inside_of_such_a_read(tmp_path: Path) -> None:
    """What it opened could never write, and as long as it was open nothing else of the process could."""
    path = tmp_path / "store"

    def handle(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT count(*) FROM latest").fetchone()
        with pytest.raises(StoreBusy, match=str(path)):
            opening.open_database(str(path), SCHEMA, timeout=0)

    with refused(path) as read:
        read(handle)
    put("kv", path, 1)


def test_another_thread_opens_it_for_good_after_such_a_read(tmp_path: Path) -> None:
    path = tmp_path / "store"
    writers = [threading.Thread(target=put, args=("kv", path, number)) for number in (1, 2, 3)]

    def begin(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT count(*) FROM latest").fetchone()
        for writer in writers:
            writer.start()

    with refused(path) as read:
        read(begin)
        for writer in writers:
            writer.join()
        # The last one to close the file has removed what was beside it.
        assert read(lambda connection: connection.execute("SELECT count(*) FROM history").fetchone()) == (3,)


@pytest.mark.parametrize("lacking", ["f_bavail", "f_favail", None])
def test_what_cannot_be_opened_for_lack_of_room_is_store_full(
    lacking: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"f_bavail": 1, "f_favail": 1, "f_files": 1} | ({lacking: 0} if lacking else {})
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(**figures))
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    assert type(errors.translate(error, str(tmp_path / "store"))) is (StoreFull if lacking else ClusterError)


# --- on a disk that is full ------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.mark.slow
@KINDS
def test_a_real_full_disk(start: Start, kind: str, disk: SmallDisk) -> None:
    path = disk.directory / "store"
    make(kind, path, 1)
    disk.fill()
    first, second = start(kind, path, "unlimited"), start(kind, path, "unlimited")
    assert [first.ask("read"), second.ask("read"), first.ask("read")] == [1, 1, 1]
    assert first.ask("write 2") == "StoreFull"
    assert second.ask("read") == 1
    disk.make_room()
    assert first.ask("write 2") is None
    assert [first.ask("read"), second.ask("read")] == [2, 2]
    disk.fill()
    assert [first.ask("read"), start(kind, path, "unlimited").ask("read")] == [2, 2]
    first.die()
    second.die()
    assert start(kind, path, "unlimited").ask("read") == 2
