"""What is particular about MariaDB, where there is one (:mod:`.mariadb`); the contract suite runs on it, too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction

from django_etcdaero.exceptions import ConfigurationError, DeadlineExceeded, OutcomeUnknown, Unauthenticated
from django_etcdaero.records.database.store import DatabaseStore
from django_etcdaero.records.database.table import TABLE
from django_etcdaero.records.store import Record
from tests.records.database.mariadb import MARIADB, PROGRAM, MariaDBServer, Room
from tests.records.database.serving import alias

pytestmark = [
    pytest.mark.skipif(not PROGRAM, reason="ETCDAERO_TEST_MARIADB does not name a mariadbd"),
    pytest.mark.servers,
]


@pytest.fixture
def room(mariadb_table: MariaDBServer, databases_allowed: None) -> Room:
    return Room()


@pytest.fixture
def store(room: Room) -> Iterator[DatabaseStore]:
    opened = room.store()
    yield opened
    opened.close()


def test_a_write_is_no_part_of_the_transaction_of_its_caller(store: DatabaseStore) -> None:
    with transaction.atomic(using=MARIADB):
        connections[MARIADB].cursor().execute("SELECT 1")
        store.put(b"k", b"v")
        transaction.set_rollback(True, using=MARIADB)
    assert store.get(b"k") == Record(b"v", 1, None)


def test_a_record_that_another_transaction_holds_is_waited_for_boundedly(store: DatabaseStore) -> None:
    store.put(b"k", b"v")
    with transaction.atomic(using=MARIADB):
        connections[MARIADB].cursor().execute(f"SELECT 1 FROM {TABLE} FOR UPDATE")
        with pytest.raises(DeadlineExceeded, match="stopped the statement"):
            store.put(b"k", b"w", timeout=0.3)
        assert store.get(b"k") == Record(b"v", 1, None)
    store.put(b"k", b"w")
    assert store.get(b"k") == Record(b"w", 2, None)


def test_calls_to_a_frozen_server_end(store: DatabaseStore, mariadb_table: MariaDBServer) -> None:
    store.put(b"k", b"v")
    with mariadb_table.frozen(), pytest.raises(OutcomeUnknown, match="did not answer in time"):
        store.put(b"k", b"w", timeout=0.3)
    with mariadb_table.frozen(), pytest.raises(DeadlineExceeded):
        store.get(b"k", timeout=0.3)
    found = store.get(b"k")
    assert found is not None
    assert found.value in (b"v", b"w")


def test_threads_that_write_the_same_records_do_not_fail(store: DatabaseStore) -> None:
    keys = [b"%d" % number for number in range(50)]
    problems: list[Exception] = []

    def work(order: int) -> None:
        try:
            for _ in range(10):
                store.put_many(dict.fromkeys(keys[::order], b"v"), ttl=60)
                store.touch_many(dict.fromkeys(keys[::-order], None), 60)
                store.delete_many(keys[:10])
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(order,)) for order in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"PASSWORD": "hunter2"}, Unauthenticated, "does not let us in"),
        ({"NAME": "nothing"}, ConfigurationError, "migrate django_etcdaero --database="),
    ],
)
def test_what_is_wrong_with_a_set_up_is_told(
    mariadb_table: MariaDBServer, databases_allowed: None, changes: dict[str, Any], error: type[Exception], told: str
) -> None:
    with alias("wrong", mariadb_table.settings() | changes):
        room = Room("wrong")
        opened = room.store()
        with pytest.raises(error, match=told) as caught:
            opened.get(b"k")
        opened.close()
    assert "hunter2" not in str(caught.value)
