"""Clients on every engine: what the systems that this one grew out of promise must hold on each of them alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.objects import Collection
from tests.keyvalue.conftest import engine
from tests.keyvalue.etcd.servers import Server
from tests.seeds.books import Book

__all__ = ["engine"]

_numbers = itertools.count()


@pytest.fixture
def connect(engine: Engine) -> Iterator[Callable[[], KV]]:
    """Make clients of one store and prefix, each with sessions of its own as those of different processes have."""
    prefix = f"seeds-{next(_numbers)}/"
    clients: list[KV] = []

    def make() -> KV:
        clients.append(KV(engine, prefix=prefix))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def kv(connect: Callable[[], KV]) -> KV:
    """A client with a prefix that no other test uses."""
    return connect()


@pytest.fixture
def client_of() -> Iterator[Callable[..., KV]]:
    """Make clients, without a prefix, of servers; options are those of the engine."""
    made: list[KV] = []

    def make(*servers: Server, **options: object) -> KV:
        made.append(KV(EtcdEngine([server.endpoint for server in servers], **options)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        client.close()
        client.engine.close()


@pytest.fixture
def books(kv: KV) -> Collection[Book]:
    return kv.objects(Book, "venice")
