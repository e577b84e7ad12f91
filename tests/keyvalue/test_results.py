"""Answers behave: what did not succeed is false, and a range is a collection of its keys."""

from __future__ import annotations

import copy
import pickle

import pytest

from django_etcdaero.exceptions import InvalidRequest, LockTimeout
from django_etcdaero.keyvalue import KV, ops


@pytest.fixture
def stock(kv: KV) -> KV:
    for key, value in (("a", "1"), ("b", "2"), ("c", "3")):
        kv.put(key, value)
    return kv


def test_a_transaction_is_true_if_its_conditions_held(stock: KV) -> None:
    assert stock.txn().when(ops.value("a") == "1").then(ops.put("d", "4")).commit()
    assert not stock.txn().when(ops.value("a") == "2").then(ops.put("e", "5")).commit()


def test_a_deletion_is_true_if_there_was_something(stock: KV) -> None:
    assert stock.delete("a")
    assert not stock.delete("a")
    assert stock.delete_range("", prefix=True, everything=True)
    assert not stock.delete_range("", prefix=True, everything=True)


def test_a_range_is_a_collection_of_its_keys(stock: KV) -> None:
    found = stock.range("", prefix=True, limit=2)
    assert [each.key for each in found] == [b"a", b"b"]
    assert (len(found), found.count, found.more) == (2, 3, True)
    assert found[0].value == b"1"
    assert found.kvs[1] in found
    assert bool(found)
    first, second = found
    assert (first.key, second.key) == (b"a", b"b")


def test_an_empty_range_is_false(stock: KV) -> None:
    nothing = stock.range("x", prefix=True)
    assert not nothing
    assert list(nothing) == []
    assert len(nothing) == 0
    assert not stock.range("", prefix=True, count_only=True)


def test_a_range_is_copied_compared_and_shown_whole(stock: KV) -> None:
    found = stock.range("", prefix=True)
    for same in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found)), found._replace(more=False)):
        assert same == found
        assert (same.kvs, same.more, same.count, same.revision) == (found.kvs, False, 3, found.revision)
    assert found._replace(more=True).more
    assert {found, found._replace(more=True)} == {found._replace(more=True), found}
    assert "kvs=" in repr(found)
    assert f"revision={found.revision}" in repr(found)


@pytest.mark.parametrize(
    ("number", "at_most", "at_least"), [(1, False, True), (2, True, True), (3, True, False)], ids=str
)
def test_conditions_on_numbers_have_at_most_and_at_least(kv: KV, number: int, at_most: bool, at_least: bool) -> None:
    for _ in range(2):
        kv.put("a", "x")  # version 2
    assert kv.txn().when(ops.version("a") <= number).commit().succeeded is at_most
    assert kv.txn().when(ops.version("a") >= number).commit().succeeded is at_least


@pytest.mark.parametrize(("value", "holds"), [("l", False), ("m", True), ("ma", True), ("n", True)])
def test_conditions_on_values_have_at_most(kv: KV, value: str, holds: bool) -> None:
    kv.put("a", "m")
    assert kv.txn().when(ops.value("a") <= value).commit().succeeded is holds
    kv.put("a", "m\0")
    assert not kv.txn().when(ops.value("a") <= "m").commit()


def test_a_condition_on_a_value_has_no_at_least(kv: KV) -> None:
    with pytest.raises(InvalidRequest, match="compare with > a smaller value"):
        _ = ops.value("a") >= "m"


def test_what_was_acquired_is_true(kv: KV) -> None:
    lock = kv.lock("job")
    assert lock.acquire(timeout=1)
    with pytest.raises(LockTimeout):
        kv.lock("job").acquire(timeout=0)
    lock.release()
