"""The copy of the announcement in the record store, and the epochs of coordination stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.datasets.state.status import Outcome
from tests.datasets.hosting import FakeHost, publish


def test_the_copy_in_the_record_store_follows_each_publication(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    orders = []
    for value in (1, 2, 3):
        publish(prices, {"a": value})
        copy = host.blocks(prices).read_copy()
        assert copy is not None
        assert copy.announcement == host.state(prices).current
        orders.append(copy.order)
    assert orders == sorted(orders)


def test_the_copy_goes_only_forward(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    publish(prices, {"a": 1})
    old = host.state(prices)
    publish(prices, {"a": 2})
    new = host.state(prices)
    blocks = host.blocks(prices)
    assert old.current is not None
    assert blocks.write_copy(old.current, old.current_revision) is False
    copy = blocks.read_copy()
    assert copy is not None
    assert copy.announcement == new.current


def test_a_damaged_copy_is_replaced(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    publish(prices)
    for damaged in (b"{", b"[]", b'{"mod_revision": 1}', 7):
        host.records.put(prices.layout("t").announcement_copy, damaged)
        assert host.blocks(prices).read_copy() is None
        publish(prices, {"a": repr(damaged)})
        copy = host.blocks(prices).read_copy()
        assert copy is not None
        assert copy.announcement == host.state(prices).current


@pytest.mark.parametrize("before", [None, b"damaged"])
def test_of_two_writers_of_the_copy_the_newer_announcement_wins(
    host: FakeHost, declare: Callable[..., Any], before: bytes | None
) -> None:
    prices = declare({"a": 1})
    publish(prices, {"a": 1})
    old = host.state(prices)
    publish(prices, {"a": 2})
    new = host.state(prices)
    assert old.current is not None
    assert new.current is not None
    if before is None:
        host.records.inner.delete(prices.layout("t").announcement_copy)
    else:
        host.records.inner.put(prices.layout("t").announcement_copy, before)

    def slip_in(*args: Any, **options: Any) -> None:
        host.records.before.pop("put")
        host.blocks(prices).write_copy(new.current, new.current_revision)  # type: ignore[arg-type]

    host.records.before["put"] = slip_in
    assert host.blocks(prices).write_copy(old.current, old.current_revision) is False
    copy = host.blocks(prices).read_copy()
    assert copy is not None
    assert copy.announcement == new.current


def test_an_emptied_coordination_store_starts_a_new_epoch(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    for value in range(3):
        publish(prices, {"a": value})
    host.aliases["default"].empty_engine()
    result = publish(prices, {"a": 2})
    state, copy = host.state(prices), host.blocks(prices).read_copy()
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 4)
    assert state.current is not None
    assert copy is not None
    assert state.current.epoch == 2
    assert copy.announcement == state.current
    assert publish(prices, {"a": 3}).version == 5
    assert host.state(prices).current.epoch == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("rows", [{"a": 1}, {"a": "something else"}])
def test_a_restored_coordination_store_starts_a_new_epoch(
    host: FakeHost, declare: Callable[..., Any], rows: Any
) -> None:
    prices = declare({"a": 1})
    publish(prices, {"a": 1})
    backup = host.kv.range("", prefix=True).kvs
    publish(prices, {"a": 2})
    host.aliases["default"].empty_engine()
    for item in backup:
        host.kv.put(item.key, item.value)
    result = publish(prices, rows)
    state, copy = host.state(prices), host.blocks(prices).read_copy()
    assert result.outcome is Outcome.REFRESHED
    assert state.current is not None
    assert copy is not None
    assert state.current.epoch == 2
    assert copy.announcement == state.current
    assert publish(prices).outcome is Outcome.UNCHANGED


def test_going_back_in_a_restored_store_starts_a_new_epoch(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    publish(prices, {"a": 1})
    backup = host.kv.range("", prefix=True).kvs
    publish(prices, {"a": 2})
    host.aliases["default"].empty_engine()
    for item in backup:
        host.kv.put(item.key, item.value)
    prices.rollback(1)
    copy = host.blocks(prices).read_copy()
    assert copy is not None
    assert (copy.announcement.version, copy.announcement.epoch) == (1, 2)
