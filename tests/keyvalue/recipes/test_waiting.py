"""Waiting until a key is as one wants it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_etcdaero.exceptions import Cancelled, ClusterError, DeadlineExceeded, InvalidRequest
from django_etcdaero.keyvalue import KV, KeyValue
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.values import WatchBatch, WatchLost, WatchRequest, WatchSink
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until


@pytest.fixture
def store() -> Iterator[InterposedEngine]:
    engine = EmbeddedEngine.memory("waited-for")
    yield InterposedEngine(engine)
    engine.close()
    drop_memory("waited-for")


@pytest.fixture
def kv(store: InterposedEngine) -> Iterator[KV]:
    client = KV(store, prefix="app/")
    yield client
    client.close()


def is_two(value: bytes | None) -> bool:
    return value == b"2"


class Waiter:
    """Waits for a value in a thread."""

    def __init__(self, kv: KV, predicate: Callable[[bytes | None], object] = is_two, **options: Any) -> None:
        self.answer: KeyValue | BaseException | None = None
        self._thread = threading.Thread(target=self._wait, args=(kv, predicate), kwargs=options)
        self._thread.start()

    def _wait(self, kv: KV, predicate: Callable[[bytes | None], object], **options: Any) -> None:
        try:
            self.answer = kv.wait_for("a", predicate, **options)
        except BaseException as error:
            self.answer = error

    def wait(self) -> KeyValue | BaseException | None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.answer


def test_what_is_so_already_is_returned_at_once(kv: KV, store: InterposedEngine) -> None:
    kv.put("a", "2")
    found = kv.wait_for("a", is_two, timeout=0)
    assert found == kv.get("a")
    assert kv.wait_for("b", lambda value: value is None) is None
    assert not store.calls["watch"]


@pytest.mark.parametrize("timeout", [None, 20])
def test_the_change_that_makes_it_so_is_returned(kv: KV, store: InterposedEngine, timeout: float | None) -> None:
    waiter = Waiter(kv, timeout=timeout)
    wait_until(lambda: store.running)
    kv.put("a", "1")
    kv.put("other", "2")
    revision = kv.put("a", "2").revision
    found = waiter.wait()
    assert isinstance(found, KeyValue)
    assert (found.key, found.value, found.mod_revision) == (b"a", b"2", revision)
    assert not store.running


def test_the_end_of_a_key_can_be_waited_for(kv: KV, store: InterposedEngine) -> None:
    kv.put("a", "1")
    waiter = Waiter(kv, lambda value: value is None)
    wait_until(lambda: store.running)
    kv.delete("a")
    assert waiter.wait() is None


def test_no_change_is_missed_between_the_look_and_the_watch(kv: KV, store: InterposedEngine) -> None:
    def change() -> None:
        store.before.clear()
        kv.put("a", "2")
        kv.put("a", "3")

    store.before["watch"] = change
    found = kv.wait_for("a", is_two, timeout=20)
    assert found is not None
    assert found.value == b"2"


def test_a_compaction_in_between_is_no_obstacle(kv: KV, store: InterposedEngine) -> None:
    def compact() -> None:
        store.before.clear()
        kv.put("a", "1")
        kv.compact(kv.put("a", "2").revision)
        kv.compact(kv.put("other", "").revision)

    store.before["watch"] = compact
    found = kv.wait_for("a", is_two, timeout=20)
    assert found is not None
    assert found == kv.get("a")


def test_a_store_that_was_replaced_is_looked_at_anew(
    kv: KV, store: InterposedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks: list[WatchSink] = []
    start = store.watch

    def keep(request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> object:
        sinks.append(sink)
        return start(WatchRequest(b"nothing"), sink, timeout=timeout)

    monkeypatch.setattr(store, "watch", keep)
    waiter = Waiter(kv, timeout=20)
    wait_until(lambda: sinks)
    kv.put("a", "2")
    sinks[0](WatchBatch(lost=WatchLost.RESET))
    assert waiter.wait() == kv.get("a")


@pytest.mark.parametrize("method", ["range", "watch"])
def test_an_outage_takes_of_the_patience_only(kv: KV, store: InterposedEngine, method: str) -> None:
    kv.put("a", "1")
    store.fail(method, ClusterError("away"), times=2)
    waiter = Waiter(kv, timeout=20)
    wait_until(lambda: store.running)
    kv.put("a", "2")
    assert isinstance(waiter.wait(), KeyValue)
    assert not store.pending_faults(method)


def test_patience_ends(kv: KV, store: InterposedEngine) -> None:
    with pytest.raises(DeadlineExceeded, match="'a' did not come"):
        kv.wait_for("a", is_two, timeout=0.05)
    assert not store.running
    store.break_("range", ClusterError("away"))
    with pytest.raises(DeadlineExceeded, match="'a' did not come") as caught:
        kv.wait_for("a", is_two, timeout=0.05)
    assert isinstance(caught.value.__cause__, ClusterError)


def test_an_error_of_the_function_is_the_callers(kv: KV, store: InterposedEngine) -> None:
    def refuse(value: bytes | None) -> bool:
        if value is not None:
            raise ClusterError("of the function's own")
        return False

    waiter = Waiter(kv, refuse)
    wait_until(lambda: store.running)
    kv.put("a", "1")
    assert isinstance(waiter.wait(), ClusterError)
    assert not store.running
    with pytest.raises(InvalidRequest, match="predicate"):
        kv.wait_for("a", b"2")  # type: ignore[arg-type]


def test_the_end_of_the_client_ends_the_wait(kv: KV, store: InterposedEngine) -> None:
    waiter = Waiter(kv)
    wait_until(lambda: store.running)
    kv.close()
    assert isinstance(waiter.wait(), Cancelled)


def test_tasks_wait_without_blocking_the_loop(kv: KV) -> None:
    async def play() -> KeyValue | None:
        waiting = asyncio.create_task(kv.await_for("a", is_two, timeout=20))
        await asyncio.sleep(0)
        await kv.aput("a", "2")
        return await waiting

    found = asyncio.run(play())
    assert found is not None
    assert found.value == b"2"
