"""How long calls wait for a writer, and what ends their wait."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded, StoreBusy
from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.records.store import Record
from tests.waiting import wait_until


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
