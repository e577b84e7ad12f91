"""What the stores say about a dataset, in one look."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.state.overview import overview
from django_etcdaero.exceptions import ClusterError
from tests.datasets.hosting import FakeHost, publish


def test_of_a_dataset_that_was_never_published(host: FakeHost, declare: Any) -> None:
    seen = overview(declare(), host.stores("default"))
    assert (seen.name, seen.version, seen.age, seen.due, seen.next_due) == ("prices", None, None, True, None)
    assert (seen.held_back_until, seen.holder, seen.failure) == (None, None, None)


def test_of_a_dataset_that_was_published(host: FakeHost, declare: Any) -> None:
    prices = declare(refresh_every=timedelta(hours=1))
    result = publish(prices)
    host.age(prices, 60)
    seen = overview(prices, host.stores("default"))
    assert (seen.version, seen.due) == (1, False)
    assert seen.age is not None
    assert 60 <= seen.age < 120
    assert seen.next_due == pytest.approx((result.next_due or 0) - 60)
    host.age(prices, 3600)
    assert overview(prices, host.stores("default")).due


def test_a_clock_that_was_ahead_makes_no_negative_age(host: FakeHost, declare: Any) -> None:
    prices = declare(refresh_every=timedelta(hours=1))
    publish(prices)
    host.age(prices, -600)
    seen = overview(prices, host.stores("default"))
    assert seen.age is not None
    assert 0.0 <= seen.age < 300
    assert seen.clock_skew > 300


def test_of_a_dataset_that_failed_is_pinned_and_is_being_refreshed(host: FakeHost, declare: Any) -> None:
    prices = declare(refresh_every=timedelta(hours=1))
    publish(prices, {"a": 1})
    publish(prices, {"a": 2})
    prices.rollback(1)
    prices.source.error = RuntimeError("down")
    prices.refresh(force=True)
    lock = host.kv.lock(prices.layout("t").lock)
    lock.acquire()
    seen = overview(prices, host.stores("default"))
    lock.release()
    assert seen.version == 1
    assert seen.stored.pin is not None
    assert seen.failure is not None
    assert seen.failure.error == "RuntimeError: down"
    assert seen.held_back_until == seen.failure.next_at
    assert seen.holder is not None
    assert seen.holder.pid


def test_a_store_that_is_away_is_an_error(host: FakeHost, declare: Any) -> None:
    host.engine.break_("range", ClusterError("away"))
    with pytest.raises(ClusterError):
        overview(declare(), host.stores("default"))
