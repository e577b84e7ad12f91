"""When a refresh loads, waits or holds back; one that is stopped has not failed, one out of the queue queues again."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.schedule import request_load
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.keyvalue.queue.lock import Lock
from tests.datasets.hosting import HOUR, FakeHost, in_thread
from tests.waiting import wait_until


@pytest.fixture
def lock(host: FakeHost) -> Lock:
    """The lock of the dataset, as another process has it."""
    lock = host.other().kv.lock("datasets/prices/s1/lock")
    lock.acquire()
    return lock


def seem_to_be_elsewhere(host: FakeHost, lock: Lock) -> None:
    """Let the holder of the lock tell that it is another process."""
    holder = lock.queue()[0]
    host.kv.put(holder.key, json.dumps({"host": "elsewhere", "pid": 1}), lease=holder.lease)


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
    state = other.state(prices)
    assert (state.current, state.checked, state.attempt) == (None, None, None)


def test_a_stopped_load_is_not_published_while_the_stores_are_still_open(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare()
    refresh = Refresh(prices, host)
    prices.source.during = refresh.stop
    assert not refresh.run().ok
    state = host.state(prices)
    assert (state.current, state.checked, state.attempt) == (None, None, None)
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


# --- outcomes --------------------------------------------------------------------------------------------------------


def test_what_is_not_due_does_not_touch_the_source(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    first = prices.refresh()
    second = prices.refresh()
    assert second.outcome is Outcome.FRESH
    assert (second.version, second.next_due, second.ok) == (1, first.next_due, True)
    assert prices.source.loads == 1


def test_it_is_due_after_nine_tenths_of_the_period(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.refresh()
    host.age(prices, 0.9 * 3600 - 5)
    assert prices.refresh().outcome is Outcome.FRESH
    host.age(prices, 10)
    assert prices.refresh().outcome is Outcome.UNCHANGED


def test_a_load_that_began_in_the_future_does_not_count(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.refresh()
    host.age(prices, -7200)
    assert prices.refresh().outcome is Outcome.UNCHANGED


def test_another_process_that_refreshes_is_told(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()
    results: list[RefreshResult] = []
    other = host.other()
    prices.source.during = lambda: results.append(Refresh(prices, other, force=True).run())
    assert prices.refresh().outcome is Outcome.REFRESHED
    (result,) = results
    assert (result.outcome, result.ok) == (Outcome.LOCKED, True)
    assert result.holder is not None
    assert "/" in result.holder
    assert "since" in result.holder
    assert prices.source.loads == 1


def test_a_refresh_may_wait_for_another_one(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    lock = host.other().kv.lock(prices.layout("t").lock)
    lock.acquire()
    queue = host.kv.lock(prices.layout("t").lock)

    thread, answers = in_thread(lambda: prices.refresh(wait=20))
    wait_until(lambda: len(queue.queue()) == 2, what="the refresh in the queue")
    lock.release()
    thread.join(20)
    assert answers[0].outcome is Outcome.REFRESHED


def test_who_waited_for_another_refresh_does_not_load_again(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    other = host.other()
    waiting: list[Any] = []

    def let_somebody_wait() -> None:
        waiting.append(in_thread(lambda: Refresh(prices, other, wait=20).run()))
        queue = host.kv.lock(prices.layout("t").lock)
        wait_until(lambda: len(queue.queue()) == 2, what="the other refresh in the queue")

    prices.source.during = let_somebody_wait
    assert prices.refresh().outcome is Outcome.REFRESHED
    ((thread, answers),) = waiting
    thread.join(20)
    assert (answers[0].outcome, answers[0].version) == (Outcome.FRESH, 1)
    assert prices.source.loads == 1


@pytest.mark.parametrize("force", [True, False])
def test_who_waited_while_others_loaded_is_content_with_a_load_that_began_after_it_asked(
    host: FakeHost, declare: Callable[..., Any], lock: Lock, force: bool
) -> None:
    prices = declare(refresh_every=timedelta(seconds=0.001))  # always due
    seem_to_be_elsewhere(host, lock)
    _, first, results = queueing(prices, host, lock)
    waiter = host.other()
    second, answers = in_thread(lambda: Refresh(prices, waiter, force=force, wait=30).run())
    wait_until(lambda: len(lock.queue()) == 3, what="both in the queue")
    lock.release()
    first.join(20)
    second.join(20)
    assert results[0].outcome is Outcome.REFRESHED
    assert answers[0].outcome is Outcome.FRESH
    assert prices.source.loads == 1


@pytest.mark.parametrize("force", [True, False])
def test_who_waited_for_a_load_that_had_begun_before_loads_if_it_is_due(
    host: FakeHost, declare: Callable[..., Any], force: bool
) -> None:
    prices = declare(refresh_every=timedelta(seconds=0.001))
    other = host.other()
    waiting: list[Any] = []

    def let_somebody_wait() -> None:
        waiting.append(in_thread(lambda: Refresh(prices, other, force=force, wait=20).run()))
        queue = host.kv.lock(prices.layout("t").lock)
        wait_until(lambda: len(queue.queue()) == 2, what="the other refresh in the queue")

    prices.source.during = let_somebody_wait
    assert prices.refresh().outcome is Outcome.REFRESHED
    ((thread, answers),) = waiting
    thread.join(20)
    assert answers[0].outcome is Outcome.UNCHANGED
    assert prices.source.loads == 2


def test_failures_hold_all_nodes_back_longer_and_longer(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=timedelta(seconds=15))
    prices.source.error = RuntimeError("down")
    delays = []
    for failures in (1, 2, 3, 4):
        assert prices.refresh().outcome is Outcome.FAILED
        attempt = host.state(prices).attempt
        assert attempt is not None
        assert attempt.failures == failures
        delays.append(attempt.next_at - attempt.at)
        held = Refresh(prices, host.other()).run()
        assert (held.outcome, held.ok, held.next_due) == (Outcome.BACKOFF, True, attempt.next_at)
        assert held.error is not None
        assert held.error.startswith("RuntimeError: down (on ")
        assert prices.source.loads == failures
        host.age(prices, 3600)
    assert delays == pytest.approx([5, 10, 15, 15])
    prices.source.error = None
    assert prices.refresh().outcome is Outcome.REFRESHED
    assert host.state(prices).attempt is None


def test_force_and_newer_requests_of_people_ignore_the_back_off(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.request_refresh()
    prices.source.error = RuntimeError("down")
    assert prices.refresh().outcome is Outcome.FAILED
    assert prices.refresh().outcome is Outcome.BACKOFF
    assert prices.refresh(force=True).outcome is Outcome.FAILED
    prices.request_refresh()
    assert prices.refresh().outcome is Outcome.FAILED
    request_load(prices, host.stores("default"), repair=True)
    assert prices.refresh().outcome is Outcome.BACKOFF


def test_without_a_period_it_loads_only_on_request(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=None)
    first = prices.refresh()
    assert (first.outcome, first.next_due) == (Outcome.REFRESHED, None)
    host.age(prices, 10 * 365 * 86400)
    assert prices.refresh().outcome is Outcome.FRESH
    prices.request_refresh()
    assert prices.refresh().outcome is Outcome.UNCHANGED
    assert prices.refresh().outcome is Outcome.FRESH
    assert host.kv.get(prices.layout("t").request) is None


def test_a_request_during_a_load_is_not_answered_by_it(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.refresh()
    prices.request_refresh()
    prices.source.during = prices.request_refresh
    assert prices.refresh().outcome is Outcome.UNCHANGED
    assert host.state(prices).pending is not None
    assert prices.refresh().outcome is Outcome.UNCHANGED
    assert host.state(prices).pending is None
    assert prices.refresh().outcome is Outcome.FRESH
    assert prices.source.loads == 3


def test_the_load_notes_which_request_it_answers(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.request_refresh()
    request = host.kv.get(prices.layout("t").request)
    assert request is not None
    prices.refresh()
    checked = host.state(prices).checked
    assert checked is not None
    assert checked.request_revision == request.mod_revision
    assert host.state(prices).request is None


def test_the_lock_is_released_when_a_load_is_interrupted(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()
    prices.source.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        prices.refresh()
    assert host.kv.lock(prices.layout("t").lock).holder() is None
    assert host.state(prices).attempt is None


# --- the announcement copy and the epoch -----------------------------------------------------------------------------


def test_whether_the_version_is_known_is_told(host: FakeHost, declare: Any) -> None:
    prices = declare()
    prices.source.error = RuntimeError("down")
    failed = prices.refresh()
    assert (failed.version, failed.version_known) == (None, True)
    host.engine.break_("range", ClusterError("away"))
    away = prices.refresh()
    assert (away.version, away.version_known) == (None, False)


def test_a_failure_that_has_been_told_is_not_told_again(host: FakeHost, declare: Any) -> None:
    prices = declare()
    prices.source.error = RuntimeError("down")
    first = Refresh(prices, host, force=True).run()
    again = Refresh(prices, host, force=True, told=first.error).run()
    assert (again.outcome, again.error) == (Outcome.FAILED, first.error)
    prices.source.error = RuntimeError("still down")
    Refresh(prices, host, force=True, told=again.error).run()
    assert [said for _, _, said in host.listener.failures] == ["RuntimeError: down", "RuntimeError: still down"]
