"""The file of a store: relative, deleted, replaced, damaged, full, or of another owner."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from django_etcdaero.exceptions import ConfigurationError, ResponseError, StoreFull
from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.records.store import Record
from django_etcdaero.system.sqlite import opening
from django_etcdaero.system.sqlite.path import Identity
from tests.records.conftest import Clock


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
