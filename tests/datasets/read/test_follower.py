"""A reader follows what is announced, forwards and backwards, until it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.datasets.read import announced
from django_etcdaero.datasets.read import follower as following
from django_etcdaero.datasets.read.announced import AnnouncementView
from django_etcdaero.datasets.state.status import State
from tests.datasets.hosting import FakeHost, away, follow, publish
from tests.waiting import wait_until

# --- following -------------------------------------------------------------------------------------------------------


def test_it_loads_what_is_announced(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    for value in (1, 2, 3):
        publish(prices, {"a": value})
        look()
        assert dict(prices) == {"a": value}
    assert host.listener.loads == [("prices", 1), ("prices", 2), ("prices", 3)]
    look()
    assert len(host.listener.loads) == 3


def test_it_follows_backwards(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    for value in (1, 2):
        publish(prices, {"a": value})
        look()
    prices.rollback(1)
    look()
    assert (prices["a"], prices.snapshot().version, prices.status().state) == (1, 1, State.VALID)


def test_before_the_first_publication_it_says_what_to_do(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    step(prices)()
    status = prices.status()
    assert (status.state, status.failures) == (State.INITIALIZING, 0)
    assert status.error == "no version has been published yet; run 'manage.py etcdaero_refresh'"
    assert status.error_at is not None
    assert host.listener.failures == []


def test_when_nothing_is_announced_any_more_it_keeps_serving(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    publish(prices)
    look()
    host.kv.delete_range("", prefix=True, everything=True)
    look()
    assert prices["a"] == 1
    assert prices.status().state is State.INTERRUPTED
    assert "no version is announced any more" in str(prices.status().error)
    publish(prices)
    look()
    assert prices.status().state is State.VALID


def test_an_emptied_coordination_store_is_followed_on(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    publish(prices, {"a": 1})
    publish(prices, {"a": 2})
    look()
    host.aliases["default"].empty_engine()
    look()
    assert prices["a"] == 2
    publish(prices, {"a": 3})
    look()
    assert (prices["a"], prices.status().version, prices.status().state) == (3, 3, State.VALID)


def test_a_change_is_told_by_the_watch(host: FakeHost, declare: Any) -> None:
    prices = declare()
    changed: list[Any] = []
    view = AnnouncementView("default", host, changed=changed.append, poll_interval=3600.0)
    view.look([prices])
    assert changed == [None]
    publish(prices)
    wait_until(lambda: ("prices", 1) in changed, what="the watch's report")
    found = view.announced(("prices", 1))
    assert found is not None
    assert found.announcement == host.state(prices).current
    follower = following.Follower(
        prices, host, view, stopped=lambda: False, poll_interval=3600.0, copy_interval=0.0, splay=0.0
    )
    calls = host.engine.calls.copy()
    follower.step()
    assert host.engine.calls == calls  # the coordination plane is not asked again
    assert prices["a"] == 1
    view.close()


def test_the_poll_comes_with_jitter(host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = declare()
    view = AnnouncementView("default", host, changed=lambda name: None, poll_interval=30.0)
    now = 1000.0
    monkeypatch.setattr(announced, "monotonic", lambda: now)
    pauses = []
    for _ in range(20):
        view.look([prices])
        pauses.append(view.next_at - now)
    monkeypatch.undo()
    view.close()
    assert len(set(pauses)) == 20
    assert 30 * 0.85 <= min(pauses) < 30 < max(pauses) <= 30 * 1.15
    view.look_now()
    assert view.next_at < now


# --- stopped ---------------------------------------------------------------------------------------------------------


def test_once_stopped_it_changes_nothing(host: FakeHost, declare: Any) -> None:
    stopped = False
    ends: list[Callable[[], object]] = []

    def prepare(self: Any, rows: Any) -> None:
        nonlocal stopped
        if rows["a"] == "late" and not stopped:
            stopped = True
            for end in ends:
                end()

    prices = declare({"a": "late"}, prepare=prepare)
    stopped = True
    publish(prices)
    stopped = False
    newer = follow(prices, host)

    def overtake() -> None:
        publish(prices, {"a": "newer"})
        newer.step()

    ends.append(overtake)
    older = follow(prices, host, stopped=lambda: stopped)
    older.step()
    assert (prices["a"], prices.status().version, prices.status().state) == ("newer", 2, State.VALID)
    assert host.listener.loads == [("prices", 2)]
    away(host)
    older.step()
    assert prices.status().state is State.VALID
    assert host.listener.failures == []
    older.close()
    newer.close()
