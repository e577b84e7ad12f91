"""A thousand waiters for one lock: each release wakes one of them, and none waits longer than those behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from tests.keyvalue.interposed import InterposedEngine
from tests.programs.thousand_waiters import SERVING, Line
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

COUNT = 1000


@pytest.fixture
def store() -> Iterator[InterposedEngine]:
    engine = InterposedEngine(EmbeddedEngine.memory("thousand"))
    yield engine
    engine.close()
    drop_memory("thousand")


@pytest.fixture
def kv(store: InterposedEngine) -> Iterator[KV]:
    client = KV(store)
    yield client
    client.close()


@pytest.mark.parametrize("kind", SERVING)
def test_a_thousand_waiters_are_served_in_order_and_each_release_wakes_one(
    kv: KV, store: InterposedEngine, kind: str
) -> None:
    line = Line(kv, "L")

    def ready() -> bool:
        # Each waiter watches its own key and the one before, the holder its own.
        return len(store.running) == 2 * COUNT + 1

    def begin() -> None:
        store.calls.clear()

    SERVING[kind](line, COUNT, ready=ready, begin=begin)
    wait_until(lambda: not store.running, what="the end of all watches")
    assert store.delivered == COUNT
    # A release by each and the first, and a look by each that was woken: nothing else was asked of the store.
    assert (store.calls["txn"], store.calls["range"]) == (COUNT + 1, COUNT)
    assert store.calls["watch"] == 0
    line.check(COUNT)


def test_a_thousand_cancelled_waiters_leave_nothing_behind(kv: KV, store: InterposedEngine) -> None:
    line = Line(kv, "L")

    async def main() -> None:
        await line.first.aacquire()
        tasks = [asyncio.create_task(kv.lock("L", ttl=60).aacquire()) for _ in range(COUNT)]
        await asyncio.to_thread(wait_until, lambda: line.waiting() == COUNT + 1, 60, "all tasks in line")
        last = asyncio.create_task(kv.lock("L", ttl=60).aacquire())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(wait_until, lambda: line.waiting() == 2, 60, "the end of the cancelled waiters' keys")
        await line.first.arelease()
        await last

    asyncio.run(main())
    assert line.waiting() == 1
