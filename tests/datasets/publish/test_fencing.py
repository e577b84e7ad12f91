"""A refresh that lost its lock, was overtaken, or does not know what became of its announcement."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.datasets.publish.history import rollback
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome
from tests.datasets.hosting import HOUR, FakeHost, drop_lock, history, in_thread, publish


def test_a_lock_that_was_lost_is_told_and_no_obstacle_when_nobody_published(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare()
    prices.source.during = lambda: drop_lock(host, prices)
    result = prices.refresh()
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 1)
    assert host.listener.locks_lost == ["prices"]
    assert host.kv.lock(prices.layout("t").lock).holder() is None


def test_a_lock_that_was_lost_is_no_obstacle_for_unchanged_rows(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()
    publish(prices)
    prices.source.during = lambda: drop_lock(host, prices)
    assert publish(prices).outcome is Outcome.UNCHANGED


def test_a_lease_that_ran_out_during_the_load_is_no_obstacle(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()

    def expire() -> None:
        (held,) = host.kv.range(prices.layout("t").lock + "/", prefix=True).kvs
        host.engine.lease_revoke(held.lease)

    prices.source.during = expire
    assert prices.refresh().outcome is Outcome.REFRESHED
    assert prices.refresh(force=True).outcome is Outcome.UNCHANGED


def test_a_refresh_whose_lock_somebody_else_has_by_now_publishes_if_nothing_else_happened(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare()
    lock = host.other().kv.lock(prices.layout("t").lock)

    def steal() -> None:
        drop_lock(host, prices)
        lock.acquire(timeout=0)

    prices.source.during = steal
    result = prices.refresh()
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 1)
    assert host.listener.locks_lost == ["prices"]
    lock.check()
    lock.release()


def test_of_two_loads_that_take_the_lock_from_each_other_the_first_to_end_is_published(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices, other = declare({"a": 1}), host.other()
    loading, first_is_through = threading.Event(), threading.Event()
    overtaking: list[Any] = []

    def overtake() -> None:
        """Lose the lock, and come to an end when the other one is in the middle of its load."""
        drop_lock(host, prices)
        prices.source.during = lambda: (loading.set(), first_is_through.wait(20))
        overtaking.append(in_thread(lambda: Refresh(prices, other, force=True).run()))
        assert loading.wait(20)

    prices.source.during = overtake
    first = prices.refresh(force=True)
    first_is_through.set()
    thread, results = overtaking[0]
    thread.join(20)
    assert (first.outcome, first.version) == (Outcome.REFRESHED, 1)
    assert results[0].outcome is Outcome.FENCED
    assert (other.listener.publications, history(host, prices)) == ([], [1])
    assert Refresh(prices, other).run().outcome is Outcome.FRESH


def test_a_request_that_the_refused_load_would_have_answered_is_answered_by_the_next(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices, other = declare({"a": 1}, refresh_every=HOUR), host.other()
    loading, first_is_through = threading.Event(), threading.Event()
    overtaking: list[Any] = []

    def overtake() -> None:
        drop_lock(host, prices)
        prices.request_refresh()
        prices.source.during = lambda: (loading.set(), first_is_through.wait(20))
        overtaking.append(in_thread(Refresh(prices, other).run))
        assert loading.wait(20)

    prices.source.during = overtake
    assert prices.refresh().outcome is Outcome.REFRESHED
    first_is_through.set()
    thread, results = overtaking[0]
    thread.join(20)
    assert results[0].outcome is Outcome.FENCED
    assert host.state(prices).pending is not None
    assert Refresh(prices, other).run().outcome is Outcome.UNCHANGED
    assert host.state(prices).pending is None


def test_a_refresh_that_was_overtaken_is_fenced(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": "old"})
    other = host.other()

    def overtake() -> None:
        drop_lock(host, prices)
        assert publish(prices, {"a": "new"}, host=other).version == 1
        prices.source.rows = {"a": "old"}

    prices.source.during = overtake
    result = prices.refresh()
    assert result.outcome is Outcome.FENCED
    assert result.error is not None
    assert "version 1 by" in result.error
    assert history(host, prices) == [1]
    assert host.listener.publications == []
    assert other.listener.publications == [("prices", 1)]
    assert host.state(prices).attempt is None


def test_a_load_older_than_one_that_found_nothing_new_is_fenced(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": "kept"})
    publish(prices)
    other = host.other()

    def overtake() -> None:
        drop_lock(host, prices)
        assert publish(prices, {"a": "kept"}, host=other).outcome is Outcome.UNCHANGED
        prices.source.rows = {"a": "outdated"}

    prices.source.during = overtake
    result = prices.refresh(force=True)
    assert result.outcome is Outcome.FENCED
    assert history(host, prices) == [1]


def test_a_pinned_dataset_keeps_both_of_two_overlapping_publications_apart(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare({"a": 1})
    publish(prices)
    publish(prices, {"a": 2})
    rollback(prices, host.stores("default"), 1)
    other = host.other()

    def overtake() -> None:
        drop_lock(host, prices)
        assert publish(prices, {"a": "newer"}, host=other).version == 3
        prices.source.rows = {"a": "older"}

    prices.source.during = overtake
    assert prices.refresh(force=True).outcome is Outcome.FENCED
    roots = {each.announcement.version: each.announcement.root for each in prices.history()}
    assert sorted(roots) == [1, 2, 3]
    assert publish(prices, {"a": "newer"}, host=other).outcome is Outcome.UNCHANGED


@pytest.mark.parametrize("pinned_before", [True, False])
def test_a_pin_set_or_removed_during_a_load_fences_it(
    host: FakeHost, declare: Callable[..., Any], pinned_before: bool
) -> None:
    prices = declare({"a": 1})
    publish(prices)
    publish(prices, {"a": 2})
    if pinned_before:
        prices.rollback(1)
    prices.source.during = prices.unpin if pinned_before else lambda: prices.rollback(1)
    result = publish(prices, {"a": 3})
    assert result.outcome is Outcome.FENCED
    assert "pinned" in str(result.error)
    assert history(host, prices) == [2, 1]
    assert host.state(prices).attempt is None


def test_a_failure_says_what_failed_even_when_the_lock_was_lost_as_well(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare()
    prices.source.during = lambda: drop_lock(host, prices)
    prices.source.error = RuntimeError("down")
    assert prices.refresh().error == "RuntimeError: down"


def test_a_failure_does_not_hold_back_after_somebody_elses_success(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()

    def overtake() -> None:
        drop_lock(host, prices)
        assert publish(prices, host=host.other()).outcome is Outcome.REFRESHED
        prices.source.error = RuntimeError("down")

    prices.source.during = overtake
    assert prices.refresh().outcome is Outcome.FAILED
    assert host.state(prices).attempt is None
