"""A lock or an election may be called like a collection, or like what is in it: neither meets the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.objects import Collection, Created, Deleted, ObjectTxn, Resynced
from tests.keyvalue.objects.samples import ADA, BOB, Order

NAMES = ["orders", "orders/1"]


@pytest.fixture
def held(kv: KV, request: pytest.FixtureRequest) -> Iterator[list[bool]]:
    """Held: a lock and a leadership of each of the names, with whoever waits for the lock."""
    locks = [kv.lock(name) for name in NAMES]
    elections = [kv.election(f"{name}/eu", value="me") for name in NAMES]
    for lock in locks:
        lock.acquire(timeout=10)
    for election in elections:
        election.campaign(timeout=10)
    yield lambda: [each.held for each in (*locks, *elections)]  # type: ignore[misc]
    for each in (*locks, *elections):
        each.release() if each in locks else each.resign()


def test_a_list_does_not_see_them(orders: Collection[Order], held: object) -> None:
    orders.create("1", ADA)
    orders.create("zz", BOB)
    assert [each.name for each in orders.list()] == ["1", "zz"]
    assert orders.list(skip_invalid=True).invalid == ()
    assert [each.name for each in orders.list(under="1")] == []
    assert [each.name for each in orders.list(order_by="-name", limit=1)] == ["zz"]
    assert [each.name for each in orders.list(order_by="-name", limit=2)] == ["zz", "1"]
    assert [each.name for each in orders.list(limit=1)] == ["1"]


def test_a_watch_does_not_tell_of_them(kv: KV, orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    with kv.lock("orders"), orders.watch() as events:
        assert isinstance(events.next(timeout=10), Created)
        with kv.lock("orders/1"):
            orders.delete("1")
            assert isinstance(events.next(timeout=10), Deleted)
        orders.create("2", BOB)  # after the end of a lock
        told = events.next(timeout=10)
        assert isinstance(told, Created)
        assert told.stored.name == "2"


def test_a_snapshot_in_place_of_events_does_not_have_them(kv: KV, orders: Collection[Order]) -> None:
    first = orders.create("1", ADA)
    with kv.lock("orders"):
        kv.compact(orders.create("2", ADA).version)
        with orders.watch(since=first.version, resync=True) as events:
            told = events.next(timeout=10)
        assert isinstance(told, Resynced)
        assert ([each.name for each in told.items], told.invalid) == (["1", "2"], ())


def test_they_are_held_on_when_all_objects_are_deleted(kv: KV, orders: Collection[Order], held: object) -> None:
    orders.create("1", ADA)
    orders.create("1/a", ADA, ttl=60)
    orders.create("zz", BOB, ttl=60)
    assert orders.delete_under("1") == 1
    assert [each.name for each in orders.list()] == ["1", "zz"]
    assert orders.delete_all() == 2
    assert orders.delete_all() == 0
    assert len(orders.list()) == 0
    assert held() == [True] * 4  # type: ignore[operator]
    for name in NAMES:
        assert kv.lock(name).holder() is not None


def test_what_is_added_meanwhile_is_deleted_or_not_but_no_lock_is(kv: KV, orders: Collection[Order]) -> None:
    orders.create("1", ADA, ttl=60)
    late = kv.lock("orders/late")
    commits = 0
    run = kv.txn_run

    def interposed(request: object, timeout: float | None = None) -> object:
        nonlocal commits
        commits += 1
        if commits == 2:  # after it was looked what there is
            late.acquire(timeout=10)
        return run(request, timeout)  # type: ignore[arg-type]

    kv.txn_run = interposed  # type: ignore[method-assign, assignment]
    try:
        assert orders.delete_all() == 1
    finally:
        kv.txn_run = run  # type: ignore[method-assign]
    assert commits > 2
    assert late.holder() is not None
    assert late.held
    late.release()


def test_a_transaction_of_objects_goes_on_beside_them(kv: KV, orders: Collection[Order], held: object) -> None:
    ObjectTxn(kv).create(orders, "5", ADA).commit()
    assert orders.get("5").object == ADA
