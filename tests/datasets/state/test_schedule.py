"""When a dataset is due, and how long a failure holds it back: decisions without a store."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.schedule import backoff, held_back_until, is_due, next_due
from django_etcdaero.datasets.state.stored_state import NOTHING, Attempt, Checked, LoadRequest, StoredState
from django_etcdaero.exceptions import ResponseError
from tests.datasets.hosting import FakeHost, publish

NOW = 1_000_000.0
HOUR = timedelta(hours=1)
CURRENT = Announcement(
    id="a", version=1, epoch=1, root="00", rows=1, stored_bytes=1, load_started=0.0, load_seconds=0.0,
    published_at=0.0, host="h", pid=1,
)  # fmt: skip


def stored(
    *, ago: float | None = 0.0, answered: int = 0, request: int | None = None, repair: bool = False
) -> StoredState:
    checked = None if ago is None else Checked(
        id="c", load_started=NOW - ago, load_seconds=1.0, version=1, request_revision=answered, host="h", pid=1
    )  # fmt: skip
    asked = None if request is None else LoadRequest(at=NOW, host="h", pid=1, repair=repair)
    return dataclasses.replace(NOTHING, current=CURRENT, checked=checked, request=asked, request_revision=request or 0)


@pytest.mark.parametrize(
    ("state", "period", "due"),
    [
        (NOTHING, HOUR, True),
        (NOTHING, None, True),
        (stored(ago=None), None, True),
        (stored(ago=0), HOUR, False),
        (stored(ago=3239), HOUR, False),
        (stored(ago=3240), HOUR, True),
        (stored(ago=-1), HOUR, True),
        (stored(ago=-1), None, False),
        (stored(ago=1e9), None, False),
        (stored(ago=0, request=5), HOUR, True),
        (stored(ago=0, request=5), None, True),
        (stored(ago=0, request=5, answered=5), HOUR, False),
        (stored(ago=0, request=5, answered=4), HOUR, True),
        (stored(ago=0, request=5, answered=6), None, False),
        (dataclasses.replace(stored(ago=0), current=None), HOUR, True),
    ],
)
def test_due(state: StoredState, period: timedelta | None, due: bool) -> None:
    assert is_due(state, period, now=NOW) is due


def test_the_next_load_is_due_nine_tenths_of_a_period_after_the_beginning_of_the_last() -> None:
    assert next_due(stored(ago=10), HOUR) == NOW - 10 + 3240
    assert next_due(stored(ago=10), None) is None
    assert next_due(NOTHING, HOUR) is None


def failed(state: StoredState, *, at: float, until: float, revision: int = 10) -> StoredState:
    attempt = Attempt(at=at, next_at=until, failures=1, host="h", pid=1, error="down")
    return dataclasses.replace(state, attempt=attempt, attempt_revision=revision)


@pytest.mark.parametrize(
    ("state", "held"),
    [
        (stored(), None),
        (failed(stored(), at=NOW - 1, until=NOW + 4), NOW + 4),
        (failed(stored(), at=NOW - 5, until=NOW), None),
        (failed(stored(), at=NOW + 1, until=NOW + 6), None),  # a clock was wrong
        (failed(stored(request=11), at=NOW - 1, until=NOW + 4), None),
        (failed(stored(request=9), at=NOW - 1, until=NOW + 4), NOW + 4),
        (failed(stored(request=11, repair=True), at=NOW - 1, until=NOW + 4), NOW + 4),
        (failed(stored(request=11, answered=11), at=NOW - 1, until=NOW + 4), NOW + 4),
    ],
)
def test_held_back(state: StoredState, held: float | None) -> None:
    assert held_back_until(state, now=NOW) == held


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
