"""Connections of their own: apart from the project's transactions, few, replaced when broken, not kept for ever."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections, transaction

from django_etcdaero.exceptions import InvalidRequest, StoreBusy
from django_etcdaero.records.database import connections as own
from django_etcdaero.records.database.session import Session
from django_etcdaero.records.database.store import DatabaseStore
from django_etcdaero.records.store import Record
from tests.records.database.conftest import Database
from tests.records.database.serving import migrate
from tests.waiting import wait_until


def test_a_write_is_no_part_of_the_transaction_of_its_caller(database: Database, store: DatabaseStore) -> None:
    other = database.store()
    with transaction.atomic(using=database.name):
        connections[database.name].cursor().execute("CREATE TABLE undone (id int)")
        store.put(b"k", b"v")
        assert other.get(b"k") == Record(b"v", 1, None)
        transaction.set_rollback(True, using=database.name)
    assert store.get(b"k") == Record(b"v", 1, None)
    assert database.ask("SELECT to_regclass('undone')") == [(None,)]


def test_the_connection_of_the_project_is_not_used(database: Database, store: DatabaseStore) -> None:
    assert connections[database.name].connection is None
    store.put(b"k", b"v")
    assert store.get(b"k") == Record(b"v", 1, None)
    assert connections[database.name].connection is None


def test_threads_share_few_connections(database: Database, store: DatabaseStore) -> None:
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda number: store.put(b"%d" % number, number), range(300)))
    assert 1 <= len(database.connections()) <= own.MOST
    assert len(store.exists_many([b"%d" % number for number in range(300)])) == 300


def test_a_call_waits_for_a_connection_and_the_error_tells_how_many_there_are(
    database: Database, store: DatabaseStore
) -> None:
    inside, ending = threading.Semaphore(0), threading.Event()

    def work(session: Session) -> None:
        inside.release()
        assert ending.wait(60)

    def occupy(_: int) -> None:
        store._connections.run(work, store._connections.until(60), write=False)

    with ThreadPoolExecutor(own.MOST + 1) as pool:
        occupied = [pool.submit(occupy, number) for number in range(own.MOST)]
        for _ in range(own.MOST):
            assert inside.acquire(timeout=30)
        with pytest.raises(StoreBusy, match=f"db:{database.name}: all {own.MOST} connections of this process"):
            store.get(b"k", timeout=0.05)
        waiting = pool.submit(store.get, b"k", timeout=60)
        ending.set()
        assert waiting.result(60) is None
        for each in occupied:
            each.result(60)


def test_an_idle_connection_is_closed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "IDLE_SECONDS", 0.1)
    store = database.store()
    store.put(b"k", b"v")
    wait_until(lambda: database.connections() == [], 20, "the end of the connection")
    wait_until(lambda: not _watched(), 20, "the end of the thread that looks after connections")
    assert store.get(b"k") == Record(b"v", 1, None)


def _watched() -> bool:
    return any(thread.name == "etcdaero-database" for thread in threading.enumerate())


def test_a_connection_is_used_again_and_closed_with_the_store(database: Database) -> None:
    store = database.store()
    store.put(b"k", b"v")
    (first,) = database.connections()
    for _ in range(20):
        store.get(b"k")
    assert database.connections() == [first]
    store.close()
    wait_until(lambda: database.connections() == [], what="the end of the connection")
    assert not _watched()


def test_a_connection_older_than_conn_max_age_is_replaced(database: Database, store: DatabaseStore) -> None:
    connections.settings[database.name]["CONN_MAX_AGE"] = 3600
    store.put(b"k", b"v")
    (first,) = database.connections()
    store._connections._idle[0].opened -= 3601
    assert store.get(b"k") == Record(b"v", 1, None)
    wait_until(lambda: first not in database.connections(), what="another connection")


def test_the_settings_of_the_moment_are_followed(database: Database, store: DatabaseStore) -> None:
    """A test runner gives the alias another NAME after it was used."""
    store.put(b"k", b"v")
    database.server.ask(f'CREATE DATABASE "{database.name}-test"')
    connections.settings[database.name]["NAME"] = f"{database.name}-test"
    connections[database.name].close()
    migrate(database.name)
    assert store.get(b"k") is None


def test_one_that_the_server_has_closed_is_replaced(database: Database, store: DatabaseStore) -> None:
    store.put(b"k", b"1")
    database.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {database.connections()[0]}")
    wait_until(lambda: database.connections() == [], what="the end of the connection")
    store.put(b"k", b"2")
    assert store.get(b"k") == Record(b"2", 2, None)


def test_it_is_refused_in_an_event_loop_and_works_in_a_thread_of_it(store: DatabaseStore) -> None:
    async def main() -> Record | None:
        with pytest.raises(InvalidRequest, match="event loop"):
            store.put(b"k", b"v")
        await asyncio.to_thread(store.put, b"k", b"v")
        with pytest.raises(InvalidRequest, match="event loop"):
            store.get(b"k")
        return await asyncio.to_thread(store.get, b"k")

    assert asyncio.run(main()) == Record(b"v", 1, None)


def test_debug_keeps_no_statements(database: Database, store: DatabaseStore, settings: Any) -> None:
    settings.DEBUG = True
    store.put(b"k", b"v")
    assert not store._connections._idle[0].wrapper.queries_log


def test_options_of_the_alias_are_kept_but_for_its_pool(database: Database) -> None:
    options = connections.settings[database.name]["OPTIONS"]
    options |= {"application_name": "shop", "pool": True, "server_side_binding": True}
    database.store().put(b"k", b"v")
    assert len(database.connections("application_name = 'shop'")) == 1
    assert connections.settings[database.name]["OPTIONS"] == options
