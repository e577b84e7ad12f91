"""The awaited twins of leases, locks, elections, temporary keys and objects do what the blocking calls do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    Compacted,
    DeadlineExceeded,
    InvalidRequest,
    KeyExists,
    LeaseNotFound,
    LockLost,
    NotLeader,
    OutcomeUnknown,
)
from django_etcdaero.keyvalue import KV, Engine, EventType, Leadership
from django_etcdaero.keyvalue.objects import LeasedObject, LeaseState
from django_etcdaero.system.turns import Claim
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import keys
from tests.waiting import wait_until


@dataclass(frozen=True)
class Worker:
    name: str


@pytest.fixture
def other(engine: Engine, at: Callable[[str], bytes]) -> Iterator[KV]:
    """Another client of the same store and prefix."""
    client = KV(engine, prefix=at("app/"))
    yield client
    client.close()


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what=what)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await main()

    asyncio.run(limited())


# --- changes ---------------------------------------------------------------------------------------------------------


def test_waiting_for_a_change(kv: KV, other: KV, store: InterposedEngine) -> None:
    async def main() -> None:
        waiting = asyncio.create_task(kv.await_for_change("a/", prefix=True))
        await until(lambda: store.running, "the watch")
        other.put("b", "no")
        revision = other.put("a/1", "yes").revision
        event = await waiting
        assert (event.type, event.kv.key, event.kv.mod_revision) == (EventType.PUT, b"a/1", revision)
        assert (await kv.await_for_change("a/1", start_revision=revision)).kv.value == b"yes"
        with pytest.raises(DeadlineExceeded):
            await kv.await_for_change("a/1", timeout=0.05)
        await kv.acompact(other.put("c", "1").revision)
        with pytest.raises(Compacted):
            await kv.await_for_change("a/1", start_revision=revision)

    run(main)


# --- leases ----------------------------------------------------------------------------------------------------------


def test_leases(kv: KV) -> None:
    async def main() -> None:
        lease = await kv.alease(60)
        await kv.aput("a", "1", lease=lease)
        assert lease.id in await kv.aleases()
        assert (await kv.alease_status(lease, keys=True)).keys == (b"a",)
        status = await lease.atime_to_live()
        assert status.granted_ttl == 60
        assert status.keys == ()
        with pytest.raises(InvalidRequest, match="keys"):
            await lease.atime_to_live(keys=1)  # type: ignore[arg-type]
        await kv.arevoke_lease(lease.id)
        assert (await kv.alease_status(lease)).ttl == -1
        with pytest.raises(LeaseNotFound):
            await kv.arevoke_lease(lease)
        assert await kv.aget("a") is None

    run(main)


def test_closing(engine: Engine, at: Callable[[str], bytes]) -> None:
    async def main() -> None:
        client = KV(engine, prefix=at("app/"))
        session = await client.asession(60)
        with pytest.raises(InvalidRequest, match="namespace"):
            await client.namespace("x/").aclose()
        await client.aclose()
        assert session.lease.id not in engine.lease_list()
        with pytest.raises(Cancelled):
            await client.aget("a")

    run(main)


# --- locks -----------------------------------------------------------------------------------------------------------


def test_looking_into_a_queue_and_taking_contenders_out(kv: KV) -> None:
    async def main() -> None:
        lock, waiter, operator = kv.lock("L"), kv.lock("L"), kv.lock("L")
        assert await operator.aholder() is None
        assert await operator.aqueue() == ()
        assert await operator.aforce_release() is None
        assert await lock.atry_acquire()
        assert not await operator.atry_acquire()
        waiting = asyncio.create_task(waiter.aacquire())
        while len(await operator.aqueue()) < 2:
            await asyncio.sleep(0.01)
        holder, second = await operator.aqueue()
        assert await operator.aholder() == holder
        assert holder.token == lock.token
        assert await operator.aremove_waiter(holder.token) is None
        assert await operator.aremove_waiter(second.token) == second
        with pytest.raises(LockLost):
            await waiting
        assert await operator.aforce_release(token=1) is None
        assert await operator.aforce_release(token=holder.token) == holder
        await until(lambda: lock.lost, "the news")
        assert keys(kv) == []

    run(main)


# --- elections -------------------------------------------------------------------------------------------------------


def test_looking_at_an_election(kv: KV, other: KV) -> None:
    async def main() -> None:
        election = kv.election("E", value="a")
        assert await election.aholder() is None
        await election.acampaign()
        seen = await other.election("E").aholder()
        assert seen is not None
        assert seen.token == election.token
        assert seen.pid is not None
        assert await election.aqueue() == (seen,)
        await election.aresign()

    run(main)


def test_running_a_coroutine_function_while_leading(kv: KV, other: KV) -> None:
    async def work(leadership: Leadership) -> str:
        leadership.check()
        await leadership.aproclaim("busy")
        leader = other.election("E").leader()
        assert leader is not None
        assert (leader.value, leader.token) == (b"busy", leadership.token)
        assert not await leadership.asleep(0.01)
        return "done"

    async def main() -> None:
        election = kv.election("E", value="a")
        assert await election.arun(work) == "done"
        assert not election.is_leader
        assert await election.arun(lambda leadership: leadership.token) is not None
        assert keys(kv) == []

    run(main)


def test_a_lost_leadership_is_taken_anew(kv: KV, other: KV) -> None:
    tokens: list[int] = []

    async def work(leadership: Leadership) -> int:
        tokens.append(leadership.token)
        if len(tokens) == 1:
            other.delete_range("E/", prefix=True)
            assert await leadership.asleep(30)
            assert leadership.lost
            with pytest.raises(NotLeader):
                await leadership.aproclaim("x")
            leadership.check()
        return leadership.token

    async def main() -> None:
        assert await kv.election("E", value="a").arun(work) == tokens[1] > tokens[0]

    run(main)
    wait_until(lambda: keys(kv) == [], what="the end of the keys")


def test_a_stopped_run_ends(kv: KV, other: KV) -> None:
    stop = threading.Event()

    async def work(leadership: Leadership) -> bool:
        stop.set()
        return await leadership.asleep(30)

    async def main() -> None:
        with other.lock("E"):
            waiting = asyncio.create_task(kv.election("E", value="a").arun(work, stop=stop))
            await until(lambda: len(keys(kv, "E/")) == 2, "a place in line")
            stop.set()
            assert await waiting is None
        stop.clear()
        assert await kv.election("E", value="a").arun(work, stop=stop) is True
        assert keys(kv) == []

    run(main)


def test_a_cancelled_run_gives_the_leadership_up_in_the_background(kv: KV) -> None:
    async def main() -> None:
        leading = asyncio.Event()

        async def work(leadership: Leadership) -> None:
            leading.set()
            await leadership.asleep(600)

        election = kv.election("E", value="a")
        task = asyncio.create_task(election.arun(work))
        await leading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not election.is_leader
        await until(lambda: keys(kv) == [], "the end of the keys")
        await election.acampaign()
        await election.aresign()

    run(main)


def test_an_error_of_the_function_ends_the_leadership(kv: KV, store: InterposedEngine) -> None:
    async def fail(leadership: Leadership) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        election = kv.election("E", value="a")
        await kv.asession(10)
        store.fail("txn", ClusterError("away"), times=2)
        with pytest.raises(ZeroDivisionError):
            await election.arun(fail)
        assert not election.is_leader
        assert keys(kv) == []

    run(main)


# --- temporary keys --------------------------------------------------------------------------------------------------


def test_a_temporary_key(kv: KV, other: KV) -> None:
    async def main() -> None:
        async with await kv.atemporary_key("T", "old", ttl=5) as held:
            assert held.alive
            with pytest.raises(KeyExists):
                await kv.atemporary_key("T")
            assert await held.aupdate("new")
            found = other.get("T")
            assert found is not None
            assert found.value == held.value == b"new"
            other.delete("T")
            await until(lambda: other.get("T"), "the return of the key")
        assert not held.alive
        assert other.get("T") is None
        await held.aclose()
        with pytest.raises(InvalidRequest, match="closed"):
            await held.aupdate("more")

    run(main)


def test_an_update_does_not_block_the_loop_while_the_background_has_its_turn(kv: KV) -> None:
    async def main() -> None:
        held = await kv.atemporary_key("T", "old")
        background = Claim(60)
        await until(lambda: held._turn.take(background), "the end of the first look")
        update = asyncio.create_task(held.aupdate("new"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not update.done()
        held._turn.give_back(background)
        assert await update
        await held.aclose()

    run(main)


def test_what_a_cancelled_update_has_written_all_the_same_is_put_right(
    kv: KV, other: KV, store: InterposedEngine
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        held = await kv.atemporary_key("T", "old")
        await until(lambda: store.running, "the watch")
        in_call, go_on, landed = asyncio.Event(), threading.Event(), threading.Event()

        def hold_up() -> None:
            if in_call.is_set():
                landed.wait(10)
            else:
                loop.call_soon_threadsafe(in_call.set)
                go_on.wait(10)

        store.before["txn"] = hold_up
        update = asyncio.create_task(held.aupdate("new"))
        await in_call.wait()
        update.cancel()
        with pytest.raises(asyncio.CancelledError):
            await update
        assert held.value == b"old"
        go_on.set()
        await until(lambda: found(other) == b"new", "the write of the cancelled task")
        landed.set()
        await until(lambda: found(other) == b"old", "the value before")
        await held.aclose()

    def found(client: KV) -> bytes | None:
        kept = client.get("T")
        return None if kept is None else kept.value

    run(main)


def test_a_creation_of_unknown_outcome_is_taken_back(kv: KV, other: KV, store: InterposedEngine) -> None:
    async def main() -> None:
        store.fail("txn", OutcomeUnknown("answer lost"), applied=True)
        with pytest.raises(OutcomeUnknown):
            await kv.atemporary_key("T")
        assert other.get("T") is None
        assert store.calls["lease_grant"] == store.calls["lease_revoke"] == 1

    run(main)


@pytest.mark.parametrize("make", ["key", "object"])
def test_a_cancelled_creation_leaves_nothing_behind(kv: KV, other: KV, store: InterposedEngine, make: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        in_call, go_on = asyncio.Event(), threading.Event()

        def hold_up() -> None:
            loop.call_soon_threadsafe(in_call.set)
            go_on.wait(10)

        store.before["txn"] = hold_up
        calls = {
            "key": lambda: kv.atemporary_key("T"),
            "object": lambda: kv.objects(Worker, "T").aleased("1", Worker("a")),
        }
        task: asyncio.Task[object] = asyncio.create_task(calls[make]())  # type: ignore[arg-type]
        await in_call.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del store.before["txn"]
        go_on.set()
        await until(lambda: store.calls["lease_revoke"], "the end of the lease")
        await until(lambda: not keys(other), "the end of the key")

    run(main)


# --- objects ---------------------------------------------------------------------------------------------------------


def test_a_leased_object(kv: KV, other: KV) -> None:
    async def main() -> None:
        workers = kv.objects(Worker, "workers")
        async with await workers.aleased("1", Worker("Ada"), ttl=5) as leased:
            stored = await workers.aget("1")
            assert (stored.version, stored.lease) == (leased.version, leased.lease.id)
            with pytest.raises(KeyExists):
                await workers.aleased("1", Worker("Bob"))
            assert await leased.asleep(0.01) is LeaseState.ACTIVE
        assert leased.state is LeaseState.CANCELLED
        assert not await workers.aexists("1")
        await leased.acancel()

    run(main)


def test_the_loss_of_a_leased_object_ends_a_wait_for_it(kv: KV, other: KV) -> None:
    async def main() -> None:
        ended: list[LeasedObject] = []
        workers = kv.objects(Worker, "workers")
        leased = await workers.aleased("1", Worker("Ada"), ttl=60)
        leased.on_end(ended.append)
        waiting = asyncio.create_task(leased.asleep(30))
        await asyncio.sleep(0)
        other.delete("workers/1")
        assert await waiting is LeaseState.LOST
        await until(lambda: ended == [leased], "the callback")
        await until(lambda: leased.lease.id not in other.leases(), "the end of the lease")

    run(main)
