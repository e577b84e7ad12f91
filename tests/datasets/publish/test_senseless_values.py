"""Whatever stands under a dataset's keys, and in the copy of its announcement: publishing goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from django_etcdaero.datasets.host import bind
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.datasets.state.announcement import MOST_VERSION, Announcement, Copy
from django_etcdaero.datasets.state.overview import overview
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.state.stored_state import Attempt, Checked, LoadRequest
from django_etcdaero.exceptions import KeyNotFound, ResponseError
from tests.datasets.hosting import FakeHost, follow, history, publish

PLACES = (
    "announcement", "former_announcement", "checked", "former_checked", "attempt", "request", "history", "retired",
    "lock", "copy",
)  # fmt: skip
FIELDS = sorted(
    {field for kind in (Announcement, Checked, Attempt, LoadRequest) for field in kind.__dataclass_fields__}
)
DEEP = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
ODD = st.one_of(
    st.none(), st.booleans(), st.text(max_size=5), st.just("\ud800"), st.just([]), st.just({"version": 1}),
    st.integers(-(2**70), 2**70), st.sampled_from([0, 1, -1, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 10**400]),
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([1e11, 2.4e11, 1e308, -1e11]),
    st.just("a" * 40), st.just("A" * 40), st.just("0" * 39), st.just("zz"),
)  # fmt: skip


def key_of(layout: Any, place: str) -> Any:
    if place == "history":
        return layout.history(7)
    if place == "retired":
        return layout.intended(7, "x")
    return layout.announcement_copy if place == "copy" else getattr(layout, place)


def put(host: FakeHost, dataset: Any, place: str, value: Any) -> None:
    key = key_of(dataset.layout("t"), place)
    if place == "copy":
        host.records.inner.put(key, value)
    else:
        host.kv.put(key, value)


def stored(host: FakeHost, dataset: Any, place: str) -> bytes:
    """A value that makes sense there."""
    state = host.state(dataset)
    assert state.current is not None
    assert state.checked is not None
    if place == "copy":
        return Copy(mod_revision=state.current_revision, announcement=state.current).encode()
    if "checked" in place:
        return state.checked.encode()
    if place == "attempt":
        return Attempt(at=1.0, next_at=2.0, failures=1, error="x").encode()
    return LoadRequest(at=1.0, repair=False, id="r").encode() if place == "request" else state.current.encode()


@contextmanager
def fresh_host() -> Iterator[FakeHost]:
    datasets.clear()
    made = FakeHost()
    before = bind(made)  # type: ignore[arg-type]  # its listener is of a class of its own
    try:
        yield made
    finally:
        made.close()
        bind(before)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.generate],
)
@given(data=st.data())
def test_any_value_anywhere(declare: Callable[..., Any], data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(PLACES))
    with fresh_host() as host:
        prices = declare({"a": 1}, refresh_every=None)
        assert publish(prices).ok
        value: Any = data.draw(st.one_of(st.binary(max_size=40), st.just(DEEP), st.none()))
        if value is None:
            fields = json.loads(stored(host, prices, place))
            inner = fields["announcement"] if place == "copy" and data.draw(st.booleans()) else fields
            for name in data.draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3)):
                inner[name] = data.draw(ODD)
            value = json.dumps(fields).encode()
        elif place == "copy" and data.draw(st.booleans()):
            value = data.draw(st.integers(0, 2**40))
        put(host, prices, place, value)
        overview(prices, host.stores("default"))
        assert prices.refresh().outcome in {Outcome.FRESH, Outcome.UNCHANGED, Outcome.REFRESHED, Outcome.BACKOFF}
        result = publish(prices, {"a": 2})
        assert result.outcome is Outcome.REFRESHED, result.error
        assert host.state(prices).current is not None
        follow(prices, host.other()).step()
        assert dict(prices) == {"a": 2}
        assert publish(prices).outcome is Outcome.UNCHANGED
        assert result.version in history(host, prices)


def test_a_history_with_an_entry_that_makes_no_sense_is_the_others(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    for number in (1, 2):
        publish(prices, {"a": number})
    put(host, prices, "history", b"nonsense")
    assert history(host, prices) == [2, 1]
    with pytest.raises(KeyNotFound, match="kept: 2, 1"):
        prices.rollback(7)
    prices.rollback(1)
    assert publish(prices, {"a": 2}).outcome is Outcome.UNCHANGED  # compared with the newest that can be read
    assert publish(prices, {"a": 3}).outcome is Outcome.REFRESHED
    assert history(host, prices) == [3, 2, 1]


def test_a_version_beyond_all_counting_is_not_counted_on_from(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    publish(prices)
    fields = json.loads(stored(host, prices, "announcement"))
    put(host, prices, "announcement", json.dumps({**fields, "version": MOST_VERSION}).encode())
    for number in (2, 3):
        assert publish(prices, {"a": number}).version == number
        follow(prices, host.other()).step()
        assert dict(prices) == {"a": number}


def test_an_announcement_in_its_old_place_counts_when_the_newer_one_makes_no_sense(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare({"a": 1})
    publish(prices)
    good = stored(host, prices, "announcement")
    put(host, prices, "former_announcement", good)
    put(host, prices, "announcement", b"nonsense")
    state = host.state(prices)
    assert state.current == Announcement.decode(good)
    assert state.current_revision == state.former_revision < state.announcement_revision
    assert prices.refresh().ok
    assert read_state(host.kv, prices.layout("t")).former_revision == 0


def test_a_failure_that_claims_to_forbid_loads_for_years_does_so_for_minutes(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare({"a": 1})
    publish(prices)
    prices.request_refresh()
    put(host, prices, "attempt", Attempt(at=0.0, next_at=2e11, failures=1, error="x", person="p").encode())
    assert prices.refresh().ok


def test_a_senseless_value_is_reported_once_and_a_request_is_removed(
    host: FakeHost, declare: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    prices = declare({"a": 1})
    publish(prices)
    put(host, prices, "request", b"nonsense that was never seen before")
    for _ in range(3):
        host.state(prices)
    assert len([each for each in caplog.records if "is ignored" in each.getMessage()]) == 1
    publish(prices)
    assert host.kv.get(prices.layout("t").request) is None


GOOD = json.loads(
    Announcement(
        id="a", version=1, epoch=1, root="ab" * 20, rows=1, stored_bytes=1, load_started=1.0, load_seconds=1.0,
        published_at=1.0, host="h", pid=1,
    ).encode()
)  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("root", "zz"), ("root", "AB" * 20), ("root", ""), ("root", 5), ("root", None),
        ("load_started", math.nan), ("load_started", math.inf), ("load_started", 1e12), ("load_started", 10**400),
        ("load_started", True), ("rows", -1), ("rows", 1.0), ("version", 2**53), ("version", 10**12),
        ("epoch", 2**52 + 1), ("pid", "1"), ("host", "\ud800"), ("id", []),
    ],
)  # fmt: skip
def test_a_field_that_nobody_could_work_with(field: str, value: object) -> None:
    with pytest.raises(ResponseError, match="announcement") as caught:
        Announcement.decode(json.dumps({**GOOD, field: value}).encode())
    str(caught.value).encode()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [5, b"", DEEP, b'{"mod_revision": 1e9, "announcement": {}}', b'{"announcement": {}}'])
def test_a_copy_that_makes_no_sense(value: object) -> None:
    with pytest.raises(ResponseError):
        Copy.decode(value)
    for revision, epoch in ((-1, 1), (2**63, 1), (True, 1), (1, 2**52)):
        with pytest.raises(ResponseError):
            Copy.decode(json.dumps({"mod_revision": revision, "announcement": {**GOOD, "epoch": epoch}}).encode())
