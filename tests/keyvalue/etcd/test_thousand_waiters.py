"""What locks cost a server, by its own count: round trips of one, and events of a thousand waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.keyvalue import KV, Lock
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import WatchBatch, WatchHandle, WatchRequest, WatchSink
from tests.keyvalue.etcd.counters import total, unary_calls
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.queue.contending import contenders
from tests.programs.thousand_waiters import SERVING, Line
from tests.waiting import wait_until


@pytest.fixture
def kv(server: Server, connect: Callable[..., EtcdEngine]) -> Iterator[KV]:
    client = KV(connect([server.endpoint]))
    yield client
    client.close()


def take_in_turn(lock: Lock, times: int) -> None:
    for _ in range(times):
        lock.acquire()
        lock.release()


def take_in_turn_in_a_loop(lock: Lock, times: int) -> None:
    async def main() -> None:
        for _ in range(times):
            async with lock:
                pass

    asyncio.run(main())


@pytest.mark.parametrize("take", [take_in_turn, take_in_turn_in_a_loop])
def test_to_take_a_free_lock_and_give_it_back_is_two_round_trips(
    kv: KV, server: Server, take: Callable[[Lock, int], None]
) -> None:
    lock = kv.lock("L", ttl=60)
    take(lock, 1)
    before = unary_calls(server)
    take(lock, 50)
    assert unary_calls(server) - before == 100


def test_an_election_that_nobody_contests_is_two_round_trips(kv: KV, server: Server) -> None:
    kv.session(60)
    election = kv.election("E", ttl=60)
    before = unary_calls(server)
    election.campaign()
    election.resign()
    assert unary_calls(server) - before == 2


class CountingEngine(EtcdEngine):
    """Counts the events that sinks are given."""

    delivered = 0

    def watch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        return super().watch(request, self._counted(sink), timeout=timeout)

    async def awatch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        return await super().awatch(request, self._counted(sink), timeout=timeout)

    def _counted(self, sink: WatchSink) -> WatchSink:
        def counted(batch: WatchBatch) -> None:
            self.delivered += len(batch.events)
            sink(batch)

        return counted


# Each thread of a waiter costs a test more than a task does, and shows nothing more.
@pytest.mark.parametrize(("kind", "count"), [("tasks", 1000), ("threads", 300)])
def test_each_release_wakes_one_of_many_waiters(server: Server, kind: str, count: int) -> None:
    engine = CountingEngine([server.endpoint])
    kv = KV(engine)
    line = Line(kv, "L")
    calls: list[int] = []

    def ready() -> bool:
        # Each waiter watches its own key and the one before, the holder its own.
        return total(server, "etcd_debugging_mvcc_watcher_total") == 2 * count + 1

    def begin() -> None:
        calls.append(unary_calls(server, service="etcdserverpb.KV"))

    SERVING[kind](line, count, ready=ready, begin=begin)
    # A release by each and the first, and a look by each that was woken.
    assert unary_calls(server, service="etcdserverpb.KV") - calls[0] == 2 * count + 1
    assert engine.delivered == count
    line.check(count)
    kv.close()
    engine.close()


def test_a_killed_waiter_leaves_nothing_and_those_behind_it_advance(kv: KV, server: Server) -> None:
    with contenders(server.endpoint) as start:
        lock = kv.lock("L", ttl=60)
        lock.acquire()
        killed = start.start("lock", "L", ttl=2)
        wait_until(lambda: len(lock.queue()) == 2, what="the first waiter")
        last = start.start("lock", "L", ttl=60)
        wait_until(lambda: len(lock.queue()) == 3, what="the second waiter")
        killed.kill()
        wait_until(lambda: len(lock.queue()) == 2, what="the end of the killed waiter's key")
        lock.release()
        last.won()
        last.end()
        assert kv.range("", prefix=True).count == 0
