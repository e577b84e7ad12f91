"""When a dataset is due, and how long a failure holds it back: decisions without a store."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.schedule import backoff, held_back_until, is_due, next_due
from django_etcdaero.datasets.state.sightings import Ages, Sightings
from django_etcdaero.datasets.state.stored_state import NOTHING, Attempt, Checked, LoadRequest, StoredState
from django_etcdaero.exceptions import ResponseError
from django_etcdaero.system.clocks import elapsed
from tests.datasets.hosting import FakeHost, publish

NOW = 1_000_000.0
HOUR = timedelta(hours=1)
CURRENT = Announcement(
    id="a", version=1, epoch=1, root="00", rows=1, stored_bytes=1, load_started=0.0, load_seconds=0.0,
    published_at=0.0, host="h", pid=1,
)  # fmt: skip


def stored(
    *,
    ago: float | None = 0.0,
    took: float = 1.0,
    answered: str = "",
    request: str | None = None,
    repair: bool = False,
    wanted: bool = False,
) -> StoredState:
    checked = None if ago is None else Checked(
        id="c", load_started=NOW - ago, load_seconds=took, version=1, request_revision=0, request_id=answered,
        host="h", pid=1,
    )  # fmt: skip
    asked = None if request is None else LoadRequest(
        at=NOW, host="h", pid=1, repair=repair, wanted=wanted, id=request,
        person=request if wanted or not repair else "",
    )  # fmt: skip
    return dataclasses.replace(NOTHING, current=CURRENT, checked=checked, request=asked, request_revision=1)


def declared(every: timedelta | None, requests: timedelta | None = None) -> Declared[Any, Any]:
    class Made(Declared[Any, Any]):
        refresh_every = every
        request_every = requests

    return Made()


def ages(state: StoredState) -> Ages:
    """What a process knows that has just started, at ``NOW``."""
    seen = Sightings()
    seen.look(state, asked=elapsed())
    return seen.ages(NOW)


def arrived(state: StoredState) -> Ages:
    """What a process knows that saw everything arrive this moment, at ``NOW``."""
    seen = Sightings()
    seen.look(NOTHING, asked=elapsed())
    seen.look(dataclasses.replace(state, checked_revision=5, attempt_revision=6), asked=elapsed())
    return seen.ages(NOW)


@pytest.mark.parametrize(
    ("state", "period", "due"),
    [
        (NOTHING, HOUR, True),
        (NOTHING, None, True),
        (stored(ago=None), None, True),
        (stored(ago=0), HOUR, False),
        (stored(ago=3239), HOUR, False),
        (stored(ago=3240), HOUR, True),
        (stored(ago=-1), HOUR, False),  # clocks of two hosts differ
        (stored(ago=-3590), HOUR, False),
        (stored(ago=-3601), HOUR, True),  # nobody knows when it was
        (stored(ago=-1), None, False),
        (stored(ago=1e9), None, False),
        (stored(ago=0, request="r"), HOUR, True),
        (stored(ago=0, request="r"), None, True),
        (stored(ago=0, request="r", answered="r"), HOUR, False),
        (stored(ago=0, request="r", answered="r"), None, False),
        (stored(ago=0, request="r", answered="q"), HOUR, True),
        (dataclasses.replace(stored(ago=0), current=None), HOUR, True),
    ],
)
def test_due(state: StoredState, period: timedelta | None, due: bool) -> None:
    assert is_due(state, declared(period), ages(state)) is due


@pytest.mark.parametrize("ago", [-1e6, -3601.0, -20.0, 0.0, 20.0, 3240.0, 1e6])
def test_who_saw_the_load_arrive_asks_no_clock_whether_it_is_due(ago: float) -> None:
    state = stored(ago=ago)
    assert not is_due(state, declared(HOUR), arrived(state))
    due = next_due(state, declared(HOUR), arrived(state))
    assert due is not None
    assert NOW + 3238 < due < NOW + 3240


def test_the_next_load_is_due_nine_tenths_of_a_period_after_the_beginning_of_the_last() -> None:
    state = stored(ago=10)
    assert next_due(state, declared(HOUR), ages(state)) == NOW - 10 + 3240
    assert next_due(state, declared(None), ages(state)) is None
    assert next_due(NOTHING, declared(HOUR), ages(NOTHING)) is None


@pytest.mark.parametrize("serving", [False, True])
@pytest.mark.parametrize(
    ("took", "request_every", "interval"),
    [(1.0, None, 5.0), (60.0, None, 120.0), (1.0, timedelta(seconds=7), 7.0), (1.0, timedelta(0), 0.0)],
)
def test_a_second_request_is_answered_when_the_interval_is_over(
    took: float, request_every: timedelta | None, interval: float, serving: bool
) -> None:
    made = declared(HOUR, request_every)
    if request_every is None and not serving:
        interval = 0.0  # whoever refreshes once is called by somebody
    ago = max(took, interval - 0.5)
    early = stored(ago=ago, took=took, answered="first", request="second")
    assert is_due(early, made, ages(early), serving=serving) is (interval <= took)
    due = next_due(early, made, ages(early), serving=serving)
    assert due == pytest.approx(NOW - ago + interval, abs=0.1)
    late = stored(ago=took + interval, took=took, answered="first", request="second")
    assert is_due(late, made, ages(late), serving=serving)


def test_a_request_after_a_load_that_nobody_asked_for_is_answered_at_once() -> None:
    state = stored(ago=1, request="first")
    assert is_due(state, declared(None, HOUR), ages(state), serving=True)


def failed(state: StoredState, *, at: float, until: float, answering: str = "") -> StoredState:
    attempt = Attempt(at=at, next_at=until, failures=1, host="h", pid=1, error="down", person=answering)
    return dataclasses.replace(state, attempt=attempt, attempt_revision=10)


@pytest.mark.parametrize(
    ("state", "held"),
    [
        (stored(), None),
        (failed(stored(), at=NOW - 1, until=NOW + 4), NOW + 4),
        (failed(stored(), at=NOW - 5, until=NOW), None),
        (failed(stored(), at=NOW + 6, until=NOW + 10), None),  # a clock was wrong, nobody knows when it was
        (failed(stored(request="r"), at=NOW - 1, until=NOW + 4), None),
        (failed(stored(request="r"), at=NOW - 1, until=NOW + 4, answering="r"), NOW + 4),
        (failed(stored(request="r", repair=True), at=NOW - 1, until=NOW + 4), NOW + 4),
        (failed(stored(request="r", repair=True, wanted=True), at=NOW - 1, until=NOW + 160), None),
        (failed(stored(request="r", answered="r"), at=NOW - 1, until=NOW + 4), NOW + 4),
        (failed(stored(request="s"), at=NOW - 1, until=NOW + 160, answering="r"), None),
    ],
)
def test_held_back(state: StoredState, held: float | None) -> None:
    assert held_back_until(state, declared(HOUR), ages(state)) == held


def test_the_service_holds_a_second_request_back_no_longer_than_it_does_without_failures() -> None:
    for ago, held in ((1.0, NOW + 4), (5.0, None)):
        state = failed(stored(request="s"), at=NOW - ago, until=NOW + 160, answering="r")
        assert held_back_until(state, declared(HOUR), ages(state), serving=True) == held


@pytest.mark.parametrize("ahead", [-1e6, -30.0, 2.0, 30.0, 1e6])
def test_who_saw_the_failure_arrive_holds_back_whatever_the_clock_of_the_other(ahead: float) -> None:
    state = failed(stored(), at=NOW + ahead, until=NOW + ahead + 20)
    held = held_back_until(state, declared(HOUR), arrived(state))
    assert held == pytest.approx(NOW + 20, abs=1)


def test_the_back_off_doubles_up_to_the_period_or_five_minutes() -> None:
    assert [backoff(failures, None) for failures in (1, 2, 3, 6, 7, 8, 1000)] == [5, 10, 20, 160, 300, 300, 300]
    assert [backoff(failures, timedelta(seconds=12)) for failures in (1, 2, 3, 1000)] == [5, 10, 12, 12]


def test_a_value_that_makes_no_sense_is_named(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices)
    layout = prices.layout("t")
    for key, value, words in (
        (layout.pin, b"{", "the stored pin is not JSON"),
        (layout.pin, b"[]", "the stored pin is not a JSON object"),
        (layout.pin, b"{}", "the stored pin lacks 'version'"),
        (layout.pin, b'{"version": true, "at": 1, "host": "h", "pid": 1}', "has a bad 'version'"),
        (layout.pin, b'{"version": 1, "at": "x"}', "has a bad 'at'"),
    ):
        before = host.kv.get(key)
        host.kv.put(key, value)
        with pytest.raises(ResponseError, match=words):
            host.state(prices)
        assert "ResponseError" in str(prices.refresh().error)
        host.kv.delete(key) if before is None else host.kv.put(key, before.value)
    assert host.state(prices).current is not None


def test_fields_of_newer_versions_are_ignored(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices)
    key = prices.layout("t").announcement
    stored = host.kv.get(key)
    assert stored is not None
    host.kv.put(key, stored.value[:-1] + b', "invented_later": [1]}')
    before = Announcement.decode(stored.value)
    assert read_state(host.kv, prices.layout("t")).current == before


@pytest.mark.parametrize("key", ["announcement", "checked", "attempt", "request"])
def test_a_value_that_makes_no_sense_is_replaced_by_the_next_refresh(host: FakeHost, declare: Any, key: str) -> None:
    prices = declare()
    publish(prices)
    layout = prices.layout(host.stores("default").prefix)
    host.stores("default").kv.put(getattr(layout, key), b'{"nonsense": 1}')
    assert publish(prices, {"a": 2}).ok
    assert prices.refresh().outcome == "fresh"
    state = host.state(prices)
    assert (state.current is not None and state.current.rows, state.attempt, state.request) == (1, None, None)


def test_a_pin_that_makes_no_sense_is_not_overridden(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices)
    host.stores("default").kv.put(prices.layout(host.stores("default").prefix).pin, b"nonsense")
    result = publish(prices, {"a": 2})
    assert result.outcome == "failed"
    assert "the stored pin is not JSON" in str(result.error)
