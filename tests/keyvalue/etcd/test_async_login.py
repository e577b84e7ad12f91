"""Logging in for event loops: no thread of ours, and nobody waits for somebody who cannot go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from django_etcdaero.exceptions import Unauthenticated
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest
from tests.keyvalue.etcd.servers import Server

Connect = Callable[..., EtcdEngine]


@pytest.fixture
def guarded(server: Server) -> Server:
    for arguments in (["user", "add", "root:pw"], ["user", "grant-role", "root", "root"], ["auth", "enable"]):
        server.etcdctl(*arguments)
    return server


def test_a_blocking_call_does_not_wait_for_a_task_of_its_own_thread(guarded: Server, connect: Connect) -> None:
    engine = connect([guarded.endpoint], user="root", password="pw")

    async def scenario() -> None:
        task = asyncio.create_task(engine.aput(PutRequest(b"a", b"1"), timeout=30))
        await asyncio.sleep(0)  # the task is logging in now
        assert engine.put(PutRequest(b"a", b"2"), timeout=20).revision
        assert (await task).revision

    asyncio.run(scenario())


def test_tasks_of_several_loops_and_threads_log_in_once(
    guarded: Server, connect: Connect, started: Callable[[], set[str]]
) -> None:
    engine = connect([guarded.endpoint], user="root", password="pw")
    _, member = engine._balancer.pick()
    original = member.calls["Authenticate"]
    logins: list[object] = []

    class Counted:
        def __call__(self, *arguments: object, **options: object) -> object:
            logins.append(arguments)
            return original(*arguments, **options)

        def future(self, *arguments: object, **options: object) -> object:
            logins.append(arguments)
            return original.future(*arguments, **options)

    member.calls["Authenticate"] = Counted()
    done: list[object] = []

    async def write() -> None:
        done.extend(await asyncio.gather(*(engine.aput(PutRequest(b"a", b"1"), timeout=30) for _ in range(10))))

    threads = [threading.Thread(target=lambda: asyncio.run(write())) for _ in range(3)]
    threads.append(threading.Thread(target=lambda: done.append(engine.put(PutRequest(b"a", b"1"), timeout=30))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 31
    assert len(logins) == 1
    assert "etcdaero-async" not in started()


def test_a_task_that_is_cancelled_while_it_logs_in_holds_up_nobody(guarded: Server, connect: Connect) -> None:
    engine = connect([guarded.endpoint], user="root", password="pw")

    async def scenario() -> None:
        task = asyncio.create_task(engine.aput(PutRequest(b"a", b"1"), timeout=30))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine._gate.wait_empty(10)
        assert (await engine.aput(PutRequest(b"a", b"1"), timeout=30)).revision

    asyncio.run(scenario())


def test_a_wrong_password_is_told(guarded: Server, connect: Connect) -> None:
    engine = connect([guarded.endpoint], user="root", password="wrong")

    async def scenario() -> None:
        with pytest.raises(Unauthenticated):
            await engine.aput(PutRequest(b"a", b"1"), timeout=30)

    asyncio.run(scenario())
