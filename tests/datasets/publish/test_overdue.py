"""A load that does not come to its end within ``load_timeout``: others go on without it, and it is refused."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.publish import hanging
from django_etcdaero.datasets.publish.limit import load_limit
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.overview import overview
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.exceptions import ClusterError
from tests.datasets.hosting import HOUR, FakeHost, in_thread, publish
from tests.waiting import wait_until

GIVEN_UP = "so its lock is given up, and what it gives is refused"
SAID = f"LoadOverdue: the load has not ended within load_timeout (0.2 s), {GIVEN_UP}"


class Hanging:
    """A refresh that hangs in ``load()`` until it is let go."""

    def __init__(self, dataset: Any, host: FakeHost, **options: Any) -> None:
        self.told: list[RefreshResult] = []
        self._go = threading.Event()
        self._hangs = threading.Event()
        dataset.source.during = self._hang
        self.refresh = Refresh(dataset, host, on_overdue=self.told.append, **options)
        self.thread, self.results = in_thread(self.refresh.run)
        assert self._hangs.wait(20)

    def _hang(self) -> None:
        self._hangs.set()
        self._go.wait(60)

    def wait_until_given_up(self) -> None:
        wait_until(lambda: self.told, what="the end of its time")

    def let_go(self) -> RefreshResult:
        """Let the load come to its end, and return what the refresh says then."""
        self._go.set()
        self.thread.join(20)
        result: RefreshResult = self.results[0]
        return result


@pytest.fixture
def hang(host: FakeHost) -> Iterator[Callable[..., Hanging]]:
    begun: list[Hanging] = []

    def begin(dataset: Any, host: FakeHost = host, **options: Any) -> Hanging:
        begun.append(Hanging(dataset, host, **options))
        return begun[-1]

    yield begin
    for each in begun:
        each.let_go()


@pytest.fixture
def prices(declare: Callable[..., Any]) -> Any:
    return declare({"a": "late"}, refresh_every=HOUR, load_timeout=timedelta(seconds=0.2))


def test_the_lock_is_given_up_and_the_failure_told_and_noted_for_all_nodes(
    host: FakeHost, prices: Any, hang: Callable[..., Hanging]
) -> None:
    load = hang(prices)
    load.wait_until_given_up()
    assert host.kv.lock(prices.layout("t").lock).holder() is None
    assert [(result.outcome, result.error) for result in load.told] == [(Outcome.FAILED, SAID)]
    assert host.listener.failures == [("prices", "refresh", SAID)]
    attempt = host.state(prices).attempt
    assert attempt is not None
    assert (attempt.failures, attempt.error) == (1, SAID)
    assert Refresh(prices, host.other()).run().outcome is Outcome.BACKOFF


def test_another_node_goes_on_and_what_the_load_gives_in_the_end_is_refused(
    host: FakeHost, prices: Any, hang: Callable[..., Hanging]
) -> None:
    load = hang(prices)
    load.wait_until_given_up()
    other = host.other()
    host.age(prices, 60)
    assert Refresh(prices, other).run().outcome is Outcome.REFRESHED
    result = load.let_go()
    assert (result.outcome, result.error) == (Outcome.FAILED, SAID)
    assert other.listener.publications == [("prices", 1)]
    assert host.listener.publications == []
    assert [failure[2] for failure in host.listener.failures] == [SAID]
    assert host.state(prices).attempt is None


def test_it_is_refused_also_when_nobody_went_on(host: FakeHost, prices: Any, hang: Callable[..., Hanging]) -> None:
    load = hang(prices)
    load.wait_until_given_up()
    assert load.let_go().error == SAID
    state = host.state(prices)
    assert (state.current, state.checked) == (None, None)
    assert state.attempt is not None
    assert state.attempt.failures == 1
    assert publish(prices).version == 1


def test_a_load_that_fails_after_its_time_failed_once(
    host: FakeHost, prices: Any, hang: Callable[..., Hanging]
) -> None:
    load = hang(prices)
    load.wait_until_given_up()
    prices.source.error = OSError("cut off")
    assert load.let_go().error == SAID
    attempt = host.state(prices).attempt
    assert attempt is not None
    assert attempt.failures == 1
    assert len(host.listener.failures) == 1


def test_what_hangs_is_told_to_all_for_as_long_as_it_does(
    host: FakeHost, prices: Any, hang: Callable[..., Hanging], caplog: pytest.LogCaptureFixture
) -> None:
    load = hang(prices)
    load.wait_until_given_up()
    seen = overview(prices, host.other().stores("default"))
    (told,) = seen.overdue
    assert told.limit == 0.2
    assert told.since <= seen.failure.at  # type: ignore[union-attr]
    load.let_go()
    assert overview(prices, host.stores("default")).overdue == ()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [
        "dataset prices: the load has taken 0.1 s and goes on; after 0.2 s, its load_timeout, it is given up",
        "dataset prices: a load ended 0 s after it was given up; it is refused",
    ]


def test_no_more_than_some_loads_of_a_dataset_hang_in_a_process(
    host: FakeHost, prices: Any, hang: Callable[..., Hanging]
) -> None:
    loads = []
    for _ in range(hanging.MOST):
        loads.append(hang(prices, force=True))
        loads[-1].wait_until_given_up()
    assert hanging.hanging("prices") == hanging.MOST
    before = prices.source.loads
    result = prices.refresh(force=True)
    assert result.outcome is Outcome.FAILED
    assert result.error is not None
    assert result.error.startswith("LoadOverdue: 3 loads of dataset 'prices' hang in this process")
    assert prices.source.loads == before
    assert host.kv.lock(prices.layout("t").lock).holder() is None
    loads[0].let_go()
    assert publish(prices).version == 1
    for load in loads:
        load.let_go()
    assert hanging.hanging("prices") == 0


def test_a_dry_run_that_hangs_is_told_and_writes_nothing(
    host: FakeHost, prices: Any, hang: Callable[..., Hanging]
) -> None:
    load = hang(prices, dry_run=True)
    load.wait_until_given_up()
    assert load.let_go().outcome is Outcome.FAILED
    assert host.kv.range("", prefix=True).kvs == ()


def test_the_end_of_a_load_that_was_given_up_is_told_once(
    host: FakeHost, prices: Any, hang: Callable[..., Hanging]
) -> None:
    load = hang(prices)
    load.wait_until_given_up()
    assert load.let_go().outcome == "failed"
    assert host.listener.refreshes == [("prices", "failed")]


def test_a_refresh_that_is_stopped_is_not_overdue(
    host: FakeHost, declare: Callable[..., Any], hang: Callable[..., Hanging]
) -> None:
    prices = declare(load_timeout=timedelta(seconds=1))
    load = hang(prices)
    load.refresh.stop()
    wait_until(lambda: not any(each.name == "etcdaero-limit-prices" for each in threading.enumerate()), what="its end")
    load.let_go()
    assert (load.told, host.listener.failures, host.state(prices).attempt) == ([], [], None)


def test_a_store_that_is_away_meanwhile_does_not_hinder_it(
    host: FakeHost, prices: Any, hang: Callable[..., Hanging]
) -> None:
    load = hang(prices)
    host.engine.break_("txn", ClusterError("away"))
    load.wait_until_given_up()
    host.engine.mend()
    assert load.let_go().error == SAID
    lock = host.kv.lock(prices.layout("t").lock)
    wait_until(lambda: lock.holder() is None, what="a lock that is given back in the background")
    assert publish(prices).version == 1


def test_without_a_limit_it_may_take_as_long_as_it_likes(
    host: FakeHost, declare: Callable[..., Any], hang: Callable[..., Hanging]
) -> None:
    load = hang(declare(load_timeout=None))
    assert not any(each.name == "etcdaero-limit-prices" for each in threading.enumerate())
    assert load.let_go().outcome is Outcome.REFRESHED


def test_the_limit_by_default(declare: Callable[..., Any]) -> None:
    limits = [
        load_limit(declare(name=f"d{number}", refresh_every=every))
        for number, every in enumerate([timedelta(seconds=1), HOUR, timedelta(days=1), None])
    ]
    assert limits == [30, 7200, 172800, 3600]
