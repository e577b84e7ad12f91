"""The stores that the contract is held against."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.embedded import drop_memory as drop_engine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.records.etcd import EtcdStore
from django_etcdaero.records.memory.store import MemoryStore, drop_memory
from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.records.store import RecordStore
from tests.records.aerospike.serving import served
from tests.records.database import mariadb as mariadb_serving
from tests.records.database.serving import PostgreSQLServer, Room

_numbers = itertools.count()


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


def memory(request: pytest.FixtureRequest) -> Iterator[Bench]:
    clock, name = Clock(), uuid.uuid4().hex
    yield Bench(lambda: MemoryStore(name, clock=clock), lambda seconds: _advance(clock, seconds))
    drop_memory(name)


def sqlite(request: pytest.FixtureRequest) -> Iterator[Bench]:
    clock = Clock()
    path: Path = request.getfixturevalue("tmp_path") / "records.sqlite3"
    yield Bench(lambda: SqliteStore(path, clock=clock), lambda seconds: _advance(clock, seconds))


def aerospike(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with served() as server:
        yield Bench(server.store, server.pass_time)


def etcd(request: pytest.FixtureRequest) -> Iterator[Bench]:
    server = request.getfixturevalue("shared_server")
    clock, room = Clock(), f"room-{next(_numbers)}/records/"
    yield Bench(
        lambda: EtcdStore(EtcdEngine([server.endpoint]), room, clock=clock), lambda seconds: _advance(clock, seconds)
    )
    last = EtcdStore(EtcdEngine([server.endpoint]), room)
    last.truncate()
    last.close()


def embedded(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The store on etcd over the engine in memory: it stands on the waist, and so do the rules that it relies on."""
    clock, name = Clock(), uuid.uuid4().hex
    yield Bench(
        lambda: EtcdStore(EmbeddedEngine.memory(name), "room/", clock=clock), lambda seconds: _advance(clock, seconds)
    )
    drop_engine(name)


def postgresql(request: pytest.FixtureRequest) -> Iterator[Bench]:
    server: PostgreSQLServer = request.getfixturevalue("postgresql_table")
    request.getfixturevalue("databases_allowed")
    room = Room(server)
    yield Bench(room.store, room.pass_time)


def mariadb(request: pytest.FixtureRequest) -> Iterator[Bench]:
    request.getfixturevalue("mariadb_table")
    request.getfixturevalue("databases_allowed")
    room = mariadb_serving.Room()
    yield Bench(room.store, room.pass_time)


def _advance(clock: Clock, seconds: float) -> None:
    clock.passed += seconds


KINDS: list[Any] = [
    memory,
    sqlite,
    aerospike,
    embedded,
    pytest.param(etcd, marks=pytest.mark.servers),
    pytest.param(postgresql, marks=pytest.mark.servers),
]
if mariadb_serving.PROGRAM:
    KINDS.append(pytest.param(mariadb, marks=pytest.mark.servers))


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    benches = request.param(request)
    bench = next(benches)
    yield bench
    for store in bench.opened:
        store.close()
    next(benches, None)


@pytest.fixture
def store(bench: Bench) -> RecordStore:
    return bench.another()
