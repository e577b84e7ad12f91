"""Semaphores and read/write locks between processes, of which some are killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.queue.contending import Contenders, contenders
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

TTL = 2


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.servers)])
def store(request: pytest.FixtureRequest, path: Path) -> str:
    return str(path) if request.param == "sqlite" else request.getfixturevalue("shared_server").endpoint


@pytest.fixture
def kv(store: str) -> Iterator[KV]:
    engine: Engine = EmbeddedEngine.file(store) if store.startswith("/") else EtcdEngine([store])
    client = KV(engine)
    yield client
    client.close()
    engine.close()


@pytest.fixture
def start(store: str) -> Iterator[Contenders]:
    with contenders(store) as started:
        yield started


def test_the_permit_of_a_killed_holder_goes_to_the_next_in_line(kv: KV, start: Contenders) -> None:
    holders = [start.start("semaphore", "shared-S", ttl=TTL) for _ in range(2)]
    tokens = [each.won() for each in holders]
    semaphore = kv.semaphore("shared-S", ttl=TTL)
    assert [each.pid for each in semaphore.holders()] == [each.pid for each in holders]
    assert not semaphore.try_acquire()
    waiter = start.start("semaphore", "shared-S", ttl=TTL)
    wait_until(lambda: len(semaphore.queue()) == 3, what="a place in line")
    holders[0].kill()
    assert waiter.won() > tokens[1]
    assert holders[1].holds()
    assert tokens[1] in [each.token for each in semaphore.holders()]
    for each in (holders[1], waiter):
        each.end()


def test_a_killed_writer_lets_readers_in_and_a_killed_reader_a_writer(kv: KV, start: Contenders) -> None:
    rwlock = kv.rwlock("shared-R", ttl=TTL)
    writer = start.start("write", "shared-R", ttl=TTL)
    first = writer.won()
    readers = [start.start("read", "shared-R", ttl=TTL) for _ in range(2)]
    wait_until(lambda: len(rwlock.queue()) == 3, what="two readers in line")
    last = start.start("write", "shared-R", ttl=TTL)
    wait_until(lambda: len(rwlock.queue()) == 4, what="a writer in line")
    writer.kill()
    tokens = [each.won() for each in readers]
    assert min(tokens) > first
    assert [each.role for each in rwlock.holders()] == ["read", "read"]
    readers[0].kill()
    readers[1].end()
    assert last.won() > max(tokens)
    assert [each.role for each in rwlock.queue()] == ["write"]
    last.end()
