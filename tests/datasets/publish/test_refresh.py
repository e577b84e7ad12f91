"""A refresh that is stopped has not failed, and one that loses its place in the queue for the lock takes another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.keyvalue.queue.lock import Lock
from tests.datasets.hosting import FakeHost, in_thread
from tests.waiting import wait_until


@pytest.fixture
def lock(host: FakeHost) -> Lock:
    """The lock of the dataset, as another process has it."""
    lock = host.other().kv.lock("datasets/prices/s1/lock")
    lock.acquire()
    return lock


def queueing(dataset: Any, host: FakeHost, lock: Lock) -> tuple[Refresh, threading.Thread, list[RefreshResult]]:
    """Begin a refresh that has to wait for the lock."""
    refresh = Refresh(dataset, host, wait=30)
    thread, results = in_thread(refresh.run)
    wait_until(lambda: len(lock.queue()) == 2, what="the refresh in the queue")
    return refresh, thread, results


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_lock_of_these_tests_is_the_one_of_the_dataset(
    host: FakeHost, declare: Callable[..., Any], lock: Lock
) -> None:
    assert declare().layout("t").lock == "datasets/prices/s1/lock"
    assert lock.held


# --- stopped ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, OSError("the source is cut off")], ids=["load ends", "load fails"])
def test_stopping_a_refresh_that_loads_is_no_failure_and_frees_the_lock(
    host: FakeHost, declare: Callable[..., Any], caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    prices, other = declare(), host.other()
    refresh = Refresh(prices, host)
    holders: list[Any] = []

    def stop() -> None:
        lock = other.kv.lock(prices.layout("t").lock)
        holders.append(lock.holder())
        refresh.stop()
        holders.append(lock.holder())
        host.kv.close()

    prices.source.during, prices.source.error = stop, error
    assert not refresh.run().ok
    assert holders[0] is not None
    assert holders[1] is None
    assert host.listener.failures == []
    assert host.listener.locks_lost == []
    assert complaints(caplog) == []
    line = other.line(prices)
    assert (line.current, line.checked, line.attempt) == (None, None, None)


def test_a_stopped_load_is_not_published_while_the_stores_are_still_open(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare()
    refresh = Refresh(prices, host)
    prices.source.during = refresh.stop
    assert not refresh.run().ok
    line = host.line(prices)
    assert (line.current, line.checked, line.attempt) == (None, None, None)
    assert host.listener.failures == []
    assert prices.refresh().outcome is Outcome.REFRESHED


def test_stopping_a_refresh_that_queues_is_no_failure(
    host: FakeHost, declare: Callable[..., Any], lock: Lock, caplog: pytest.LogCaptureFixture
) -> None:
    prices = declare()
    refresh, thread, results = queueing(prices, host, lock)
    refresh.stop()
    host.kv.close()
    thread.join(20)
    assert not results[0].ok
    assert len(lock.queue()) == 1
    assert host.listener.failures == []
    assert complaints(caplog) == []


def test_a_refresh_that_is_stopped_before_it_begins_does_not_begin(
    host: FakeHost, declare: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    prices = declare()
    refresh = Refresh(prices, host)
    refresh.stop()
    assert not refresh.run().ok
    assert prices.source.loads == 0
    assert host.engine.calls["lease_grant"] == 0  # it has not asked for the lock either
    assert host.listener.failures == []
    assert complaints(caplog) == []


def test_a_refresh_that_is_stopped_while_it_takes_the_lock_gives_it_back(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare()
    refresh = Refresh(prices, host)
    host.engine.before["lease_grant"] = refresh.stop
    assert not refresh.run().ok
    assert host.engine.calls["lease_grant"] == 1
    assert host.kv.lock(prices.layout("t").lock).holder() is None
    assert prices.source.loads == 0
    assert host.listener.failures == []


# --- a place in the queue that is lost -------------------------------------------------------------------------------


def remove(host: FakeHost, lock: Lock) -> None:
    """Delete the key of the waiter, as an operator does."""
    assert lock.remove_waiter(lock.queue()[1].token) is not None


def expire(host: FakeHost, lock: Lock) -> None:
    """End the lease of the waiter, as its time to live does when its process was frozen."""
    host.engine.inner.lease_revoke(lock.queue()[1].lease)


@pytest.mark.parametrize("lose", [remove, expire])
def test_who_loses_its_place_in_the_queue_takes_another(
    host: FakeHost, declare: Callable[..., Any], lock: Lock, lose: Callable[[FakeHost, Lock], None]
) -> None:
    prices = declare()
    _, thread, results = queueing(prices, host, lock)
    first = lock.queue()[1].token
    lose(host, lock)
    wait_until(lambda: any(each.token > first for each in lock.queue()), what="the refresh in the queue again")
    lock.release()
    thread.join(20)
    assert results[0].outcome is Outcome.REFRESHED
    assert host.listener.failures == []


def test_who_loses_its_place_again_and_again_says_in_the_end_who_has_the_lock(
    host: FakeHost, declare: Callable[..., Any], lock: Lock
) -> None:
    prices = declare()
    removed: list[int] = []
    thread, results = in_thread(lambda: prices.refresh(wait=1.2))

    def ended() -> bool:
        removed.extend(each.token for each in lock.queue()[1:] if lock.remove_waiter(each.token) is not None)
        return not thread.is_alive()

    wait_until(ended, 30, "the end of the refresh")
    assert results[0].outcome is Outcome.LOCKED
    assert results[0].holder == str(lock.holder())
    assert 1 <= len(removed) <= 3  # a pause of half a second after each
    assert prices.source.loads == 0
    assert host.listener.failures == []


def test_a_store_that_is_away_when_the_place_is_lost_is_a_failure(
    host: FakeHost, declare: Callable[..., Any], lock: Lock
) -> None:
    prices = declare()
    _, thread, results = queueing(prices, host, lock)
    host.engine.break_("lease_grant", ClusterError("away"))
    expire(host, lock)
    thread.join(20)
    assert (results[0].outcome, results[0].error) == (Outcome.FAILED, "ClusterError: away")
    assert host.listener.failures == [("prices", "refresh", "ClusterError: away")]
