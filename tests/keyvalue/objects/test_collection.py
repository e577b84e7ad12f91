from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from django_etcdaero.exceptions import (
    ConfigurationError,
    DeadlineExceeded,
    EncodeError,
    InvalidObject,
    InvalidRequest,
    KeyExists,
    KeyNotFound,
    TxnFailed,
    VersionConflict,
)
from django_etcdaero.keyvalue import KV, Engine, ops
from django_etcdaero.keyvalue.objects import Collection, Stored
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.objects.samples import ADA, BOB, Counter, Order
from tests.waiting import wait_until

# --- create, get, find, exists ---------------------------------------------------------------------------------------


def test_a_created_object_comes_back_with_its_version(kv: KV, orders: Collection[Order]) -> None:
    created = orders.create("7", ADA)
    found = kv.get("orders/7")
    assert found is not None
    assert created == Stored("7", ADA, found.mod_revision, found.create_revision)
    assert orders.get("7") == orders.find("7") == created
    assert created.is_new
    assert orders.exists("7")


def test_what_does_not_exist(orders: Collection[Order]) -> None:
    assert orders.find("7") is None
    assert not orders.exists("7")
    with pytest.raises(KeyNotFound, match="orders/7 does not exist"):
        orders.get("7")


def test_create_refuses_a_name_that_is_taken_and_changes_nothing(orders: Collection[Order]) -> None:
    created = orders.create("7", ADA)
    with pytest.raises(KeyExists, match=f"orders/7 exists, with version {created.version}"):
        orders.create("7", BOB)
    assert orders.get("7") == created


def test_objects_are_readable_json_under_the_prefix(kv: KV) -> None:
    Collection(kv, Order, "a/b").create("x/y", Order("Jörg", Decimal("1.10")))
    found = kv.get("a/b/x/y")
    assert found is not None
    assert found.value == '{"customer":"Jörg","total":"1.10","status":"new","address":null,"labels":{}}'.encode()


# --- update, put, delete ---------------------------------------------------------------------------------------------


def test_update_replaces_an_object_and_raises_its_version(orders: Collection[Order]) -> None:
    created = orders.create("7", ADA)
    updated = orders.update("7", BOB)
    assert updated.version > created.version
    assert updated.created == created.version
    assert not updated.is_new
    assert orders.get("7") == updated


def test_update_of_what_does_not_exist_creates_nothing(orders: Collection[Order]) -> None:
    with pytest.raises(KeyNotFound, match="orders/7"):
        orders.update("7", ADA)
    with pytest.raises(KeyNotFound, match="orders/7"):
        orders.update("7", ADA, version=3)
    assert not orders.exists("7")


def test_update_with_a_version_refuses_what_was_changed_meanwhile(orders: Collection[Order]) -> None:
    first = orders.create("7", ADA)
    second = orders.update("7", BOB, version=first.version)
    message = f"orders/7 has version {second.version}, not {first.version}"
    with pytest.raises(VersionConflict, match=message):
        orders.update("7", ADA, version=first.version)
    assert orders.get("7") == second


def test_put_creates_and_replaces(orders: Collection[Order]) -> None:
    created = orders.put("7", ADA)
    assert created.is_new
    replaced = orders.put("7", BOB)
    assert (replaced.created, replaced.object) == (created.version, BOB)
    assert orders.get("7") == replaced


def test_delete_returns_what_was_there_with_its_last_version(orders: Collection[Order]) -> None:
    orders.create("7", ADA)
    last = orders.update("7", BOB)
    assert orders.delete("7") == last
    assert not orders.exists("7")
    with pytest.raises(KeyNotFound):
        orders.delete("7")


def test_delete_with_another_version_deletes_nothing(orders: Collection[Order]) -> None:
    created = orders.create("7", ADA)
    with pytest.raises(VersionConflict, match="orders/7"):
        orders.delete("7", version=created.version + 1)
    with pytest.raises(KeyNotFound):
        orders.delete("8", version=created.version)
    assert orders.delete("7", version=created.version) == created


def test_discard_deletes_whatever_is_there(kv: KV, orders: Collection[Order]) -> None:
    kv.put("orders/7", "no JSON")
    assert orders.discard("7")
    assert not orders.discard("7")


def test_delete_says_that_it_deleted_what_it_cannot_return(kv: KV, orders: Collection[Order]) -> None:
    kv.put("orders/7", "no JSON")
    with pytest.raises(InvalidObject, match="it was deleted, and cannot be returned: orders/7"):
        orders.delete("7")
    assert not orders.exists("7")


def test_delete_under_stops_at_the_slash(orders: Collection[Order]) -> None:
    for name in ("abc", "abc/1", "abc/2/3", "abcd", "abcd/1"):
        orders.create(name, ADA)
    assert orders.delete_under("abc") == 2
    assert [each.name for each in orders.list()] == ["abc", "abcd", "abcd/1"]
    assert orders.delete_under("abcd/") == 1
    assert orders.delete_under("nothing") == 0


def test_delete_all_leaves_other_collections_alone(kv: KV, orders: Collection[Order]) -> None:
    others = Collection(kv, Order, "orders2/")
    others.create("1", ADA)
    orders.create("1", ADA)
    orders.create("2", ADA)
    assert orders.delete_all() == 2
    assert len(orders.list()) == 0
    assert len(others.list()) == 1


# --- leases ----------------------------------------------------------------------------------------------------------


def test_an_object_with_a_ttl_vanishes(orders: Collection[Order]) -> None:
    created = orders.create("7", ADA, ttl=2)
    assert created.lease
    assert orders.get("7") == created
    wait_until(lambda: not orders.exists("7"), what="the end of the object")


def test_a_write_keeps_the_lease_unless_told_otherwise(kv: KV, orders: Collection[Order]) -> None:
    lease = orders.create("7", ADA, ttl=60).lease
    assert orders.update("7", BOB).lease == lease
    assert orders.put("7", ADA).lease == lease
    assert orders.consistent_update("7", lambda order: replace(order, status="paid")).lease == lease
    assert orders.get("7").lease == lease
    other = orders.update("7", BOB, ttl=60).lease
    assert other not in (0, lease)
    assert orders.get("7").lease == other
    assert orders.put("7", BOB, ttl=0).lease == orders.get("7").lease == 0


def test_a_write_that_was_refused_leaves_no_lease(engine: Engine, orders: Collection[Order]) -> None:
    before = set(engine.lease_list())
    orders.create("7", ADA)
    with pytest.raises(KeyExists):
        orders.create("7", ADA, ttl=60)
    with pytest.raises(KeyNotFound):
        orders.update("8", ADA, ttl=60)
    with pytest.raises(VersionConflict):
        orders.update("7", ADA, version=1, ttl=60)
    assert set(engine.lease_list()) <= before  # those of earlier tests may run out meanwhile


def test_a_lease_that_cannot_be_revoked_does_not_hide_the_error(engine: Engine) -> None:
    broken = InterposedEngine(engine)
    kv = KV(broken, prefix="unrevoked/")
    orders = Collection(kv, Order, "orders")
    orders.put("7", ADA)
    broken.fail("lease_revoke", DeadlineExceeded("too slow"))
    with pytest.raises(KeyExists):
        orders.create("7", ADA, ttl=60)
    assert broken.pending_faults("lease_revoke") == 0
    orders.delete_all()
    kv.close()


@pytest.mark.parametrize("ttl", [-1, 1.5, "2"])
def test_a_ttl_must_be_whole_seconds(orders: Collection[Order], ttl: Any) -> None:
    with pytest.raises(InvalidRequest, match="ttl must be"):
        orders.create("7", ADA, ttl=ttl)
    assert not orders.exists("7")


# --- consistent updates ----------------------------------------------------------------------------------------------


def test_concurrent_consistent_updates_lose_nothing(kv: KV) -> None:
    counters = Collection(kv, Counter, "counters")
    counters.create("hits", Counter())

    def increment(counter: Counter) -> Counter:
        counter.count += 1
        return counter

    threads = [
        threading.Thread(target=counters.consistent_update, args=("hits", increment), daemon=True) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert counters.get("hits").object == Counter(10)


def test_a_consistent_update_returns_what_it_stored(orders: Collection[Order]) -> None:
    created = orders.create("7", ADA)
    updated = orders.consistent_update("7", lambda order: replace(order, status="paid"))
    assert updated.object == replace(ADA, status="paid")
    assert updated == orders.get("7")
    assert updated.created == created.version


def test_a_consistent_update_sees_each_state_anew(orders: Collection[Order]) -> None:
    orders.create("7", ADA)
    seen: list[str] = []

    def pay(order: Order) -> Order:
        seen.append(order.status)
        if len(seen) < 3:
            orders.update("7", replace(order, status=f"changed {len(seen)}"))
        return replace(order, customer="Cleo")

    assert orders.consistent_update("7", pay).object == replace(ADA, customer="Cleo", status="changed 2")
    assert seen == ["new", "changed 1", "changed 2"]


def test_a_consistent_update_gives_up(orders: Collection[Order]) -> None:
    orders.create("7", ADA)

    def interfere(order: Order) -> Order:
        orders.update("7", order)
        return order

    with pytest.raises(TxnFailed, match="orders/7"):
        orders.consistent_update("7", interfere, max_attempts=3)
    with pytest.raises(DeadlineExceeded, match=r"orders/7|objects"):
        orders.consistent_update("7", interfere, max_attempts=10_000, timeout=0.2)
    with pytest.raises(InvalidRequest, match="max_attempts"):
        orders.consistent_update("7", interfere, max_attempts=0)


def test_errors_of_the_function_come_through_and_nothing_is_written(orders: Collection[Order]) -> None:
    created = orders.create("7", ADA)

    def fail(order: Order) -> Order:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        orders.consistent_update("7", fail)
    with pytest.raises(InvalidRequest, match="the function returned None"):
        orders.consistent_update("7", lambda order: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(KeyNotFound):
        orders.consistent_update("8", fail)
    assert orders.get("7") == created


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "/a", "a/", "/", "\ud800", 7, b"a", None])
def test_bad_names(orders: Collection[Order], name: Any) -> None:
    for call in (orders.get, orders.find, orders.exists, orders.delete, orders.discard, orders.key):
        with pytest.raises(InvalidRequest, match="the name of an object must"):
            call(name)


@pytest.mark.parametrize("version", [0, -1, "3", True, 1.0])
def test_bad_versions(orders: Collection[Order], version: Any) -> None:
    created = orders.create("7", ADA)
    for call in (lambda: orders.update("7", BOB, version=version), lambda: orders.delete("7", version=version)):
        with pytest.raises(InvalidRequest, match="version must be"):
            call()
    assert orders.get("7") == created


@pytest.mark.parametrize("prefix", ["", "/", b"\xff/"])
def test_bad_prefixes(kv: KV, prefix: Any) -> None:
    with pytest.raises(InvalidRequest, match="the prefix of a collection"):
        Collection(kv, Order, prefix)


def test_bad_types(kv: KV) -> None:
    with pytest.raises(ConfigurationError, match="int is neither a dataclass"):
        Collection(kv, int, "x")
    with pytest.raises(ConfigurationError, match="at least one class"):
        Collection(kv, (), "x")
    with pytest.raises(ConfigurationError, match="unknown must be"):
        Collection(kv, Order, "x", unknown="skip")  # type: ignore[arg-type]


def test_an_object_of_another_class_is_not_stored(orders: Collection[Order]) -> None:
    for write in (orders.create, orders.update, orders.put):
        with pytest.raises(EncodeError, match="orders/7: Counter: expected Order, got Counter"):
            write("7", Counter())  # type: ignore[arg-type]
    assert not orders.exists("7")


def test_what_is_no_such_object_is_not_read(kv: KV, orders: Collection[Order]) -> None:
    kv.put("orders/7", "[1")
    kv.put(b"orders/\xff", '{"customer":"Ada"}')
    with pytest.raises(InvalidObject, match="orders/7: it is not JSON that can be read"):
        orders.get("7")
    kv.delete("orders/7")
    with pytest.raises(InvalidObject, match="the key is not the name of an object"):
        orders.list()
    orders.delete_all()
    kv.put("orders/a/", '{"customer":"Ada"}')
    with pytest.raises(InvalidObject, match="orders/a/: the key is not the name of an object"):
        orders.list()


def test_the_time_allowed_is_for_the_whole_operation(orders: Collection[Order]) -> None:
    with pytest.raises(DeadlineExceeded):
        orders.get("7", timeout=0)


# --- in transactions of keys -----------------------------------------------------------------------------------------


def test_conditions_on_objects_in_transactions_of_keys(kv: KV, orders: Collection[Order]) -> None:
    created = orders.create("7", ADA)
    for holds, condition in (
        (True, orders.version_of("7") == created.version),
        (False, orders.version_of("7") < created.version),
        (True, orders.version_of("8") == 0),
        (True, orders.holds("7", ADA)),
        (False, orders.holds("7", BOB)),
        (False, orders.holds("8", ADA)),
    ):
        assert kv.txn().when(condition).then(ops.get(orders.key("7"))).commit().succeeded is holds, condition


def test_a_collection_shows_what_it_is(kv: KV, orders: Collection[Order]) -> None:
    assert repr(orders) == "<Collection 'orders/' of Order>"
    assert Collection(kv, {"o": Order, "c": Counter}, b"x").prefix == "x/"
