"""The clock is that of the database, and what has expired is removed by those who write."""

from __future__ import annotations

import time

import pytest

from django_etcdaero.records.database import sweeping
from django_etcdaero.records.database.store import DatabaseStore
from django_etcdaero.records.database.table import TABLE
from django_etcdaero.records.store import Record
from tests.records.database.conftest import Database
from tests.waiting import wait_until


def rows(database: Database) -> int:
    ((count,),) = database.ask(f"SELECT count(*) FROM {TABLE}")
    return int(count)


def expire(database: Database) -> None:
    database.ask(f"UPDATE {TABLE} SET expires = 1 WHERE expires IS NOT NULL")


def test_the_clock_is_that_of_the_database(
    database: Database, store: DatabaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 100_000)  # a host whose clock is wrong
    store.put(b"short", b"v", ttl=1)
    store.put(b"long", b"v", ttl=100)
    ((expires,),) = database.ask(
        f"SELECT expires - 1000 * extract(epoch from now()) FROM {TABLE} WHERE expires > 0 AND record_key = 'long'"
    )
    assert 0 < expires <= 100_000
    wait_until(lambda: store.get(b"short") is None, 20, "the end of a record")
    assert store.get(b"long").value == b"v"


def test_the_first_write_of_a_process_removes_what_has_expired(database: Database, store: DatabaseStore) -> None:
    store.put_many({b"%d" % number: b"" for number in range(50)}, ttl=60)
    store.put(b"stays", b"")
    expire(database)
    another = database.store()
    another.put(b"new", b"")
    assert rows(database) == 2


def test_removal_keeps_up_with_writes_and_is_bounded(
    database: Database, store: DatabaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "AT_LEAST", 10)
    monkeypatch.setattr(sweeping, "RECORDS", 20)
    store.put_many({b"%d" % number: b"" for number in range(100)}, ttl=60)
    expire(database)
    store.put_many({b"new %d" % number: b"" for number in range(19)})
    assert rows(database) == 119
    store.put(b"last", b"")
    assert rows(database) == 80  # twice as many as were written
    store.put(b"more", b"")  # the limit was reached, so the next write goes on
    assert rows(database) == 71


def test_rooms_are_swept_together_and_emptied_apart(database: Database, store: DatabaseStore) -> None:
    other = DatabaseStore(type(store._connections._address)(database.name, "cache"), timeout=20)
    database.opened.append(other)
    other.put(b"k", b"of the cache")
    other.put(b"gone", b"", ttl=60)
    store.put(b"k", b"of the records")
    assert store.get(b"k") == Record(b"of the records", 1, None)
    expire(database)
    another = database.store()
    another.truncate()
    assert store.get(b"k") is None
    assert other.get(b"k") == Record(b"of the cache", 1, None)
    another.put(b"k", b"")
    assert rows(database) == 2


def test_a_failure_to_remove_does_not_fail_the_write(database: Database, store: DatabaseStore) -> None:
    database.ask("CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'")
    database.ask(f"CREATE TRIGGER never BEFORE DELETE ON {TABLE} FOR EACH STATEMENT EXECUTE FUNCTION never()")
    store.put(b"k", b"v")
    assert store.get(b"k") == Record(b"v", 1, None)
