"""Clients of stores whose calls are counted: an embedded one, and a server where it behaves otherwise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.interposed import InterposedEngine

_numbers = itertools.count()


@pytest.fixture
def store() -> Iterator[InterposedEngine]:
    """An embedded store of the test's own."""
    name = f"inspected-{next(_numbers)}"
    engine = EmbeddedEngine.memory(name)
    yield InterposedEngine(engine)
    engine.close()
    drop_memory(name)


@pytest.fixture
def kv(store: InterposedEngine) -> Iterator[KV]:
    """A client below a prefix, beside which there are other keys."""
    for key in (b"ap", b"app", b"app0"):
        KV(store).put(key, "of others")
    client = KV(store, prefix="app/")
    yield client
    client.close()


@pytest.fixture
def own_server(server: Server) -> Iterator[KV]:
    """The same on an etcd server of the test's own, whose history may be compacted."""
    engine = EtcdEngine([server.endpoint])
    client = KV(engine, prefix="app/")
    yield client
    client.close()
    engine.close()
