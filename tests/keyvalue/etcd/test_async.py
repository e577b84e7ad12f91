"""Calls for event loops on a real etcd: no thread waits for an answer; the rules are those of the blocking calls."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    Compacted,
    DeadlineExceeded,
    InvalidRequest,
    LeaseExists,
    LeaseNotFound,
    OutcomeUnknown,
)
from django_etcdaero.keyvalue import KV, Event, ops
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import WatchRequest
from tests.keyvalue.etcd.servers import Cluster, Server

At = Callable[[str], bytes]
Connect = Callable[..., EtcdEngine]


@pytest.fixture
def kv(engine: EtcdEngine, at: At) -> Iterator[KV]:
    client = KV(engine, prefix=at("app/"))
    yield client
    client.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(bounded())


def has_unread(server: Server) -> bool:
    """Tell whether more than a few small messages were sent to a frozen server."""
    port = f":{server.client_port:04X}"
    connections = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    unread = [int(each[4].split(":")[1], 16) for each in connections if each[1].endswith(port) and each[3] == "01"]
    return any(size > 20_000 for size in unread)


def test_the_twins_answer_as_the_blocking_calls_do(kv: KV, engine: EtcdEngine) -> None:
    async def scenario() -> None:
        put = await kv.aput("a", "1")
        assert await kv.aget("a") == kv.get("a")
        assert (await kv.aput("a", "2", prev_kv=True)).prev_kv is not None
        assert await kv.aget("a", revision=put.revision) == kv.get("a", revision=put.revision)
        assert (await kv.arange("", prefix=True, keys_only=True)).kvs == kv.range("", prefix=True, keys_only=True).kvs
        result = await kv.txn().when(ops.value("a") == "2").then(ops.put("b", "1"), ops.get("b")).acommit()
        assert result.succeeded
        assert (await kv.adelete_range("", prefix=True, everything=True)).deleted == 2
        async with await kv.alease(60, id=4711) as lease:
            assert await lease.akeep_alive() == 60
            assert (await engine.alease_time_to_live(4711)).granted_ttl == 60
            assert 4711 in await engine.alease_list()
            with pytest.raises(LeaseExists):
                await engine.alease_grant(60, lease_id=4711)
        with pytest.raises(LeaseNotFound):
            await engine.alease_revoke(4711)
        with pytest.raises(LeaseNotFound):
            await engine.alease_keep_alive(4711)
        last = (await kv.aput("a", "3")).revision
        await kv.acompact(last)
        with pytest.raises(Compacted):
            await kv.aget("a", revision=put.revision)
        with pytest.raises(InvalidRequest):
            await engine.awatch(WatchRequest("a"), lambda batch: None)  # type: ignore[arg-type]

    run(scenario)


def test_two_hundred_calls_at_once_need_no_threads_of_ours(kv: KV, started: Callable[[], set[str]]) -> None:
    async def scenario() -> None:
        await kv.aput("a", "1")
        before = threading.active_count()
        found = await asyncio.gather(*(kv.aget("a", timeout=30) for _ in range(200)))
        assert [each.value for each in found if each is not None] == [b"1"] * 200
        assert "etcdaero-async" not in started()
        assert threading.active_count() <= before + 2  # gRPC's own

    run(scenario)


def test_a_frozen_server_ends_a_read_at_its_deadline_and_leaves_a_write_unknown(
    server: Server, connect: Connect
) -> None:
    kv = KV(connect([server.endpoint]))

    async def scenario() -> None:
        await kv.aput("a", "1")
        server.signal(signal.SIGSTOP)
        ticks = 0
        calls = asyncio.gather(kv.aget("a", timeout=0.5), kv.aput("a", "2", timeout=0.5), return_exceptions=True)
        while not calls.done():
            ticks += 1
            await asyncio.sleep(0.01)
        read, write = calls.result()
        assert ticks > 1  # the loop was free
        assert isinstance(read, DeadlineExceeded)
        assert isinstance(write, OutcomeUnknown)
        server.signal(signal.SIGCONT)
        found = await kv.aget("a", timeout=20)
        assert found is not None
        assert found.value in (b"1", b"2")

    run(scenario)
    kv.close()


def test_a_write_whose_server_dies_is_of_unknown_outcome(server: Server, connect: Connect) -> None:
    kv = KV(connect([server.endpoint]))

    async def scenario() -> None:
        await kv.aput("a", "1")
        server.signal(signal.SIGSTOP)
        writing = asyncio.create_task(kv.aput("a", bytes(60_000), timeout=20))
        while not has_unread(server):
            await asyncio.sleep(0.01)
        server.kill()
        with pytest.raises(OutcomeUnknown):
            await writing
        with pytest.raises((ClusterError, DeadlineExceeded)):
            await kv.aget("a", timeout=0.5)

    run(scenario)
    kv.close()


def test_cancelling_the_task_cancels_the_call(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    kv = KV(engine)

    async def scenario() -> None:
        await kv.aput("a", "1")
        server.signal(signal.SIGSTOP)
        calls = [asyncio.create_task(call) for call in (kv.aget("a", timeout=60), kv.aput("a", "2", timeout=60))]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert engine._gate.wait_empty(10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await kv.aget("a", timeout=60)
        assert engine._gate.wait_empty(10)
        server.signal(signal.SIGCONT)
        found = await kv.aget("a", timeout=20)
        assert found is not None
        assert found.value in (b"1", b"2")  # a cancelled write is like one whose answer was lost

    run(scenario)
    kv.close()


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_reads_go_on_when_the_member_in_use_fails(cluster: Cluster, connect: Connect, at: At, fault: int) -> None:
    engine = connect(cluster.endpoints)
    kv = KV(engine, prefix=at(""))

    async def scenario() -> None:
        await kv.aput("a", "1", timeout=20)
        member = next(each for each in cluster.members if each.endpoint == engine.endpoint)
        if fault == signal.SIGKILL:
            member.kill()
        else:
            member.signal(signal.SIGSTOP)
        found = await asyncio.gather(*(kv.aget("a", timeout=30) for _ in range(50)))
        assert [each.value for each in found if each is not None] == [b"1"] * 50
        assert engine.endpoint != member.endpoint
        assert (await kv.aput("a", "2", timeout=30)).revision

    run(scenario)
    kv.close()


def test_a_fork_does_not_wait_for_tasks_that_its_own_loop_cannot_run(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    kv = KV(engine)

    async def scenario() -> None:
        await kv.aput("a", "1")
        server.signal(signal.SIGSTOP)
        reading = asyncio.create_task(kv.aget("a", timeout=40))
        await asyncio.sleep(0)
        engine.before_fork(1.0)
        assert engine._gate.wait_empty(10)  # although the loop has not run since
        waiting = asyncio.create_task(kv.aget("a", timeout=40))
        late = asyncio.create_task(kv.aget("a", timeout=0.05))
        with pytest.raises(DeadlineExceeded, match="forking"):
            await late
        assert not waiting.done()
        engine.after_fork_in_parent()
        server.signal(signal.SIGCONT)
        for call in (reading, waiting):
            found = await call
            assert found is not None
            assert found.value == b"1"

    run(scenario)
    kv.close()


def test_calls_of_a_closed_engine_are_cancelled(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    kv = KV(engine)

    async def scenario() -> None:
        await kv.aput("a", "1")
        server.signal(signal.SIGSTOP)
        reading = asyncio.create_task(kv.aget("a", timeout=40))
        await asyncio.sleep(0)
        engine.close()
        with pytest.raises(Cancelled):
            await reading
        with pytest.raises(Cancelled):
            await kv.aget("a")
        server.signal(signal.SIGCONT)

    run(scenario)
    kv.close()


def test_many_tasks_log_in_at_once(server: Server, connect: Connect) -> None:
    for arguments in (["user", "add", "root:pw"], ["user", "grant-role", "root", "root"], ["auth", "enable"]):
        server.etcdctl(*arguments)
    kv = KV(connect([server.endpoint], user="root", password="pw"))

    async def scenario() -> None:
        await kv.aput("a", "1", timeout=30)
        found = await asyncio.gather(*(kv.aget("a", timeout=30) for _ in range(50)))
        assert None not in found
        server.kill()
        server.start()  # which knows no token of before
        again = await asyncio.gather(*(kv.aget("a", timeout=40) for _ in range(50)))
        assert None not in again
        async with kv.watch("a", timeout=20) as watch:
            await kv.aput("a", "2", timeout=20)
            item = await watch.anext(timeout=20)
            assert isinstance(item, Event)

    run(scenario)
    kv.close()


# --- watches ---------------------------------------------------------------------------------------------------------


def test_a_watch_goes_on_after_a_restart_of_its_server(server: Server, connect: Connect) -> None:
    kv = KV(connect([server.endpoint]))

    async def scenario() -> None:
        async with kv.watch("a/", prefix=True) as watch:
            await kv.aput("a/1", "x")
            first = await watch.anext(timeout=20)
            server.kill()
            server.start()
            await asyncio.to_thread(server.wait_ready)
            await kv.aput("a/2", "y", timeout=20)
            second = await watch.anext(timeout=20)
        assert isinstance(first, Event)
        assert isinstance(second, Event)
        assert [first.kv.key, second.kv.key] == [b"a/1", b"a/2"]

    run(scenario)
    kv.close()


def test_a_watch_that_nobody_accepts_ends_at_its_deadline_or_when_it_is_cancelled(
    server: Server, connect: Connect, started: Callable[[], set[str]]
) -> None:
    engine = connect([server.endpoint])
    kv = KV(engine)

    async def follow(timeout: float) -> None:
        async with kv.watch("a", timeout=timeout):
            raise AssertionError("accepted")

    async def scenario() -> None:
        await kv.aput("a", "1")
        server.signal(signal.SIGSTOP)
        with pytest.raises((ClusterError, DeadlineExceeded)):
            await follow(0.3)
        cancelled = asyncio.create_task(follow(60))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert not engine._hub._watches
        assert "etcdaero-async" not in started()
        server.signal(signal.SIGCONT)

    run(scenario)
    kv.close()
