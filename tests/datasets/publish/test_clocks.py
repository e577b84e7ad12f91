"""Refreshers on hosts whose clocks differ."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.overview import overview
from django_etcdaero.datasets.state.status import Outcome
from tests.datasets.hosting import FakeHost

PERIOD = 10
DAY = timedelta(days=1)


class Clock:
    """Time that passes when it is told to; ``skew`` is how far the wall clock is ahead on the host that runs now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.skew = 1000.0, 0.0
        monkeypatch.setattr(time, "time", lambda: 1.7e9 + self.now + self.skew)
        for module in (
            "state.sightings",
            "state.reading",
            "publish.publishing",
            "publish.full_load",
            "publish.change_load",
            "publish.announcing",
            "publish.refresh",
        ):
            monkeypatch.setattr(f"django_etcdaero.datasets.{module}.elapsed", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def run(clock: Clock, host: FakeHost, dataset: Any, skew: float) -> Outcome:
    clock.skew, before = skew, clock.skew
    try:
        return Refresh(dataset, host, serving=True).run().outcome  # type: ignore[arg-type]
    finally:
        clock.skew = before


@pytest.mark.parametrize("skew", [0.0, 3.0, -3.0, 20.0, -20.0, 86400.0, -86400.0])
def test_two_services_load_once_a_period(
    host: FakeHost, declare: Callable[..., Any], clock: Clock, skew: float
) -> None:
    prices = declare(refresh_every=timedelta(seconds=PERIOD))
    other = host.other()

    def load_takes_a_while() -> None:
        clock.now += 0.5

    for _ in range(5 * PERIOD):
        prices.source.during = load_takes_a_while
        run(clock, host, prices, 0.0)
        run(clock, other, prices, skew)
        clock.now += 1.0
    # One more when the second one starts, which knows only what the clocks say.
    assert 5 <= prices.source.loads <= 6 + (abs(skew) > PERIOD)


@pytest.mark.parametrize("hours", [23, -23, 3])
def test_runs_that_know_nothing_of_each_other_do_not_load_in_turn(
    host: FakeHost, declare: Callable[..., Any], clock: Clock, hours: int
) -> None:
    prices = declare(refresh_every=DAY)
    for _ in range(20):
        run(clock, host.other(), prices, 0.0)
        run(clock, host.other(), prices, hours * 3600)
        clock.now += 60
    assert prices.source.loads <= 2


def test_a_load_of_a_clock_that_was_far_ahead_does_not_end_the_refreshing(
    host: FakeHost, declare: Callable[..., Any], clock: Clock
) -> None:
    prices = declare(refresh_every=DAY)
    assert run(clock, host.other(), prices, 30 * 86400) is Outcome.REFRESHED
    assert run(clock, host.other(), prices, 0.0) is Outcome.UNCHANGED
    assert run(clock, host.other(), prices, 0.0) is Outcome.FRESH


def test_who_waits_in_line_while_another_host_loads_is_fresh(
    host: FakeHost, declare: Callable[..., Any], clock: Clock
) -> None:
    prices = declare(refresh_every=timedelta(seconds=PERIOD))
    run(clock, host, prices, -3600.0)
    clock.now += PERIOD
    other = host.other()

    def another_is_faster() -> None:
        other.engine.before.pop("txn")
        clock.now += 1.0
        assert run(clock, host, prices, -3600.0) is Outcome.UNCHANGED

    other.engine.before["txn"] = another_is_faster  # it has read what is due and is about to take the lock
    assert run(clock, other, prices, 0.0) is Outcome.FRESH
    assert prices.source.loads == 2


def test_nodes_whose_clocks_differ_hold_back_together(
    host: FakeHost, declare: Callable[..., Any], clock: Clock
) -> None:
    prices = declare(refresh_every=timedelta(hours=1))
    other = host.other()
    run(clock, host, prices, 0.0)
    clock.now += 3600
    assert run(clock, other, prices, 0.0) is Outcome.UNCHANGED
    clock.now += 3600
    prices.source.error = OSError("down")
    assert run(clock, host, prices, 0.0) is Outcome.FAILED
    clock.now += 1
    for skew in (-30.0, 3.0, 3000.0):
        assert run(clock, host, prices, skew) is Outcome.BACKOFF
    clock.now += 4
    assert run(clock, host, prices, -30.0) is Outcome.FAILED


def test_the_overview_tells_the_age_that_was_seen_and_the_difference_of_the_clocks(
    host: FakeHost, declare: Callable[..., Any], clock: Clock
) -> None:
    prices = declare(refresh_every=timedelta(hours=1))
    overview(prices, host.stores("default"))
    run(clock, host.other(), prices, -600.0)
    clock.now += 5
    seen = overview(prices, host.stores("default"))
    assert seen.age == pytest.approx(5, abs=0.1)
    assert seen.clock_skew == pytest.approx(-600, abs=6)
    assert re.fullmatch(r"the clock of \S+ is \d+ s behind that of here", *seen.warnings)
