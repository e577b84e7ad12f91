"""Locks and elections in event loops."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    DeadlineExceeded,
    InvalidRequest,
    LockLost,
    LockTimeout,
    NotLeader,
)
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.client import closed_loops
from django_etcdaero.keyvalue.queue.holder import Changed, Elected, ElectionEvent, Lost, Proclaimed
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import keys
from tests.waiting import wait_until


async def until(condition: Callable[[], object], what: str) -> None:
    """Return when ``condition()`` is true; the loop goes on meanwhile."""
    await asyncio.to_thread(wait_until, condition, what=what)


async def cancelled(task: asyncio.Task[Any]) -> bool:
    """Cancel a task and wait for its end; tell whether it ended by that."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return task.cancelled()


def test_a_lock_is_taken_and_given_back(kv: KV, store: InterposedEngine) -> None:
    async def main() -> None:
        await kv.asession(10)
        store.calls.clear()
        lock = kv.lock("L")
        await lock.aacquire()
        assert lock.held
        with pytest.raises(InvalidRequest, match="already"):
            await lock.aacquire()
        await lock.arelease()
        assert store.calls["txn"] == 2
        assert not lock.held
        with pytest.raises(InvalidRequest, match="not held"):
            await lock.arelease()
        async with lock:
            lock.check()
        assert keys(kv) == []

    asyncio.run(main())


def test_tasks_and_threads_exclude_each_other_and_are_served_in_order(kv: KV) -> None:
    order: list[int] = []

    async def take_turn(number: int) -> None:
        async with kv.lock("L") as lock:
            order.append(number)
            assert lock.held

    async def main() -> None:
        first = kv.lock("L")
        await asyncio.to_thread(first.acquire)
        tasks = []
        for number in range(10):
            tasks.append(asyncio.create_task(take_turn(number)))
            await until(lambda number=number: len(first.queue()) == number + 2, "the task in line")  # type: ignore[misc]
        await asyncio.to_thread(first.release)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order == list(range(10))
    assert keys(kv) == []


@pytest.mark.parametrize("timeout", [0, 0.01, 0.3])
def test_a_wait_that_times_out_leaves_nothing_behind(kv: KV, timeout: float) -> None:
    async def main() -> None:
        async with kv.lock("L"):
            with pytest.raises(LockTimeout):
                await kv.lock("L").aacquire(timeout)
            # At once, but for an entry that was not answered in the time: that is looked after in the background.
            await until(lambda: len(keys(kv)) == 1, "the end of the place in line")
            with pytest.raises(LockTimeout):
                async with kv.lock("L", timeout=timeout):
                    pytest.fail("the lock was taken twice")

    asyncio.run(main())
    wait_until(lambda: keys(kv) == [], what="the end of all places")


def test_a_cancelled_wait_leaves_nothing_behind_and_is_skipped(kv: KV) -> None:
    async def main() -> None:
        first = kv.lock("L")
        await first.aacquire()
        middle, last = kv.lock("L"), kv.lock("L")
        impatient = asyncio.create_task(middle.aacquire())
        await until(lambda: len(first.queue()) == 2, "the first waiter")
        patient = asyncio.create_task(last.aacquire())
        await until(lambda: len(first.queue()) == 3, "the second waiter")
        assert await cancelled(impatient)
        await until(lambda: len(first.queue()) == 2, "the end of the cancelled waiter's key")
        assert not patient.done()
        await first.arelease()
        await patient
        await last.arelease()
        await middle.aacquire()
        await middle.arelease()

    asyncio.run(main())
    assert keys(kv) == []


@pytest.mark.parametrize("step", ["txn", "range", "watch"])
def test_a_task_cancelled_in_any_call_leaves_nothing_behind(kv: KV, store: InterposedEngine, step: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with kv.lock("L"):
            in_call, go_on = asyncio.Event(), asyncio.Event()

            def hold_up() -> None:
                loop.call_soon_threadsafe(in_call.set)
                asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)

            store.before[step] = hold_up
            task = asyncio.create_task(kv.lock("L").aacquire())
            await asyncio.wait_for(in_call.wait(), 10)
            assert await cancelled(task)
            del store.before[step]
            go_on.set()
        await until(lambda: not store.running, "the end of all watches")

    asyncio.run(main())
    wait_until(kv.lock("L").try_acquire, what="the end of the cancelled waiter's key")


def test_a_cancelled_release_is_carried_on_in_the_background(kv: KV, store: InterposedEngine) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lock = kv.lock("L")
        await lock.aacquire()
        in_call, go_on = asyncio.Event(), asyncio.Event()

        def hold_up() -> None:
            loop.call_soon_threadsafe(in_call.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)

        store.before["txn"] = hold_up
        task = asyncio.create_task(lock.arelease())
        await asyncio.wait_for(in_call.wait(), 10)
        assert await cancelled(task)
        del store.before["txn"]
        go_on.set()
        await until(lambda: keys(kv) == [], "the end of the key")
        assert not lock.held

    asyncio.run(main())


def test_a_loop_that_ends_with_waiting_tasks_leaves_nothing_behind(kv: KV) -> None:
    lock = kv.lock("L")
    lock.acquire()

    async def main() -> None:
        waiting = {asyncio.create_task(kv.lock("L").aacquire()) for _ in range(3)}
        await until(lambda: len(lock.queue()) == 4, "three waiters")
        assert waiting

    asyncio.run(main())
    wait_until(lambda: len(lock.queue()) == 1, what="the end of the waiters' keys")
    lock.release()


def test_losses_are_told(kv: KV) -> None:
    async def lose_waiting() -> None:
        async with kv.lock("L") as lock:
            waiter = asyncio.create_task(kv.lock("L").aacquire())
            await until(lambda: len(lock.queue()) == 2, "the waiter")
            kv.delete(lock.queue()[1].key)
            with pytest.raises(LockLost):
                await waiter

    async def lose_held() -> None:
        async with kv.lock("L"):
            kv.delete_range("L/", prefix=True)

    asyncio.run(lose_waiting())
    with pytest.raises(LockLost):
        asyncio.run(lose_held())


def test_an_error_of_the_body_is_not_hidden_by_the_loss(kv: KV) -> None:
    async def main() -> None:
        async with kv.lock("L"):
            kv.delete_range("L/", prefix=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())


def test_closing_the_client_ends_its_waits(kv: KV, store: InterposedEngine) -> None:
    async def main() -> None:
        with closing(KV(store.inner, prefix=kv.prefix)) as other, other.lock("L") as lock:
            waiter = asyncio.create_task(kv.lock("L").aacquire())
            await until(lambda: len(lock.queue()) == 2, "the waiter")
            await asyncio.to_thread(kv.close)
            with pytest.raises(Cancelled):
                await waiter
            assert len(keys(other)) == 1

    asyncio.run(main())


# --- elections -------------------------------------------------------------------------------------------------------


def test_an_election_in_an_event_loop(kv: KV, store: InterposedEngine) -> None:
    async def main() -> None:
        with closing(KV(store.inner, prefix=kv.prefix)) as other:
            mine, theirs = kv.election("E", value="mine"), other.election("E", value="theirs")
            assert await mine.aleader() is None
            with pytest.raises(NotLeader):
                await mine.aproclaim("too early")
            await mine.acampaign()
            assert mine.is_leader
            with pytest.raises(DeadlineExceeded):
                await theirs.acampaign(timeout=0.1)
            candidate = asyncio.create_task(theirs.acampaign("other value"))
            await until(lambda: len(mine.queue()) == 2, "the candidate")
            await mine.aproclaim("changed")
            leader = await theirs.aleader()
            assert leader is not None
            assert leader.value == b"changed"
            await mine.aresign()
            await candidate
            leader = await mine.aleader()
            assert leader is not None
            assert leader.value == b"other value"
            await theirs.aresign()
            await theirs.aresign()

    asyncio.run(main())
    assert keys(kv) == []


def test_a_cancelled_campaign_leaves_nothing_behind(kv: KV) -> None:
    async def main() -> None:
        first = kv.election("E")
        await first.acampaign()
        candidate = asyncio.create_task(kv.election("E").acampaign())
        await until(lambda: len(first.queue()) == 2, "the candidate")
        assert await cancelled(candidate)
        await until(lambda: len(keys(kv)) == 2, "the end of the candidate's keys")
        await first.aresign()

    asyncio.run(main())
    assert keys(kv) == []


def test_leaders_can_be_observed_in_an_event_loop(kv: KV) -> None:
    async def collect(seen: list[ElectionEvent], events: Awaitable[Any]) -> None:
        seen.append(await events)

    async def main() -> None:
        election = kv.election("E", value="a")
        seen: list[ElectionEvent] = []
        async with election.observe() as events:
            await collect(seen, events.anext(timeout=10))
            with pytest.raises(DeadlineExceeded):
                await events.anext(timeout=0.05)
            await election.acampaign()
            async for event in events:
                seen.append(event)
                if isinstance(event, Elected):
                    await election.aproclaim("b")
                elif isinstance(event, Proclaimed):
                    await election.aresign()
                elif isinstance(event, Changed):
                    break
        assert [type(event) for event in seen] == [Changed, Elected, Proclaimed, Lost, Changed]
        async for event in events:
            pytest.fail(f"{event} came after the end")

    asyncio.run(main())


def test_a_loop_that_is_closed_while_a_task_waits_leaves_no_place_in_the_queue(kv: KV, store: InterposedEngine) -> None:
    holder, waiter = kv.lock("L"), kv.lock("L")
    holder.acquire()
    loop = asyncio.new_event_loop()

    async def start() -> asyncio.Task[None]:
        task = asyncio.ensure_future(waiter.aacquire())
        while len(holder.queue()) < 2 or store.calls["watch"] < 3:
            await asyncio.sleep(0.01)
        return task

    task = loop.run_until_complete(start())
    loop.close()
    holder.release()
    other = kv.lock("L")
    other.acquire(timeout=10)
    assert [each.token for each in other.queue()] == [other.token]
    other.release()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_loop_that_is_closed_while_a_watch_is_being_started_leaves_no_place_in_the_queue(
    kv: KV, store: InterposedEngine
) -> None:
    holder, waiter = kv.lock("L"), kv.lock("L")
    holder.acquire()
    starting, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        if threading.current_thread().name == "etcdaero-async":  # not that of a guard, in the background
            starting.set()
            assert go_on.wait(20)

    async def start() -> asyncio.Task[bool]:
        store.before["watch"] = hold_up
        task = asyncio.ensure_future(waiter.aacquire())
        await until(lambda: starting.is_set() and len(holder.queue()) == 2, "the start of the watch")
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(start())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    del store.before["watch"]
    go_on.set()
    wait_until(lambda: len(holder.queue()) == 1, what="the end of the place")
    assert holder.held  # the session goes on
    holder.release()
    wait_until(lambda: not store.running, what="the end of all watches")
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("step", ["txn", "range"])
def test_a_loop_that_is_closed_while_a_call_is_under_way_leaves_no_place_in_the_queue(
    kv: KV, store: InterposedEngine, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_loops, "_EVERY", 0.05)
    holder, waiter = kv.lock("L"), kv.lock("L")
    holder.acquire()
    in_call, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        if threading.current_thread().name == "etcdaero-async":
            in_call.set()
            assert go_on.wait(20)

    async def start() -> asyncio.Task[None]:
        store.before[step] = hold_up
        task = asyncio.ensure_future(waiter.aacquire())
        while not in_call.is_set():
            await asyncio.sleep(0.01)
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(start())
    loop.close()
    del store.before[step]
    go_on.set()
    wait_until(lambda: store.calls["txn"] == 3 and len(holder.queue()) == 1, what="the end of the place")
    assert holder.held  # the session goes on
    holder.release()
    wait_until(lambda: not store.running, what="the end of all watches")
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_loop_that_is_closed_while_a_lock_is_given_back_leaves_no_place_in_the_queue(
    kv: KV, store: InterposedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_loops, "_EVERY", 0.05)
    lock = kv.lock("L")
    lock.acquire()
    in_call = threading.Event()

    def fail() -> None:
        if threading.current_thread().name == "etcdaero-async":
            in_call.set()
            raise ClusterError("away", {})

    async def start() -> asyncio.Task[None]:
        store.before["txn"] = fail
        task = asyncio.ensure_future(lock.arelease())
        await asyncio.sleep(0)
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(start())
    loop.close()
    assert in_call.wait(20)
    wait_until(lambda: keys(kv) == [], what="the end of the place")
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_loops_that_are_closed_sooner_or_later_leave_no_places_in_the_queue(
    kv: KV, store: InterposedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the engine's own awaited calls."""
    monkeypatch.setattr(closed_loops, "_EVERY", 0.05)
    tasks: list[asyncio.Task[None]] = []

    async def start(client: KV, rounds: int) -> None:
        tasks.append(asyncio.ensure_future(client.lock("L").aacquire()))
        for _ in range(rounds):
            await asyncio.sleep(0)

    with closing(KV(store.inner, prefix=kv.prefix)) as client, client.lock("L") as holder:
        for rounds in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(start(client, rounds))
            loop.close()
        wait_until(lambda: not client.closed_loops and len(holder.queue()) == 1, what="the end of all places")
        assert holder.held
    for task in tasks:
        assert not task.done()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
