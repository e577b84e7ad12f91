"""Files that earlier code wrote are read and written on, and new files have the same layout."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.values import PutRequest
from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.records.store import Record

WRITTEN = Path(__file__).parent / "sqlite_written_before"


@pytest.fixture
def kv(tmp_path: Path) -> Path:
    return _unpack("kv.sqlite3", tmp_path)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return _unpack("records.sqlite3", tmp_path)


def _unpack(name: str, directory: Path) -> Path:
    path = directory / name
    path.write_bytes(gzip.decompress((WRITTEN / f"{name}.gz").read_bytes()))
    return path


def _layout(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as connection:
        marks = [
            connection.execute(f"PRAGMA {name}").fetchone()
            for name in ("application_id", "user_version", "journal_mode", "page_size", "encoding", "auto_vacuum")
        ]
        return marks + connection.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master").fetchall()


def test_a_key_value_store_of_before_goes_on(kv: Path) -> None:
    with closing(EmbeddedEngine.file(kv, boot="a run of the host", clock=lambda: 0.0)) as engine:
        found = engine.get(b"a")
        assert found is not None
        assert (found.value, found.create_revision, found.mod_revision, found.version) == (b"2", 2, 3, 2)
        assert engine.get(b"gone") is None
        leased = engine.get(b"leased")
        assert leased is not None
        assert engine.lease_list() == (leased.lease,)
        assert engine.put(PutRequest(b"a", b"3")).revision == 7


def test_a_record_store_of_before_goes_on(records: Path) -> None:
    with closing(SqliteStore(records, clock=lambda: 1_700_000_000.0)) as store:
        assert store.get(b"k") == Record(b"w", 2, None)
        assert store.increment(b"n", 1) == 42
        store.put(b"k", b"x")
        assert store.get(b"k") == Record(b"x", 3, None)


def test_new_files_have_the_layout_of_before(kv: Path, records: Path, tmp_path: Path) -> None:
    EmbeddedEngine.file(tmp_path / "new-kv").close()
    with closing(SqliteStore(tmp_path / "new-records")) as store:
        store.get(b"k")
    assert _layout(tmp_path / "new-kv") == _layout(kv)
    assert _layout(tmp_path / "new-records") == _layout(records)
