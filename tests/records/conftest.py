"""The stores that the contract is held against."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.records.memory import MemoryStore, drop_memory
from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.records.store import RecordStore
from tests.records.aerospike.serving import served
from tests.records.database import mariadb as mariadb_serving
from tests.records.database.serving import ALIAS, CLOCK, SHARED, PostgreSQLServer, Room, alias, migrate


class Clock:
    """The real time, shifted by what a test lets pass."""

    def __init__(self) -> None:
        self.base = time.time()
        self.passed = 0.0

    def __call__(self) -> float:
        return self.base + self.passed


@dataclass
class Bench:
    """One kind of store under test. To add a kind, write a function like those below and list it in ``KINDS``."""

    open: Callable[[], RecordStore]
    """Opens one more store on the same records."""
    pass_time: Callable[[float], None]
    """Lets that many seconds pass for the records (a store with a clock of its own really waits)."""
    opened: list[RecordStore] = field(default_factory=list)

    def another(self) -> RecordStore:
        store = self.open()
        self.opened.append(store)
        return store


def memory(tmp_path: Path) -> Iterator[Bench]:
    clock, name = Clock(), uuid.uuid4().hex
    yield Bench(lambda: MemoryStore(name, clock=clock), lambda seconds: _advance(clock, seconds))
    drop_memory(name)


def sqlite(tmp_path: Path) -> Iterator[Bench]:
    clock = Clock()
    path = tmp_path / "records.sqlite3"
    yield Bench(lambda: SqliteStore(path, clock=clock), lambda seconds: _advance(clock, seconds))


def aerospike(tmp_path: Path) -> Iterator[Bench]:
    with served() as server:
        yield Bench(server.store, server.pass_time)


def postgresql(server: PostgreSQLServer) -> Iterator[Bench]:
    room = Room(server)
    yield Bench(room.store, room.pass_time)


def _advance(clock: Clock, seconds: float) -> None:
    clock.passed += seconds


def mariadb(server: mariadb_serving.MariaDBServer) -> Iterator[Bench]:
    room = mariadb_serving.Room()
    yield Bench(room.store, room.pass_time)


ON_SERVERS = {postgresql: "postgresql_table", mariadb: "mariadb_table"}
"""With the fixture of the server."""
KINDS: list[Any] = [memory, sqlite, aerospike, pytest.param(postgresql, marks=pytest.mark.servers)]
if mariadb_serving.PROGRAM:
    KINDS.append(pytest.param(mariadb, marks=pytest.mark.servers))


@pytest.fixture(scope="session")
def postgresql_table(postgresql_server: PostgreSQLServer, django_db_blocker: Any) -> Iterator[PostgreSQLServer]:
    """The table in a database of PostgreSQL, which is the alias :data:`ALIAS`."""
    postgresql_server.ask(f"CREATE DATABASE {SHARED}")
    postgresql_server.ask(CLOCK, SHARED)
    postgresql_server.ask(f"ALTER DATABASE {SHARED} SET search_path = tests, pg_catalog, public")
    with alias(ALIAS, postgresql_server.settings(SHARED)):
        with django_db_blocker.unblock():
            migrate(ALIAS)
        yield postgresql_server


@pytest.fixture(scope="session")
def mariadb_table(django_db_blocker: Any) -> Iterator[mariadb_serving.MariaDBServer]:
    """The table in a database of MariaDB."""
    name = mariadb_serving.MARIADB
    with mariadb_serving.MariaDBServer().running() as server, alias(name, server.settings()):
        with django_db_blocker.unblock():
            migrate(name)
        yield server


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    where: Any = tmp_path
    if request.param in ON_SERVERS:
        where = request.getfixturevalue(ON_SERVERS[request.param])
        request.getfixturevalue("databases_allowed")
    benches = request.param(where)
    bench = next(benches)
    yield bench
    for store in bench.opened:
        store.close()
    next(benches, None)


@pytest.fixture
def store(bench: Bench) -> RecordStore:
    return bench.another()
