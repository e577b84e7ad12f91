"""The calls of a client for event loops: the same answers as the blocking ones, and nothing that blocks the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    Compacted,
    DeadlineExceeded,
    EventsLost,
    InvalidRequest,
    LeaseNotFound,
)
from django_etcdaero.keyvalue import KV, Event, Progress, Resync, ResyncReason, ops
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.values import WatchBatch, WatchRequest
from django_etcdaero.system import pool
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def short(item: object) -> str:
    if isinstance(item, Resync):
        return f"{item.reason.value}: " + " ".join(f"{kv.key.decode()}={kv.value.decode()}" for kv in item.kvs)
    assert isinstance(item, Event)
    return f"{item.type.name} {item.kv.key.decode()}={item.kv.value.decode()}"


# --- calls -----------------------------------------------------------------------------------------------------------


def test_the_twins_answer_as_the_blocking_calls_do(kv: KV) -> None:
    async def scenario() -> None:
        put = await kv.aput("a", "1")
        assert put == kv.put("b", "2")._replace(revision=put.revision)
        assert await kv.aget("a") == kv.get("a")
        assert await kv.aget("missing") is None
        assert (await kv.aput("a", "2", prev_kv=True)).prev_kv is not None
        assert await kv.aget("a", revision=put.revision) == kv.get("a", revision=put.revision)
        assert await kv.arange("", prefix=True, limit=1) == kv.range("", prefix=True, limit=1)
        assert (await kv.adelete("b", prev_kv=True)).prev_kvs[0].key == b"b"
        assert (await kv.adelete_range("", prefix=True, everything=True)).deleted == 1

    run(scenario)


def test_a_transaction_is_committed(kv: KV) -> None:
    async def scenario() -> None:
        create = kv.txn().when(ops.version("a") == 0).then(ops.put("a", "1")).otherwise(ops.get("a"))
        assert (await create.acommit()).succeeded
        second = await create.acommit(timeout=5)
        assert not second.succeeded
        assert second.responses[0].kvs[0].key == b"a"  # type: ignore[union-attr]

    run(scenario)


def test_errors_are_those_of_the_blocking_calls(kv: KV) -> None:
    async def scenario() -> None:
        first = (await kv.aput("a", "1")).revision
        await kv.acompact((await kv.aput("a", "2")).revision, physical=True)
        with pytest.raises(Compacted):
            await kv.aget("a", revision=first)
        with pytest.raises(LeaseNotFound):
            await kv.aput("a", "1", lease=12345)
        with pytest.raises(InvalidRequest, match="limit"):
            await kv.arange("a", limit=-1)
        with pytest.raises(InvalidRequest, match="revision"):
            await kv.acompact(-1)

    run(scenario)


def test_after_the_end_calls_are_cancelled(kv: KV, store: InterposedEngine) -> None:
    async def scenario() -> None:
        await kv.aget("a")
        kv.close()
        with pytest.raises(Cancelled):
            await kv.aget("a")

    run(scenario)


def test_an_engine_that_is_closed_answers_whoever_waits_and_whoever_comes(started: Callable[[], set[str]]) -> None:
    engine = EmbeddedEngine.memory("closing")
    kv = KV(engine)

    async def scenario() -> None:
        await kv.aput("a", "1")
        engine.close()
        with pytest.raises(Cancelled):
            await kv.aget("a")

    run(scenario)
    assert "etcdaero-async" not in started()
    kv.close()
    drop_memory("closing")


def test_two_hundred_calls_at_once_need_few_threads(kv: KV) -> None:
    others = set(threading.enumerate())  # those of another store's calls stay for a while

    async def scenario() -> None:
        await kv.aput("a", "1")
        found = await asyncio.gather(*(kv.aget("a") for _ in range(200)))
        assert {each.value for each in found if each is not None} == {b"1"}
        assert len(found) == 200
        ours = [each for each in threading.enumerate() if each.name == "etcdaero-async" and each not in others]
        assert 1 <= len(ours) <= 4

    run(scenario)


def test_the_loop_goes_on_while_the_store_hangs(kv: KV, store: InterposedEngine) -> None:
    hanging, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        go_on.wait(20)

    store.before["range"] = hang

    async def scenario() -> None:
        reading = asyncio.create_task(kv.aget("a"))
        await until(hanging.is_set)
        assert not reading.done()
        go_on.set()
        assert await reading is None

    run(scenario)


def test_a_cancelled_call_is_given_up_and_harms_no_other(kv: KV, store: InterposedEngine) -> None:
    go_on = threading.Event()
    store.before["range"] = lambda: go_on.wait(20)

    async def scenario() -> None:
        calls = [asyncio.create_task(kv.aget("a")) for _ in range(10)]
        await until(lambda: store.calls["range"] == 4)
        calls[0].cancel()
        calls[9].cancel()
        for cancelled in (calls[0], calls[9]):
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        go_on.set()
        assert await asyncio.gather(*calls[1:9]) == [None] * 8
        assert store.calls["range"] == 9  # the last one had not begun, and never did

    run(scenario)


def test_a_call_that_no_thread_is_free_for_ends_at_its_deadline(kv: KV, store: InterposedEngine) -> None:
    go_on = threading.Event()
    store.before["range"] = lambda: go_on.wait(20)

    async def scenario() -> None:
        hogs = [asyncio.create_task(kv.aget("a")) for _ in range(4)]
        await until(lambda: store.calls["range"] == 4)
        late = asyncio.create_task(kv.aget("a", timeout=0.0))
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(DeadlineExceeded):
            await late
        await asyncio.gather(*hogs)

    run(scenario)


# --- leases and sessions ---------------------------------------------------------------------------------------------


def test_a_lease_lives_as_long_as_its_block(kv: KV) -> None:
    async def scenario() -> None:
        async with await kv.alease(60) as lease:
            await kv.aput("a", "1", lease=lease)
            assert await lease.akeep_alive() == 60
            assert lease.alive
        assert not lease.alive
        assert not lease.lost
        assert await kv.aget("a") is None
        await lease.arevoke()
        with pytest.raises(LeaseNotFound):
            await lease.akeep_alive()

    run(scenario)


def test_the_session_is_the_one_that_threads_get(kv: KV) -> None:
    async def scenario() -> None:
        sessions = await asyncio.gather(*(kv.asession(10) for _ in range(20)))
        assert set(sessions) == {kv.session(10)}
        with pytest.raises(InvalidRequest, match="ttl"):
            await kv.asession(0)

    run(scenario)


# --- watches ---------------------------------------------------------------------------------------------------------


def test_a_watch_is_iterated_over(kv: KV) -> None:
    async def scenario() -> None:
        seen: list[str] = []
        async with kv.watch("a/", prefix=True) as watch:
            await kv.aput("b", "not watched")
            await kv.aput("a/1", "x")
            await kv.adelete("a/1")
            await kv.aput("a/2", "y")
            async for item in watch:
                seen.append(short(item))
                if len(seen) == 3:
                    break
        assert seen == ["PUT a/1=x", "DELETE a/1=", "PUT a/2=y"]
        assert watch.closed

    run(scenario)


def test_patience_with_a_watch_ends_and_the_watch_goes_on(kv: KV) -> None:
    async def scenario() -> None:
        async with kv.watch("a") as watch:
            with pytest.raises(DeadlineExceeded):
                await watch.anext(timeout=0.02)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await watch.anext()
            await kv.aput("a", "1")
            assert short(await watch.anext(timeout=10)) == "PUT a=1"

    run(scenario)


def test_a_watch_that_was_cancelled_before_its_block_does_not_begin(kv: KV, store: InterposedEngine) -> None:
    async def scenario() -> None:
        watch = kv.watch("a")
        watch.cancel()
        with pytest.raises(Cancelled, match="already"):
            async with watch:
                pass

    run(scenario)
    assert not store.calls["watch"]


def test_a_watch_of_a_thread_is_entered_by_a_task(kv: KV) -> None:
    watch = kv.watch("a")
    kv.put("a", "1")

    async def scenario() -> None:
        async with watch:
            assert short(await watch.anext(timeout=10)) == "PUT a=1"
        assert watch.closed

    run(scenario)


def test_a_callback_is_called_from_the_moment_of_the_call(kv: KV) -> None:
    seen: list[str] = []

    async def scenario() -> None:
        kv.watch("a", callback=lambda item: seen.append(short(item)))
        await kv.aput("a", "1")
        await until(lambda: seen)

    run(scenario)
    assert seen == ["PUT a=1"]


def test_a_watch_outside_its_block_is_refused(kv: KV) -> None:
    async def scenario() -> None:
        watch = kv.watch("a")
        assert watch.closed
        with pytest.raises(InvalidRequest, match="async with"):
            await watch.anext()
        async with watch:
            assert not watch.closed
        with pytest.raises(Cancelled, match="already"):
            async with watch:
                pass
        with pytest.raises(Cancelled):
            await watch.anext()
        assert [item async for item in watch] == []

    run(scenario)


@pytest.mark.parametrize("who", ["watch", "client", "store"])
def test_a_waiting_task_is_told_that_the_watch_ended(kv: KV, store: InterposedEngine, who: str) -> None:
    async def scenario() -> None:
        async with kv.watch("a") as watch:
            waiting = asyncio.create_task(watch.anext())
            await asyncio.sleep(0)
            end = {"watch": watch.cancel, "client": kv.close, "store": store.close}[who]
            await asyncio.to_thread(end)
            with pytest.raises(Cancelled):
                await waiting
            assert watch.closed

    run(scenario)


def test_a_watch_that_was_left_costs_the_store_nothing(kv: KV, store: InterposedEngine) -> None:
    async def scenario() -> None:
        async with kv.watch("a"):
            assert len(store.running) == 1
        assert not store.running

    run(scenario)


def test_a_watch_whose_start_was_cancelled_leaves_nothing_behind(kv: KV, store: InterposedEngine) -> None:
    starting, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        starting.set()
        go_on.wait(20)

    store.before["watch"] = hang

    async def scenario() -> None:
        async def follow() -> None:
            async with kv.watch("a"):
                raise AssertionError("started")

        task = asyncio.create_task(follow())
        await until(starting.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    run(scenario)
    store._stop_threads()  # and wait for what was under way
    assert store.calls["watch"] == 1
    assert not store.running


def test_after_compaction_there_is_a_snapshot_and_then_no_gap(kv: KV, store: InterposedEngine) -> None:
    async def scenario() -> None:
        first = (await kv.aput("a/1", "old")).revision
        await kv.acompact((await kv.aput("a/1", "new")).revision)
        store.fail("range", ClusterError("away"), times=2)
        async with kv.watch("a/", prefix=True, start_revision=first, resync=True) as watch:
            assert short(await watch.anext(timeout=20)) == "compacted: a/1=new"
            await kv.aput("a/2", "y")
            assert short(await watch.anext(timeout=20)) == "PUT a/2=y"
        assert store.pending_faults("range") == 0

    run(scenario)


def test_a_slow_task_gets_a_snapshot_instead_of_a_flood(kv: KV, store: InterposedEngine) -> None:
    async def scenario() -> None:
        async with kv.watch("a", max_pending=3) as watch:
            for number in range(10):
                before = store.delivered
                await kv.aput("a", str(number))
                if number < 4:
                    await until(lambda before=before: store.delivered > before)  # type: ignore[misc]
            with pytest.raises(EventsLost) as caught:
                [item async for item in watch]
            assert caught.value.reason is ResyncReason.OVERFLOW
            assert [found.value for found in caught.value.snapshot] == [b"9"]
            await kv.aput("a", "10")
            assert short(await watch.anext(timeout=20)) == "PUT a=10"

    run(scenario)


def test_a_snapshot_does_not_block_the_loop_and_can_be_cancelled(kv: KV, store: InterposedEngine) -> None:
    reading, go_on = threading.Event(), threading.Event()

    async def scenario() -> None:
        first = (await kv.aput("a", "old")).revision
        await kv.acompact((await kv.aput("a", "new")).revision)

        def hang() -> None:
            reading.set()
            go_on.wait(20)

        store.before["range"] = hang
        async with kv.watch("a", start_revision=first, resync=True) as watch:
            waiting = asyncio.create_task(watch.anext())
            await until(reading.is_set)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            go_on.set()
            assert short(await watch.anext(timeout=20)) == "compacted: a=new"

    run(scenario)


def test_marks_of_progress_come_to_tasks_too(kv: KV, store: InterposedEngine) -> None:
    sinks: list[Callable[[WatchBatch], None]] = []
    start = store.watch

    def remember(request: WatchRequest, sink: Callable[[WatchBatch], None], *, timeout: float | None = None) -> object:
        sinks.append(sink)
        return start(request, sink, timeout=timeout)

    store.watch = remember  # type: ignore[assignment, method-assign]

    async def scenario() -> None:
        async with kv.watch("a", progress_notify=True) as watch:
            sinks[0](WatchBatch((), 9))
            assert await watch.anext(timeout=10) == Progress(9)

    run(scenario)


def test_a_watch_can_outlive_its_loop_without_harm(kv: KV, store: InterposedEngine) -> None:
    watches = []

    async def scenario() -> None:
        watch = kv.watch("a")
        await watch.__aenter__()
        watches.append(watch)

    run(scenario)
    kv.put("a", "1")
    wait_until(lambda: store.delivered == 1, what="the delivery")
    watches[0].cancel()
    assert not store.running


def test_the_recipes_have_twins(kv: KV) -> None:
    async def scenario() -> None:
        for name in "abc":
            await kv.aput(f"k/{name}", name)
        assert [found.value async for found in kv.aiterate("k/", prefix=True, page_size=2)] == [b"a", b"b", b"c"]
        first, last = await kv.afirst("k/", prefix=True), await kv.alast("k/", prefix=True)
        assert first is not None
        assert last is not None
        assert (first.value, last.value) == (b"a", b"c")
        assert await kv.aincrement("n", 5) == 5
        assert await kv.atest_and_set("n", "5", "6")
        assert not await kv.atest_and_set("n", None, "7")

    run(scenario)


def test_threads_that_nobody_needs_end(monkeypatch: pytest.MonkeyPatch, started: Callable[[], set[str]]) -> None:
    monkeypatch.setattr(pool, "_LINGER", 0.01)
    engine = EmbeddedEngine.memory("lingering")
    kv = KV(engine)

    async def scenario() -> None:
        for _ in range(2):  # and begin again
            assert await asyncio.gather(*(kv.aget("a") for _ in range(20))) == [None] * 20
            await until(lambda: "etcdaero-async" not in started())

    run(scenario)
    kv.close()
    engine.close()
    drop_memory("lingering")
