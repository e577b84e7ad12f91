"""The methods for asyncio: the operations are the same, so what is tested is that each of them is run."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from django_etcdaero.exceptions import (
    DeadlineExceeded,
    InvalidRequest,
    KeyExists,
    KeyNotFound,
    TxnFailed,
    VersionConflict,
)
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.objects import Collection, Created, Deleted, ObjectTxn, Updated
from tests.keyvalue.objects.samples import ADA, BOB, Counter, Order

TIMEOUT = 10.0


def test_one_object(orders: Collection[Order]) -> None:
    async def play() -> None:
        created = await orders.acreate("1", ADA)
        with pytest.raises(KeyExists):
            await orders.acreate("1", ADA)
        assert await orders.aget("1") == await orders.afind("1") == created
        assert await orders.aexists("1")
        updated = await orders.aupdate("1", BOB, version=created.version)
        with pytest.raises(VersionConflict):
            await orders.aupdate("1", BOB, version=created.version)
        assert await orders.adelete("1", version=updated.version) == updated
        with pytest.raises(KeyNotFound):
            await orders.aget("1")
        await orders.aput("1", ADA)
        assert await orders.adiscard("1")
        assert not await orders.adiscard("1")

    asyncio.run(play())


def test_many_objects(orders: Collection[Order]) -> None:
    async def play() -> None:
        for name in ("a", "b/1", "b/2"):
            await orders.acreate(name, ADA)
        listing = await orders.alist(order_by="-name", limit=2)
        assert [each.name for each in listing] == ["b/2", "b/1"]
        assert [each.name for each in await orders.alist(under="b", where=lambda order: True)] == ["b/1", "b/2"]
        assert await orders.adelete_under("b") == 2
        assert await orders.adelete_all() == 1

    asyncio.run(play())


def test_leases(kv: KV, orders: Collection[Order]) -> None:
    async def play() -> None:
        before = set(kv.engine.lease_list())
        created = await orders.acreate("1", ADA, ttl=60)
        assert set(kv.engine.lease_list()) - before == {created.lease}
        with pytest.raises(KeyExists):
            await orders.acreate("1", ADA, ttl=60)
        assert set(kv.engine.lease_list()) - before == {created.lease}

    asyncio.run(play())


def test_consistent_updates(kv: KV) -> None:
    counters = Collection(kv, Counter, "counters")

    def increment(counter: Counter) -> Counter:
        return Counter(counter.count + 1)

    async def increment_later(counter: Counter) -> Counter:
        await asyncio.sleep(0)
        return Counter(counter.count + 1)

    async def fail(counter: Counter) -> Counter:
        raise ZeroDivisionError

    async def play() -> None:
        await counters.acreate("1", Counter())
        calls: list[Any] = [counters.aconsistent_update("1", increment) for _ in range(5)]
        calls += [counters.aconsistent_update("1", increment_later) for _ in range(5)]
        await asyncio.wait_for(asyncio.gather(*calls), 30)
        assert (await counters.aget("1")).object == Counter(10)
        with pytest.raises(ZeroDivisionError):
            await counters.aconsistent_update("1", fail)

    asyncio.run(play())


def test_transactions(kv: KV, orders: Collection[Order]) -> None:
    async def play() -> None:
        result = await ObjectTxn(kv).create(orders, "1", ADA).acommit()
        assert await orders.aget("1") == result.stored[0]
        with pytest.raises(TxnFailed, match="orders/1 exists"):
            await ObjectTxn(kv).create(orders, "1", ADA).acommit()

    asyncio.run(play())


def test_watches(orders: Collection[Order]) -> None:
    async def play() -> None:
        first = await orders.acreate("1", ADA)
        async with orders.watch(changed=["status"]) as watch:
            second = await orders.aupdate("1", replace(ADA, status="paid"))
            await orders.aupdate("1", replace(BOB, status="paid"))
            await orders.adelete("1")
            assert await watch.anext(timeout=TIMEOUT) == Created(first)
            assert await watch.anext(timeout=TIMEOUT) == Updated(second, first)
            assert isinstance(await watch.anext(timeout=TIMEOUT), Deleted)
            with pytest.raises(DeadlineExceeded):
                await watch.anext(timeout=0.05)
            third = await orders.acreate("2", ADA)
            async for event in watch:
                assert event == Created(third)
                break

    asyncio.run(play())


def test_a_watch_must_be_started(orders: Collection[Order]) -> None:
    async def play() -> None:
        with pytest.raises(InvalidRequest, match="async with"):
            await orders.watch().anext(timeout=1)

    asyncio.run(play())
