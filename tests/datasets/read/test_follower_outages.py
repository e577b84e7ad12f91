"""Stores that are away: a reader serves on, follows the copy of the announcement, and says what it misses."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.read import follower as following
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, PermissionDenied, ResponseError, Unauthenticated
from tests.datasets.hosting import FakeHost, away, follow, publish
from tests.waiting import wait_until

# --- stores that are away --------------------------------------------------------------------------------------------


def test_without_the_coordination_plane_it_follows_the_copy(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    publish(prices, {"a": 1})
    publish(prices, {"a": 2})
    away(host)
    look()
    assert prices["a"] == 2
    status = prices.status()
    assert (status.state, status.error) == (State.INTERRUPTED, "ClusterError: no endpoint answers")
    host.engine.mend()
    publish(prices, {"a": 3})
    away(host)
    look()
    assert prices["a"] == 3
    host.engine.mend()
    look()
    status = prices.status()
    assert (status.state, status.error, status.failures) == (State.VALID, None, 0)
    assert host.listener.loads == [("prices", 2), ("prices", 3)]


def test_the_copy_is_followed_only_forward(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    publish(prices, {"a": 1})
    copy = prices.layout("t").announcement_copy
    old = host.records.inner.get(copy)
    assert old is not None
    publish(prices, {"a": 2})
    look()
    host.records.inner.put(copy, old.value)
    away(host)
    look()
    assert prices["a"] == 2
    host.engine.mend()
    look()
    repaired = host.blocks(prices).read_copy()
    assert repaired is not None
    assert repaired.announcement == host.state(prices).current


def test_a_copy_that_outlived_its_coordination_store_is_not_followed(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    publish(prices, {"a": 1})
    look()
    (of_a_lost_life,) = [each.announcement for each in prices.history()]
    lost = dataclasses.replace(of_a_lost_life, id="lost", version=4)
    host.blocks(prices).write_copy(lost, 10**6)  # as it is after the store was restored from a backup
    look()
    look()
    away(host)
    look()
    assert prices.status().version == 1
    host.engine.mend()
    publish(prices, {"a": 2})
    look()
    assert prices["a"] == 2


def test_a_copy_that_is_newer_than_the_announcement_just_read_is_followed(
    host: FakeHost, declare: Any, step: Any
) -> None:
    prices = declare()
    look = step(prices)
    publish(prices, {"a": 1})
    look()

    def publish_meanwhile(*args: Any, **options: Any) -> None:
        host.records.before.pop("get")
        publish(prices, {"a": 2}, host=host.other())

    host.records.before["get"] = publish_meanwhile  # the announcement has been read, the copy has not
    look()
    assert prices["a"] == 1
    away(host)
    look()
    assert prices["a"] == 2


@pytest.mark.parametrize("damage", [None, b"{", 7])
def test_a_lost_or_damaged_copy_is_repaired(host: FakeHost, declare: Any, step: Any, damage: Any) -> None:
    prices = declare()
    look = step(prices)
    publish(prices)
    look()
    copy = prices.layout("t").announcement_copy
    if damage is None:
        host.records.inner.delete(copy)
    else:
        host.records.inner.put(copy, damage)
    away(host)
    look()
    assert prices["a"] == 1
    host.engine.mend()
    look()
    repaired = host.blocks(prices).read_copy()
    assert repaired is not None
    assert repaired.announcement == host.state(prices).current


def test_both_stores_away_keep_the_version_in_use(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    publish(prices)
    look()
    away(host)
    host.records.broken = ClusterError("no node answers")
    look()
    assert prices["a"] == 1
    assert prices.status().state is State.INTERRUPTED
    host.engine.mend()
    host.records.broken = None
    look()
    assert prices.status().state is State.VALID


def test_a_record_store_that_is_away_is_tried_again_later_and_later(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = declare()
    follower = follow(prices, host)
    publish(prices, {"a": 1})
    follower.step()
    publish(prices, {"a": 2})
    host.records.broken = ClusterError("no node answers")
    now = following.time.monotonic()
    monkeypatch.setattr(following, "monotonic", lambda: now)
    for failures in range(1, 9):
        now += 3600.0
        follower.step()
        nominal = min(30.0, 0.5 * 2 ** (failures - 1))
        assert 0.8 * nominal <= follower.follower.next_at - now <= 1.2 * nominal
        assert prices.status().failures == failures
    assert (prices["a"], prices.status().state) == (1, State.INTERRUPTED)
    assert prices.status().error == "ClusterError: no node answers"
    assert host.listener.failures == [("prices", "load", "ClusterError: no node answers")]
    host.records.broken = None
    follower.step()
    assert prices["a"] == 1  # not before its time
    now += 3600.0
    follower.step()
    assert (prices["a"], prices.status().state, prices.status().failures) == (2, State.VALID, 0)
    monkeypatch.undo()
    follower.close()


def test_each_failure_is_told_once_and_again_after_a_recovery(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    publish(prices)
    told = []
    away, again, late = ClusterError("a: refused; b: away"), ClusterError("b: away; a: reset"), DeadlineExceeded("late")
    for error in (away, again, late, ResponseError("odd"), ResponseError("odd"), ResponseError("odder"), None, away):
        host.engine.mend()
        if error is not None:
            host.engine.break_("range", error)
        look()
        told.append(len(host.listener.failures))
    assert told == [1, 1, 1, 2, 2, 3, 3, 4]


def test_a_failure_of_the_other_store_is_told_too(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    publish(prices)
    host.engine.break_("range", ClusterError("no endpoint answers"))
    host.records.before["get_many"] = fail_with(ClusterError("no node answers"))
    host.records.before["get"] = fail_with(ClusterError("no node answers"))
    look()
    host.engine.mend()
    look()
    look()
    assert [text for _, _, text in host.listener.failures] == [
        "ClusterError: no endpoint answers; the announcement copy cannot be read either: no node answers",
        "ClusterError: no node answers",
    ]


def fail_with(error: Exception) -> Callable[..., object]:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    return fail


def test_a_record_store_that_is_away_is_no_failed_load_while_the_current_version_is_held(
    host: FakeHost, declare: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = declare()
    publish(prices)
    follower = follow(prices, host, copy_interval=30.0)
    follower.step()
    now = time.monotonic()
    monkeypatch.setattr(following, "monotonic", lambda: now)
    told = []
    for error in ("a: away", "away: b", None, "a: away"):
        host.records.broken = ClusterError(error) if error else None
        for _ in range(3):
            now += 3600.0
            follower.step()
            assert follower.follower.next_at > now + 20.0  # nothing is late: the next poll is early enough
        status = prices.status()
        assert (status.state, status.failures) == (State.INTERRUPTED if error else State.VALID, 0)
        assert (f"the announcement copy could not be checked: ClusterError: {error}" in str(status.error)) is bool(
            error
        )
        told.append(len(caplog.records))
    follower.close()
    assert told == [1, 1, 1, 2]
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.messages[0] == "dataset prices: the announcement copy could not be checked: a: away"
    assert host.listener.failures == []
    assert prices["a"] == 1


def test_without_the_coordination_plane_it_tries_later_and_later_whatever_the_copy_gives(
    host: FakeHost, declare: Any
) -> None:
    prices = declare()
    publish(prices)
    follower = follow(prices, host)
    follower.step()
    held = host.state(prices).current
    assert held is not None
    for method in ("txn", "range"):
        host.engine.break_(method, PermissionDenied("permission denied"))
    for failures in range(1, 9):
        newer = held if failures % 2 else dataclasses.replace(held, id=f"id{failures}")
        host.blocks(prices).write_copy(newer, 10**6 + failures)
        follower.step()
        nominal = min(30.0, 0.5 * 2 ** (failures - 1))
        assert follower.view.next_at - time.monotonic() > 0.5 * nominal
        assert (prices.status().state, prices.status().failures) == (State.INTERRUPTED, failures)
    assert host.listener.failures == [("prices", "load", "PermissionDenied: permission denied")]
    assert len(host.listener.loads) > 1
    follower.close()


def test_a_watch_that_would_be_refused_is_not_asked_for_again_and_again(
    host: FakeHost, declare: Any, step: Any
) -> None:
    prices = declare()
    publish(prices)
    look = step(prices)
    host.engine.break_("range", PermissionDenied("permission denied"))
    asked = []
    real = host.kv.watch

    def watch(*args: Any, **options: Any) -> Any:
        asked.append(real(*args, **options))
        return asked[-1]

    host.kv.watch = watch  # type: ignore[method-assign]
    for _ in range(5):
        look()
        asked[-1].cancel()  # as a store does that refuses it
    assert len(asked) == 1
    host.engine.mend()
    look()
    assert len(asked) == 2
    publish(prices, {"a": 2})
    look()
    assert prices["a"] == 2


def test_a_copy_that_cannot_be_loaded_is_told_once(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = declare()
    publish(prices)
    follower = follow(prices, host)
    follower.step()
    publish(prices, {"a": 2})
    away(host)
    host.records.before["get_many"] = fail_with(ResponseError("odd"))
    now = time.monotonic()
    monkeypatch.setattr(following, "monotonic", lambda: now)
    for seconds in (0.0, 0.0, 3600.0, 0.0, 3600.0, 0.0):
        now += seconds
        follower.step()
    assert host.listener.failures == [("prices", "load", "ResponseError: odd")]
    assert prices.status().failures == 3
    assert follower.view.next_at > time.monotonic()
    monkeypatch.undo()
    follower.close()


def test_an_outage_of_an_empty_store_is_over_when_it_answers(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    for outage in (1, 2):
        away(host)
        look()
        assert (prices.status().failures, len(host.listener.failures)) == (1, outage)
        host.engine.mend()
        look()
        assert (prices.status().failures, prices.status().state) == (0, State.INITIALIZING)


def test_since_tells_when_the_trouble_began(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare(max_stale=timedelta(seconds=100))
    look = step(prices)
    publish(prices)
    look()
    states = {}
    for name, age, broken in (("valid", 0, False), ("interrupted", 0, True), ("stale", 200, False)):
        host.age(prices, age)
        if broken:
            away(host)
        look()
        first = prices.status().since
        look()
        look()
        assert prices.status().since == first
        states[name] = prices.status().state
        host.engine.mend()
    assert states == {"valid": State.VALID, "interrupted": State.INTERRUPTED, "stale": State.STALE}


# --- letting go ------------------------------------------------------------------------------------------------------


def test_when_both_planes_are_away_both_are_named(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    look = step(prices)
    away(host)
    host.records.broken = ClusterError("no node answers")
    look()
    error = str(prices.status().error)
    assert "no node answers" in error
    assert "the announcement copy cannot be read either" in error


def test_who_is_refused_by_both_planes_is_told_so_once(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare()
    refused = Unauthenticated("user name is empty")
    host.engine.break_("range", refused)
    host.engine.break_("watch", refused)
    host.records.broken = Unauthenticated("user name is empty")
    step(prices)()
    assert prices.status().error == "Unauthenticated: user name is empty"


def test_a_process_at_rest_notices_that_the_record_store_is_away(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices)
    host.start_reader(poll_interval=0.2)
    prices.wait_ready(20)  # loaded at its first look: nothing else happens to the dataset from here on
    wait_until(lambda: prices.status().state is State.VALID, what="a loaded version")
    host.records.broken = ClusterError("no node answers")
    wait_until(lambda: prices.status().state is State.INTERRUPTED, what="the notice")
    host.records.broken = None
    wait_until(lambda: prices.status().state is State.VALID, what="the end of it")
