from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded, EventsLost, InvalidRequest
from django_etcdaero.keyvalue import KV, Engine, ResyncReason
from django_etcdaero.keyvalue.objects import (
    Collection,
    Created,
    Deleted,
    Invalid,
    ObjectTxn,
    ObjectWatch,
    Resynced,
    Updated,
)
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.objects.samples import ADA, BOB, Order
from tests.waiting import wait_until

TIMEOUT = 10.0


def take(watch: ObjectWatch[Any], count: int) -> list[Any]:
    return [watch.next(timeout=TIMEOUT) for _ in range(count)]


@pytest.fixture
def end(orders: Collection[Order]) -> Callable[[ObjectWatch[Any]], list[Any]]:
    """Return a function that gives what a watch has told by now: the end mark, created here, is what comes last."""

    def until_now(watch: ObjectWatch[Any]) -> list[Any]:
        orders.create("zz-end", replace(ADA, status="end", labels={"tier": "gold"}))
        events: list[Any] = []
        while True:
            event = watch.next(timeout=TIMEOUT)
            if isinstance(event, Created) and event.stored.name == "zz-end":
                orders.delete("zz-end")
                return events
            events.append(event)

    return until_now


# --- what comes first ------------------------------------------------------------------------------------------------


def test_first_what_there_is_and_then_every_change(orders: Collection[Order]) -> None:
    first = orders.create("1", ADA)
    orders.create("2", ADA)
    second = orders.update("2", BOB)
    with orders.watch() as watch:
        third = orders.create("3", ADA)
        fourth = orders.update("1", BOB)
        orders.delete("2")
        revision = orders.list().revision
        assert take(watch, 5) == [
            Created(first),
            Updated(second),
            Created(third),
            Updated(fourth, first),
            Deleted("2", revision, second),
        ]


def test_changes_after_a_version(orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    second = orders.create("2", ADA)
    third = orders.create("3", ADA)
    with orders.watch(since=second.version) as watch:
        assert take(watch, 1) == [Created(third)]
    with orders.watch(since=third.version) as watch:
        fourth = orders.create("4", ADA)
        assert take(watch, 1) == [Created(fourth)]


def test_a_watch_goes_on_from_a_list_without_a_gap(orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    listing = orders.list()
    second = orders.create("2", ADA)
    with orders.watch(since=listing.revision) as watch:
        assert take(watch, 1) == [Created(second)]


def test_changes_from_now_on(orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    with orders.watch(since=None) as watch:
        second = orders.create("2", ADA)
        assert take(watch, 1) == [Created(second)]


def test_no_change_is_missed_while_others_write(orders: Collection[Order]) -> None:
    def write() -> None:
        for number in range(60):
            orders.create(f"{number:03}", ADA)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    with orders.watch() as watch:
        assert [event.stored.name for event in take(watch, 60)] == [f"{number:03}" for number in range(60)]
    writer.join(TIMEOUT)


def test_what_was_deleted_in_a_transaction_is_told(kv: KV, orders: Collection[Order]) -> None:
    first, second = orders.create("1", ADA), orders.create("2", ADA)
    with orders.watch(since=None) as watch:
        result = ObjectTxn(kv).delete(orders, "1").update(orders, "2", BOB).commit()
        told = {type(event): event for event in take(watch, 2)}
    assert told == {Deleted: Deleted("1", result.revision, first), Updated: Updated(result.stored[0], second)}


def test_an_object_that_expires_is_deleted(orders: Collection[Order]) -> None:
    with orders.watch() as watch:
        created = orders.create("1", ADA, ttl=2)
        events = take(watch, 2)
    assert events[0] == Created(created)
    assert (type(events[1]), events[1].previous) == (Deleted, created)


# --- what is followed ------------------------------------------------------------------------------------------------


def test_one_object(orders: Collection[Order]) -> None:
    created = orders.create("a", ADA)
    orders.create("a/b", ADA)
    with orders.watch("a") as watch:
        orders.update("a/b", BOB)
        updated = orders.update("a", BOB)
        assert take(watch, 2) == [Created(created), Updated(updated, created)]


def test_under_a_prefix(orders: Collection[Order]) -> None:
    for name in ("abc", "abcd", "abc/1"):
        orders.create(name, ADA)
    with orders.watch(under="abc") as watch:
        orders.delete_all()
        assert [(type(event), getattr(event, "name", "")) for event in take(watch, 2)] == [
            (Created, ""),
            (Deleted, "abc/1"),
        ]


def test_objects_that_come_into_the_selection_and_leave_it(orders: Collection[Order], end: Any) -> None:
    gold = {"tier": "gold"}
    first = orders.create("1", replace(ADA, labels=gold))
    orders.create("2", ADA)
    with orders.watch(labels=gold) as watch:
        orders.update("2", replace(ADA, status="seen by nobody"))
        second = orders.update("2", replace(ADA, labels=gold))
        third = orders.update("2", replace(BOB, labels=gold))
        left = orders.update("1", ADA)
        orders.delete("1")
        orders.create("3", ADA)
        orders.delete("2")
        revision = orders.list().revision
        assert end(watch) == [
            Created(first),
            Created(second),
            Updated(third, second),
            Deleted("1", left.version, first),
            Deleted("2", revision, third),
        ]


def test_functions_and_fields_select_too(orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    second = orders.create("2", replace(BOB, status="paid"))
    orders.create("3", replace(ADA, status="paid"))
    with orders.watch(where=lambda order: order.customer == "Bob", fields={"status": "paid"}) as watch:
        orders.delete("3")
        orders.delete("2")
        events = take(watch, 2)
    assert events[0] == Created(second)
    assert events[1].previous == second


def test_only_updates_that_change_certain_fields(orders: Collection[Order], end: Any) -> None:
    with orders.watch(changed=["status", "address.city"]) as watch:
        first = orders.create("1", ADA)
        orders.update("1", replace(ADA, customer="Cleo"))
        second = orders.consistent_update("1", lambda order: replace(order, status="paid"))
        third = orders.consistent_update("1", lambda order: replace(order, address=BOB.address))
        orders.update("1", third.object)
        orders.delete("1")
        told = end(watch)
    assert [type(event) for event in told] == [Created, Updated, Updated, Deleted]
    assert [event.stored for event in told[:3]] == [first, second, third]


# --- what cannot be told ---------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_told_and_the_watch_goes_on(kv: KV, orders: Collection[Order]) -> None:
    kv.put("orders/1", "old")
    with orders.watch() as watch:
        kv.put("orders/1", "new")
        mended = orders.put("1", ADA)
        kv.put("orders/2", "bad")
        kv.delete("orders/2")
        events = take(watch, 5)
    assert [event.value for event in events if isinstance(event, Invalid)] == [b"old", b"new", b"bad"]
    assert "orders/1: it is not JSON" in str(events[0].error)
    assert events[2] == Updated(mended, None)
    assert (type(events[4]), events[4].name, events[4].previous) == (Deleted, "2", None)


def test_events_that_cannot_be_had_any_more_are_told_with_what_there_is(kv: KV, orders: Collection[Order]) -> None:
    first = orders.create("1", ADA)
    orders.create("2", ADA)
    orders.delete("2")
    kv.put("orders/3", "bad")
    fourth = orders.create("4", BOB)
    kv.compact(fourth.version)
    with orders.watch(since=first.version) as watch:
        with pytest.raises(EventsLost) as caught:
            next(watch)
        lost = caught.value
        assert (lost.reason, lost.snapshot) == (ResyncReason.COMPACTED, (first, fourth))
        assert lost.revision >= fourth.version
        assert lost.compact_revision == fourth.version
        assert [invalid.name for invalid in lost.invalid] == ["3"]
        fifth = orders.create("5", ADA)
        assert take(watch, 1) == [Created(fifth)]
    with orders.watch(since=first.version, fields={"customer": "Bob"}, resync=True) as watch:
        (event,) = take(watch, 1)
        assert isinstance(event, Resynced)
        assert event.items == (fourth,)
        assert event.compact_revision == fourth.version


def test_a_consumer_that_is_too_slow_gets_what_there_is(engine: Engine) -> None:
    counted = InterposedEngine(engine)
    kv = KV(counted, prefix="too-slow/")
    orders = Collection(kv, Order, "orders")
    orders.delete_all()
    stored = []
    with orders.watch(since=None, max_pending=3) as watch:
        for number in range(4):
            stored.append(orders.create(str(number), ADA))
            wait_until(lambda number=number: counted.delivered > number, what="the delivery")  # type: ignore[misc]
        with pytest.raises(EventsLost) as caught:
            watch.next(timeout=TIMEOUT)
        assert (caught.value.reason, caught.value.snapshot) == (ResyncReason.OVERFLOW, tuple(stored))
        fifth = orders.create("5", ADA)
        assert take(watch, 1) == [Created(fifth)]
    kv.close()


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_watch_that_was_cancelled_tells_nothing_more(orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    watch = orders.watch()
    assert not watch.closed
    watch.cancel()
    watch.cancel()
    orders.create("2", ADA)
    assert watch.closed
    assert list(watch) == []
    with pytest.raises(Cancelled):
        watch.next(timeout=0)


def test_iterating_ends_with_the_watch(orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    seen = []
    with orders.watch() as watch:
        for event in watch:
            seen.append(event)
            watch.cancel()
    assert len(seen) == 1


def test_waiting_is_bounded(orders: Collection[Order]) -> None:
    with orders.watch(fields={"status": "never"}) as watch, pytest.raises(DeadlineExceeded):
        watch.next(timeout=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a/"}, "the name of an object must"),
        ({"name": "a", "under": "b"}, "name and under exclude each other"),
        ({"since": -1}, "since must be from 0 to"),
        ({"fields": {"statsu": 1}}, "has a field 'statsu'"),
        ({"changed": ["statsu"]}, "has a field 'statsu'"),
        ({"changed": "status"}, "several names"),
        ({"max_pending": 0}, "max_pending"),
    ],
)
def test_what_cannot_be_followed(orders: Collection[Order], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        orders.watch(**options)
