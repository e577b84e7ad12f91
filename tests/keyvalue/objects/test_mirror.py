"""A collection in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from django_etcdaero.exceptions import InvalidObject
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.objects import Collection
from tests.keyvalue.objects.samples import ADA, BOB, Order


@pytest.fixture
def orders() -> Iterator[Collection[Order]]:
    engine = EmbeddedEngine.memory("mirrored")
    client = KV(engine, prefix="app/")
    yield Collection(client, Order, "orders")
    client.close()
    engine.close()
    drop_memory("mirrored")


def test_objects_are_there_by_their_names(orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    with orders.mirror() as mirror:
        assert dict(mirror) == {"1": ADA}
        assert mirror["1"] is mirror["1"]
        orders.create("2026/2", BOB)
        last = orders.update("1", replace(ADA, status="paid"))
        mirror.wait_for(lambda seen: seen.revision >= last.version, timeout=10)
        assert dict(mirror) == {"1": last.object, "2026/2": BOB}
        orders.delete_all()
        mirror.wait_for(lambda seen: not seen, timeout=10)


def test_what_is_no_object_is_told(orders: Collection[Order]) -> None:
    orders.client.put("orders/1", "bad")
    with orders.mirror() as mirror:
        assert not mirror
        assert isinstance(mirror.errors["1"], InvalidObject)


def test_tasks_have_it_too(orders: Collection[Order]) -> None:
    async def play() -> None:
        async with await orders.amirror() as mirror:
            await orders.acreate("1", ADA)
            assert await mirror.await_for(lambda seen: seen.get("1"), timeout=10) == ADA

    asyncio.run(play())


def test_locks_of_the_same_name_are_not_among_the_objects(orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    kv = orders.client
    with kv.lock("orders"), orders.mirror() as mirror:
        with kv.semaphore("orders", 2), kv.rwlock("orders").read():
            last = orders.create("2", BOB)
            mirror.wait_for(lambda seen: seen.revision >= last.version, timeout=10)
            assert dict(mirror) == {"1": ADA, "2": BOB}
            assert not mirror.errors
        last = orders.update("1", BOB)
        mirror.wait_for(lambda seen: seen.revision >= last.version, timeout=10)
        assert dict(mirror) == {"1": BOB, "2": BOB}
