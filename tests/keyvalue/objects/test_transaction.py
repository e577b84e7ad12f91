from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.exceptions import (
    EncodeError,
    InvalidRequest,
    KeyExists,
    KeyNotFound,
    TxnFailed,
    VersionConflict,
)
from django_etcdaero.keyvalue import KV, Engine, ops
from django_etcdaero.keyvalue.objects import Collection, Invalid, ObjectTxn, Stored
from tests.keyvalue.objects.samples import ADA, BOB, Cat, Order


@pytest.fixture
def cats(kv: KV) -> Collection[Cat]:
    return Collection(kv, Cat, "cats")


TOM = Cat("Tom")


def test_all_changes_are_one_step(kv: KV, orders: Collection[Order], cats: Collection[Cat]) -> None:
    old = orders.create("old", ADA)
    gone = cats.create("gone", TOM)
    touched = orders.create("touched", BOB)
    result = (
        ObjectTxn(kv)
        .create(cats, "tom", TOM)
        .update(orders, "old", BOB, version=old.version)
        .delete(cats, "gone", version=gone.version)
        .touch(orders, "touched")
        .commit()
    )
    assert result.stored == (
        Stored("tom", TOM, result.revision, result.revision),
        Stored("old", BOB, result.revision, old.version),
    )
    assert result.deleted == (gone,)
    assert (cats.get("tom"), orders.get("old")) == result.stored
    after = orders.get("touched")
    assert (after.object, after.version, after.created) == (BOB, result.revision, touched.version)
    assert not cats.exists("gone")


FAILING: dict[str, tuple[Callable[[ObjectTxn, Collection[Order]], Any], type[Exception], str]] = {
    "create": (lambda staged, orders: staged.create(orders, "1", BOB), KeyExists, "orders/1 exists, with version"),
    "update missing": (lambda staged, orders: staged.update(orders, "9", BOB), KeyNotFound, "orders/9 does not exist"),
    "update version": (
        lambda staged, orders: staged.update(orders, "1", BOB, version=1),
        VersionConflict,
        r"orders/1 has version \d+, not 1",
    ),
    "delete missing": (lambda staged, orders: staged.delete(orders, "9"), KeyNotFound, "orders/9 does not exist"),
    "delete version": (
        lambda staged, orders: staged.delete(orders, "1", version=1),
        VersionConflict,
        r"orders/1 has version \d+, not 1",
    ),
    "touch missing": (lambda staged, orders: staged.touch(orders, "9"), KeyNotFound, "orders/9 does not exist"),
    "touch version": (
        lambda staged, orders: staged.touch(orders, "1", version=1),
        VersionConflict,
        r"orders/1 has version \d+, not 1",
    ),
    "compare": (
        lambda staged, orders: staged.compare(orders.version_of("1") > 0, orders.version_of("1") < 1),
        TxnFailed,
        "mod of b'orders/1' < 1 does not hold",
    ),
    "compare objects": (
        lambda staged, orders: staged.compare(orders.holds("1", BOB)),
        TxnFailed,
        "value of b'orders/1' == .* does not hold",
    ),
}


@pytest.mark.parametrize("case", FAILING)
def test_if_one_condition_does_not_hold_nothing_is_changed(kv: KV, orders: Collection[Order], case: str) -> None:
    stage, error, message = FAILING[case]
    before = orders.create("1", ADA)
    staged = ObjectTxn(kv).create(orders, "2", ADA)
    stage(staged, orders)
    with pytest.raises(TxnFailed, match=message) as caught:
        staged.commit()
    assert [type(each) for each in caught.value.errors] == [error]
    assert orders.list().items == (before,)


def test_every_condition_that_does_not_hold_is_named(kv: KV, orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    staged = ObjectTxn(kv).create(orders, "1", ADA).delete(orders, "2").create(orders, "3", ADA)
    with pytest.raises(TxnFailed) as caught:
        staged.compare(orders.version_of("4") > 0).commit()
    assert [type(each) for each in caught.value.errors] == [KeyExists, KeyNotFound, TxnFailed]


def test_it_is_empty_after_a_commit_and_unchanged_after_a_failure(kv: KV, orders: Collection[Order]) -> None:
    staged = kv.object_txn()
    assert staged.is_empty
    staged.create(orders, "1", ADA)
    assert not staged.is_empty
    staged.commit()
    assert staged.is_empty
    staged.create(orders, "1", BOB)
    with pytest.raises(TxnFailed):
        staged.commit()
    assert not staged.is_empty
    orders.delete("1")
    assert staged.commit().stored[0].object == BOB
    staged.create(orders, "1", BOB).compare(orders.version_of("1") == 0).clear()
    assert staged.is_empty
    with pytest.raises(InvalidRequest, match="nothing was staged"):
        staged.commit()


def test_conditions_alone_can_be_committed(kv: KV, orders: Collection[Order]) -> None:
    orders.create("1", ADA)
    result = ObjectTxn(kv).compare(orders.holds("1", ADA)).commit()
    assert (result.stored, result.deleted) == ((), ())


def test_a_lock_can_guard_it(kv: KV, orders: Collection[Order]) -> None:
    lock = kv.lock("guard")
    with lock:
        staged = ObjectTxn(kv).create(orders, "1", ADA).compare(lock.compare())
        compare = lock.compare()
        staged.commit()
    with pytest.raises(TxnFailed, match="create of b'guard/"):
        ObjectTxn(kv).create(orders, "2", ADA).compare(compare).commit()


def test_what_is_updated_or_touched_keeps_its_lease(kv: KV, orders: Collection[Order]) -> None:
    first = orders.create("1", ADA, ttl=60)
    second = orders.create("2", ADA, ttl=60)
    result = ObjectTxn(kv).update(orders, "1", BOB).touch(orders, "2").commit()
    assert result.stored[0].lease == orders.get("1").lease == first.lease
    assert orders.get("2").lease == second.lease


def test_what_cannot_be_read_can_be_deleted(kv: KV, orders: Collection[Order]) -> None:
    revision = kv.put("orders/1", "no JSON").revision
    (gone,) = ObjectTxn(kv).delete(orders, "1").commit().deleted
    assert isinstance(gone, Invalid)
    assert (gone.name, gone.version, gone.value) == ("1", revision, b"no JSON")


def test_what_cannot_be_staged(kv: KV, engine: Engine, orders: Collection[Order]) -> None:
    staged = ObjectTxn(kv).create(orders, "1", ADA)
    with pytest.raises(InvalidRequest, match="orders/1 is changed in this transaction already"):
        staged.delete(orders, "1")
    with pytest.raises(EncodeError, match="expected Order"):
        staged.create(orders, "2", TOM)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="version must be"):
        staged.update(orders, "2", ADA, version=0)
    with pytest.raises(InvalidRequest, match="conditions such as"):
        staged.compare(True)  # type: ignore[arg-type]
    other = KV(engine, prefix="other/")
    with pytest.raises(InvalidRequest, match="is of another store, or under another prefix"):
        staged.create(Collection(other, Order, "orders"), "2", ADA)
    other.close()
    assert repr(staged) == "<ObjectTxn of 1 changes and 0 further conditions>"


def test_it_works_in_namespaces(kv: KV) -> None:
    orders = kv.namespace("eu/").objects(Order, "orders")
    kv.namespace("eu/").object_txn().create(orders, "1", ADA).commit()
    assert kv.get("eu/orders/1") is not None
    assert orders.get("1").object == ADA
    with pytest.raises(InvalidRequest, match="under another prefix"):
        kv.object_txn().create(orders, "2", ADA)


def test_it_may_be_as_large_as_the_store_takes(kv: KV, orders: Collection[Order]) -> None:
    staged = ObjectTxn(kv)
    for number in range(128):
        staged.create(orders, str(number), ADA)
    assert len(staged.commit().stored) == 128
    for number in range(126):
        staged.touch(orders, str(number))
    staged.compare(orders.version_of("x") == 0).commit()
    for number in range(126):
        staged.touch(orders, str(number))
    with pytest.raises(TxnFailed) as caught:
        staged.compare(orders.version_of("x") == 1).commit()
    assert len(caught.value.errors) == 1
    staged.clear()
    for number in range(129):
        staged.touch(orders, str(number))
    with pytest.raises(InvalidRequest):
        staged.commit()


def test_conditions_may_be_on_other_keys(kv: KV, orders: Collection[Order]) -> None:
    kv.put("switch", "on")
    ObjectTxn(kv).create(orders, "1", ADA).compare(ops.value("switch") == "on").commit()
    with pytest.raises(TxnFailed, match="value of b'switch' == b'off' does not hold"):
        ObjectTxn(kv).create(orders, "2", ADA).compare(ops.value("switch") == "off").commit()
