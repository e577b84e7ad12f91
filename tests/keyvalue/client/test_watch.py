from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from django_etcdaero.exceptions import Cancelled, ClusterError, DeadlineExceeded, EventsLost, InvalidRequest
from django_etcdaero.keyvalue import KV, Engine, Event, EventType, Resync, ResyncReason, Watch, ops
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until


def short(item: Event | Resync) -> str:
    """``+key=value``, ``-key`` or ``reason: key=value …``."""
    if isinstance(item, Resync):
        return f"{item.reason.value}: " + " ".join(f"{kv.key.decode()}={kv.value.decode()}" for kv in item.kvs)
    key, value = item.kv.key.decode(), item.kv.value.decode()
    return f"+{key}={value}" if item.type is EventType.PUT else f"-{key}"


def take(watch: Watch[Event], count: int) -> list[str]:
    return [told(watch) for _ in range(count)]


def told(watch: Watch[Event]) -> str:
    """The next event, or that some are lost, as a marker would say it."""
    try:
        return short(watch.next(timeout=10))
    except EventsLost as lost:
        return short(Resync(ResyncReason(lost.reason), lost.snapshot, lost.revision))


# --- events ----------------------------------------------------------------------------------------------------------


def test_changes_come_once_each_in_order_and_without_the_prefix(kv: KV) -> None:
    with kv.watch("a/", prefix=True) as watch:
        kv.put("a/1", "x")
        kv.put("b", "not watched")
        kv.txn().then(ops.put("a/2", "y"), ops.put("a/3", "z")).commit()
        kv.delete_range("a/", prefix=True)
        assert take(watch, 6) == ["+a/1=x", "+a/2=y", "+a/3=z", "-a/1", "-a/2", "-a/3"]
        with pytest.raises(DeadlineExceeded):
            watch.next(timeout=0.05)


def test_a_watch_without_end_stays_in_its_namespace(kv: KV, engine: Engine) -> None:
    neighbour = KV(engine, prefix=kv.prefix[:-1] + b"0")
    with kv.watch("", b"\0") as everything, kv.watch("", prefix=True) as under, kv.watch("b") as single:
        neighbour.put("/", "the next key after the namespace")
        kv.put(b"b", "1")
        for watch in (everything, under, single):
            assert take(watch, 1) == ["+b=1"]


def test_filters_and_previous_values(kv: KV) -> None:
    kv.put("a", "0")
    with kv.watch("a", prev_kv=True, no_delete=True) as puts, kv.watch("a", no_put=True) as deletes:
        kv.put("a", "1")
        kv.delete("a")
        kv.put("a", "2")
        changed, created = puts.next(timeout=10), puts.next(timeout=10)
        assert isinstance(changed, Event)
        assert isinstance(created, Event)
        assert changed.prev_kv is not None
        assert (changed.prev_kv.key, changed.prev_kv.value) == (b"a", b"0")
        assert not changed.created
        assert created.created
        assert take(deletes, 1) == ["-a"]


def test_a_watch_can_start_in_the_past(kv: KV) -> None:
    second = [kv.put("a", str(number)).revision for number in range(5)][1]
    with kv.watch("a", start_revision=second) as watch:
        kv.put("a", "new")
        assert take(watch, 5) == ["+a=1", "+a=2", "+a=3", "+a=4", "+a=new"]


# --- ending ----------------------------------------------------------------------------------------------------------


def end_by_cancel(kv: KV, watch: Watch[Event]) -> None:
    watch.cancel()


def end_by_client(kv: KV, watch: Watch[Event]) -> None:
    kv.close()


def end_by_engine(kv: KV, watch: Watch[Event]) -> None:
    kv.engine.close()


@pytest.mark.parametrize("end", [end_by_cancel, end_by_client, end_by_engine])
def test_a_waiting_consumer_is_told_that_the_watch_ended(kv: KV, end: Callable[[KV, Watch], None]) -> None:
    watch = kv.watch("a")
    seen: list[object] = []

    def consume() -> None:
        seen.extend(watch)
        seen.append("ended")

    consumer = threading.Thread(target=consume)
    consumer.start()
    end(kv, watch)
    consumer.join(10)
    assert seen == ["ended"]
    assert watch.closed
    with pytest.raises(Cancelled):
        watch.next(timeout=1)
    watch.cancel()


def test_what_came_before_the_store_was_closed_is_delivered(kv: KV, store: InterposedEngine) -> None:
    watch = kv.watch("a")
    follower = kv.watch("a")
    kv.put("a", "1")
    take(follower, 1)
    wait_until(lambda: store.delivered == 2, what="the event for both watches")
    store.close()
    assert [short(item) for item in watch] == ["+a=1"]


def test_a_cancelled_or_forgotten_watch_costs_the_store_nothing(kv: KV, store: InterposedEngine) -> None:
    kv.watch("a").cancel()
    assert not store.running
    watch = kv.watch("a")
    assert len(store.running) == 1
    del watch
    gc.collect()
    kv.put("a", "1")
    wait_until(lambda: not store.running, what="the end of the forgotten watch")


# --- callbacks -------------------------------------------------------------------------------------------------------


def test_a_callback_gets_the_items_in_the_dispatcher_thread(kv: KV) -> None:
    seen: list[tuple[str, str]] = []
    kv.watch("a", callback=lambda item: seen.append((short(item), threading.current_thread().name)))
    gc.collect()
    for number in range(3):
        kv.put("a", str(number))
    wait_until(lambda: len(seen) == 3, what="three calls")
    assert seen == [(f"+a={number}", "etcdaero-dispatcher") for number in range(3)]


def test_a_callback_ends_its_watch_with_false_and_not_with_an_error(kv: KV) -> None:
    seen: list[str] = []

    def callback(item: Event | Resync) -> bool | None:
        seen.append(short(item))
        if seen[-1] == "+a=0":
            raise ValueError("an error of the user's")
        return False if seen[-1] == "+a=2" else None

    watch = kv.watch("a", callback=callback)
    for number in range(5):
        kv.put("a", str(number))
    wait_until(lambda: watch.closed, what="the end of the watch")
    assert seen == ["+a=0", "+a=1", "+a=2"]


def test_callbacks_of_different_watches_take_turns(kv: KV, store: InterposedEngine) -> None:
    begun, go_on = threading.Event(), threading.Event()
    seen: list[str] = []

    def first(item: Event | Resync) -> None:
        begun.set()
        go_on.wait(10)
        seen.append("first")

    kv.watch("a", callback=first)
    kv.watch("b", callback=lambda item: seen.append("second"))
    for number in range(300):
        kv.put("a", str(number))
    kv.put("b", "1")
    wait_until(lambda: store.delivered == 301 and begun.is_set(), what="all events pending")
    go_on.set()
    wait_until(lambda: len(seen) == 301, what="all calls")
    assert "second" in seen[:250]


def test_a_watch_with_a_callback_is_no_iterator(kv: KV) -> None:
    with kv.watch("a", callback=lambda item: None) as watch, pytest.raises(InvalidRequest, match="callback"):
        next(watch)


# --- what cannot be had any more -------------------------------------------------------------------------------------


def test_after_compaction_there_is_a_snapshot_and_then_no_gap(kv: KV) -> None:
    first = kv.put("a/1", "old").revision
    kv.put("a/2", "x")
    latest = kv.put("a/1", "new").revision
    kv.compact(latest)
    with kv.watch("a/", prefix=True, start_revision=first) as watch:
        with pytest.raises(EventsLost, match=r"\(compacted\); the snapshot has the 2 keys") as caught:
            watch.next(timeout=10)
        lost = caught.value
        assert lost.reason is ResyncReason.COMPACTED
        assert lost.revision >= latest
        assert lost.compact_revision == latest
        assert [(found.key, found.value) for found in lost.snapshot] == [(b"a/1", b"new"), (b"a/2", b"x")]
        kv.put("a/3", "y")
        assert take(watch, 1) == ["+a/3=y"]


def test_an_iteration_ends_with_the_error_and_the_next_one_goes_on(kv: KV) -> None:
    first = kv.put("a", "old").revision
    kv.compact(kv.put("a", "new").revision)
    with kv.watch("a", start_revision=first) as watch:
        with pytest.raises(EventsLost, match="the one key that was there then"):
            list(watch)
        assert not watch.closed
        kv.put("a", "later")
        for event in watch:
            assert short(event) == "+a=later"
            break


def test_markers_are_for_those_who_ask_for_them(kv: KV) -> None:
    first = kv.put("a", "old").revision
    latest = kv.put("a", "new").revision
    kv.compact(latest)
    with kv.watch("a", start_revision=first, resync=True) as watch:
        item = watch.next(timeout=10)
        assert isinstance(item, Resync)
        assert (item.reason, item.compact_revision) == (ResyncReason.COMPACTED, latest)
        assert short(item) == "compacted: a=new"


def put_one_by_one(kv: KV, store: InterposedEngine, numbers: range, keys: int) -> None:
    """Put each number so that it is an own batch for the one watch there is."""
    for number in numbers:
        before = store.delivered
        kv.put(f"a/{number % keys}", str(number))
        wait_until(lambda before=before: store.delivered > before, what="the delivery")


def test_a_slow_consumer_gets_a_snapshot_instead_of_a_flood(kv: KV, store: InterposedEngine) -> None:
    watch = kv.watch("a/", prefix=True, max_pending=10)
    put_one_by_one(kv, store, range(11), keys=5)
    for number in range(11, 50):
        kv.put(f"a/{number % 5}", str(number))
    kv.put("last", "1")
    assert take(watch, 1) == ["overflow: a/0=45 a/1=46 a/2=47 a/3=48 a/4=49"]
    kv.delete("a/0")
    assert take(watch, 1) == ["-a/0"]


def test_a_slow_callback_gets_a_snapshot_too(kv: KV, store: InterposedEngine) -> None:
    begun, go_on = threading.Event(), threading.Event()
    seen: list[str] = []

    def callback(item: Event | Resync) -> None:
        begun.set()
        go_on.wait(10)
        seen.append(short(item))

    kv.watch("a/0", max_pending=5, callback=callback)
    put_one_by_one(kv, store, range(1), keys=1)
    begun.wait(10)
    put_one_by_one(kv, store, range(1, 7), keys=1)
    kv.put("a/0", "7")
    go_on.set()
    wait_until(lambda: len(seen) == 2, what="the snapshot")
    kv.put("a/0", "8")
    wait_until(lambda: len(seen) == 3, what="the event after the snapshot")
    assert seen == ["+a/0=0", "overflow: a/0=7", "+a/0=8"]


def test_a_big_snapshot_is_one_moment_of_the_store(kv: KV) -> None:
    first = kv.put("b", "").revision
    for start in range(0, 2500, 100):
        kv.txn().then(*(ops.put(f"a/{number:05}", "x") for number in range(start, start + 100))).commit()
    kv.compact(kv.put("b", "").revision)
    with kv.watch("a/", prefix=True, start_revision=first) as watch, pytest.raises(EventsLost) as caught:
        watch.next(timeout=10)
    assert [found.key for found in caught.value.snapshot] == [f"a/{number:05}".encode() for number in range(2500)]


@pytest.mark.parametrize("with_callback", [False, True])
def test_a_snapshot_is_tried_until_the_store_is_back(kv: KV, store: InterposedEngine, *, with_callback: bool) -> None:
    first = kv.put("a", "old").revision
    kv.compact(kv.put("a", "new").revision)
    store.fail("range", ClusterError("away"), times=3)
    seen: list[str] = []
    if with_callback:
        kv.watch("a", start_revision=first, callback=lambda item: seen.append(short(item)))
        wait_until(lambda: seen, what="the snapshot")
    else:
        seen += take(kv.watch("a", start_revision=first), 1)
    assert seen == ["compacted: a=new"]
    assert store.pending_faults("range") == 0


def test_the_new_watch_is_tried_until_the_store_is_back(kv: KV, store: InterposedEngine) -> None:
    first = kv.put("a", "old").revision
    kv.compact(kv.put("a", "new").revision)
    with kv.watch("a", start_revision=first) as watch:
        store.fail("watch", ClusterError("away"), times=3)
        assert take(watch, 1) == ["compacted: a=new"]
        kv.put("a", "later")
        assert take(watch, 1) == ["+a=later"]


def test_patience_for_a_snapshot_ends_too(kv: KV, store: InterposedEngine) -> None:
    first = kv.put("a", "old").revision
    kv.compact(kv.put("a", "new").revision)
    store.break_("range", ClusterError("away"))
    with kv.watch("a", start_revision=first) as watch:
        with pytest.raises(DeadlineExceeded):
            watch.next(timeout=0.3)
        store.mend()
        assert take(watch, 1) == ["compacted: a=new"]


def test_a_replaced_store_is_told_with_a_snapshot_of_the_new_one(path: Path, tmp_path: Path) -> None:
    restored = EmbeddedEngine.file(tmp_path / "other" / "restored.sqlite3")
    KV(restored).put("a/1", "restored")
    restored.close()
    engine = EmbeddedEngine.file(path)
    kv = KV(engine)
    for number in range(20):
        kv.put("a/1", str(number))
    with kv.watch("a/", prefix=True) as watch:
        kv.put("a/2", "before")
        assert take(watch, 1) == ["+a/2=before"]
        os.replace(tmp_path / "other" / "restored.sqlite3", path)
        assert take(watch, 1) == ["reset: a/1=restored"]
        kv.put("a/3", "after")
        assert take(watch, 1) == ["+a/3=after"]
    kv.close()
    engine.close()
