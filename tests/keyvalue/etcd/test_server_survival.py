"""Calls that run into their deadline, or are cancelled, end no server, old ones included.

etcd before 3.5.5, which is the one of these tests, panics on a transaction of ranges only when the caller gives up
while it is run.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue import KV, ops
from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.etcd.servers import Server

CALLS = 5_000
THREADS = 16

Connect = Callable[..., EtcdEngine]


def fill(kv: KV) -> None:
    """Many keys, so that a range takes a while."""
    for start in range(0, 1000, 100):
        kv.txn().then(*(ops.put(f"many/{start + number:04}", bytes(200)) for number in range(100))).commit()


def assert_alive(server: Server, pid: int) -> None:
    assert server.process is not None
    assert server.process.poll() is None, (server.directory / "log").read_text()[-2000:]
    assert server.process.pid == pid
    server.wait_ready()


@pytest.mark.slow
def test_five_thousand_calls_that_time_out_leave_the_server_running(server: Server, connect: Connect) -> None:
    assert server.process is not None
    pid = server.process.pid
    clients = [KV(connect([server.endpoint], timeout=3)) for _ in range(4)]
    fill(clients[0])
    holder = clients[0].lock("L", ttl=60)  # whatever the load of the machine
    holder.acquire(timeout=10)
    numbers = iter(range(CALLS))
    late: list[EtcdAeroError] = []

    def give_up_often(kv: KV, chance: random.Random) -> None:
        calls: list[Callable[[float], object]] = [
            lambda left: kv.txn().then(ops.get("many/0000"), ops.get("many/", prefix=True)).commit(timeout=left),
            lambda left: kv.txn().then(ops.get("many/", prefix=True)).commit(timeout=left),
            lambda left: (
                kv.txn()
                .when(ops.version("many/0001") > 0)
                .then(ops.get("many/", prefix=True))
                .otherwise(ops.get("L"))
                .commit(timeout=left)
            ),
            lambda left: kv.txn().then(*(ops.get(f"many/{n:04}") for n in range(100))).commit(timeout=left),
            lambda left: kv.lock("L").acquire(timeout=left),
        ]
        while next(numbers, None) is not None:
            assert server.process is not None
            if server.process.poll() is not None:
                return
            # A lock is held for as long as somebody waits for it; the longer waits end while it is looked at again.
            number = chance.randrange(len(calls))
            slow = number == len(calls) - 1 and chance.random() < 0.1
            try:
                calls[number](chance.uniform(0.3, 0.7) if slow else chance.uniform(0.0, 0.05))
            except EtcdAeroError as error:
                late.append(error)

    threads = [
        threading.Thread(target=give_up_often, args=(clients[number % 4], random.Random(number)))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert_alive(server, pid)
    assert next(numbers, None) is None
    assert len(late) > CALLS / 50
    holder.release()
    for kv in clients:
        kv.close()


@pytest.mark.slow
def test_a_thousand_cancelled_awaits_leave_the_server_running(server: Server, connect: Connect) -> None:
    assert server.process is not None
    pid = server.process.pid
    kv = KV(connect([server.endpoint], timeout=3))
    fill(kv)
    holder = kv.lock("L", ttl=60)
    holder.acquire(timeout=10)
    cancelled = 0

    async def cancel_often() -> None:
        nonlocal cancelled
        for number in range(100):
            call: Coroutine[Any, Any, object]
            if number % 4 == 0:
                call = kv.txn().then(ops.get("many/0000"), ops.get("many/", prefix=True)).acommit()
            elif number % 4 == 1:
                condition = ops.version("many/0001") > 0
                call = kv.txn().when(condition).then(ops.get("many/", prefix=True)).acommit()
            elif number % 4 == 2:
                call = kv.txn().then(*(ops.get(f"many/{n:04}") for n in range(100))).acommit()
            else:
                call = kv.lock("L").aacquire()
            task = asyncio.create_task(call)
            await asyncio.sleep(random.uniform(0.0, 0.008))
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled += 1

    async def main() -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*(cancel_often() for _ in range(10)))

    asyncio.run(main())
    assert_alive(server, pid)
    assert cancelled > 100
    assert kv.get("many/0000") is not None
    holder.release()
    kv.close()
