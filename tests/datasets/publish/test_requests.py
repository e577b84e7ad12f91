"""Requests for a load: who answers them, when, and that none is lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.schedule import REQUEST_EVERY, request_load
from django_etcdaero.datasets.state.status import Outcome
from tests.datasets.hosting import HOUR, FakeHost


def test_a_service_answers_a_storm_of_requests_by_one_load_a_while(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)

    def turn() -> Outcome:
        return Refresh(prices, host, serving=True).run().outcome  # type: ignore[arg-type]

    assert turn() is Outcome.REFRESHED
    prices.request_refresh()
    assert turn() is Outcome.UNCHANGED  # the first one is answered at once
    for _ in range(20):
        prices.request_refresh()
        assert turn() is Outcome.FRESH
    result = Refresh(prices, host, serving=True).run()  # type: ignore[arg-type]
    checked = host.state(prices).checked
    assert checked is not None
    assert result.next_due == pytest.approx(checked.load_started + REQUEST_EVERY)
    host.age(prices, REQUEST_EVERY)
    assert turn() is Outcome.UNCHANGED
    assert turn() is Outcome.FRESH
    assert host.state(prices).pending is None
    assert prices.source.loads == 3


def test_the_declared_time_between_requested_loads_holds_for_everybody_but_force(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare(refresh_every=HOUR, request_every=timedelta(seconds=60))
    prices.refresh()
    for expected in (Outcome.UNCHANGED, Outcome.FRESH):
        prices.request_refresh()
        assert prices.refresh().outcome is expected
    assert prices.refresh(force=True).outcome is Outcome.UNCHANGED
    assert host.state(prices).pending is None


def test_a_hundred_readers_make_one_request_for_a_repair(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()
    prices.refresh()
    stores, key = host.stores("default"), prices.layout("t").request
    for _ in range(100):
        request_load(prices, stores, repair=True)
    item = host.kv.get(key)
    assert item is not None
    assert item.version == 1


def test_who_loses_the_race_leaves_it_at_the_request_that_won(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()
    prices.refresh()
    key = prices.layout("t").request
    for repair in (True, False):
        calls: list[object] = []

        def overtake(*args: Any, calls: list[object] = calls, repair: bool = repair, **options: Any) -> None:
            if not calls:
                calls.append(None)
                request_load(prices, host.other().stores("default"), repair=repair)

        host.engine.before["txn"] = overtake
        request_load(prices, host.stores("default"), repair=repair)
        host.engine.before.clear()
        item = host.kv.get(key)
        assert item is not None
        assert item.version == 1
        prices.refresh()


def test_a_person_s_request_is_never_the_one_that_was_pending_already(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare()
    prices.refresh()
    found = []
    for repair in (False, True, False, True):
        request_load(prices, host.stores("default"), repair=repair)
        pending = host.state(prices).pending
        assert pending is not None
        found.append((pending.id == pending.person, pending.repair, pending.by_person))
    assert found == [(True, False, True), (False, True, True), (True, True, True), (True, True, True)]


def test_a_request_that_was_answered_is_nobody_s_repair(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()
    prices.refresh()
    request_load(prices, host.stores("default"), repair=True)
    left = host.kv.get(prices.layout("t").request)
    assert left is not None
    prices.refresh()
    host.kv.put(prices.layout("t").request, left.value)  # its removal did not arrive
    assert host.state(prices).pending is None
    request_load(prices, host.stores("default"), repair=True)
    assert host.state(prices).pending is not None


def test_a_request_survives_that_the_store_is_moved(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    for _ in range(3):
        prices.request_refresh()
        prices.refresh()
    prices.request_refresh()
    kept = {item.key: item.value for item in host.kv.range("", prefix=True).kvs}
    host.aliases["default"].empty_engine()
    request = prices.layout("t").request.encode()
    for key in sorted(kept, key=lambda each: each != request):  # in another order, under smaller revisions
        host.kv.put(key, kept[key])
    state = host.state(prices)
    assert state.checked is not None
    assert state.request_revision < state.checked.request_revision
    assert state.pending is not None
    before = prices.source.loads
    assert prices.refresh().ok
    assert prices.source.loads == before + 1
    assert host.state(prices).pending is None


def test_a_person_is_not_held_back_because_a_repair_is_pending_too(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.refresh()
    request_load(prices, host.stores("default"), repair=True)
    prices.source.error = OSError("down")
    for _ in range(6):
        prices.refresh(force=True)
    assert prices.refresh().outcome is Outcome.BACKOFF
    prices.source.error = None
    prices.request_refresh()
    assert prices.refresh().ok
