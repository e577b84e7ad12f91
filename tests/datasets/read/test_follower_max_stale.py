"""Rows beyond ``max_stale`` are refused until the source was read again."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from django_etcdaero.datasets.read import standing
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.state.age import AgeMemory, Load
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import ClusterError, DatasetStale
from django_etcdaero.system.clocks import elapsed
from tests.datasets.hosting import FakeHost, away, follow, publish

# --- max_stale -------------------------------------------------------------------------------------------------------


def test_rows_beyond_max_stale_are_refused_until_the_source_was_read_again(
    host: FakeHost, declare: Any, step: Any
) -> None:
    prices = declare(max_stale=timedelta(minutes=10))
    look = step(prices)
    publish(prices)
    look()
    assert prices["a"] == 1
    host.age(prices, 661)  # by the clock of another host, which may be a minute behind
    look()
    with pytest.raises(DatasetStale, match=r"'prices' is too old .* max_stale is 0:10:00"):
        prices["a"]
    status = prices.status()
    assert (status.state, status.version) == (State.STALE, 1)
    assert status.age is not None
    assert status.age >= 661
    publish(prices)  # unchanged
    look()
    assert prices["a"] == 1
    assert prices.status().state is State.VALID


def test_a_first_version_that_is_too_old_is_not_served_for_a_moment(host: FakeHost, declare: Any) -> None:
    prices = declare(max_stale=timedelta(microseconds=1))
    publish(prices)
    seen: list[Any] = []

    def loaded(dataset: Any, snapshot: Any) -> None:
        with pytest.raises(DatasetStale, match=r"max_stale is 0:00:00\.000001"):
            prices["a"]
        seen.append(prices.status().state)

    host.listener.loaded = loaded  # type: ignore[method-assign]
    follower = follow(prices, host)
    follower.step()
    assert seen == [State.STALE]
    assert (prices.status().state, prices.status().failures) == (State.STALE, 0)
    follower.close()


def test_another_reader_keeps_max_stale_of_what_it_finds(host: FakeHost, declare: Any) -> None:
    prices = declare(max_stale=timedelta(minutes=10))
    publish(prices)
    first = follow(prices, host)
    first.step()
    first.close()
    away(host)
    host.records.broken = ClusterError("no node answers")
    live_state(prices).age = AgeMemory()
    live_state(prices).age.announced(Load("older", time.time() - 601, 0.0), answered=elapsed() - 601)
    second = follow(prices, host)  # as in the child of a fork, which serves what it inherited
    second.step()
    with pytest.raises(DatasetStale):
        prices["a"]
    assert prices.status().state is State.STALE
    second.close()


def test_another_reader_that_loads_nothing_knows_that_something_is_served(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices)
    first = follow(prices, host)
    first.step()
    first.close()
    away(host)
    host.records.broken = ClusterError("no node answers")
    second = follow(prices, host)
    second.step()
    assert (prices["a"], prices.status().state) == (1, State.INTERRUPTED)
    second.close()


# --- stopped ---------------------------------------------------------------------------------------------------------


def test_in_the_moment_when_the_rows_become_too_old_they_are_refused(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = declare(max_stale=timedelta(seconds=10))
    publish(prices)
    follower = follow(prices, host)
    follower.step()
    assert prices["a"] == 1
    left = follower.follower.too_old_at - time.monotonic()
    assert 0 < left <= 10
    later = elapsed() + left + 0.001
    monkeypatch.setattr(standing, "elapsed", lambda: later)
    monkeypatch.setattr(standing, "time", SimpleNamespace(time=lambda: time.time() + left + 0.001))
    follower.follower.grow_old()  # what the reader does then, whatever a step is busy with
    with pytest.raises(DatasetStale):
        prices["a"]
    assert math.isinf(follower.follower.too_old_at)
    follower.close()


def test_too_old_rows_say_so_with_the_reason_behind_it(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare(max_stale=timedelta(minutes=10))
    look = step(prices)
    publish(prices)
    look()
    host.age(prices, 700)
    look()
    away(host)
    look()
    with pytest.raises(DatasetStale, match="no endpoint answers"):
        prices["a"]
    assert prices.status().state is State.STALE


@pytest.mark.parametrize("value", [None, "nonsense"])
def test_rows_that_are_too_old_stay_so_when_the_note_of_their_load_is_lost(
    host: FakeHost, declare: Any, step: Any, value: str | None
) -> None:
    prices = declare(max_stale=timedelta(minutes=10))
    look = step(prices)
    publish(prices)
    look()
    host.age(prices, 700)
    look()
    assert prices.status().state is State.STALE
    if value is None:
        host.kv.delete(prices.layout("t").checked)
    else:
        host.kv.put(prices.layout("t").checked, value)
    look()
    assert prices.status().state is State.STALE
    with pytest.raises(DatasetStale):
        prices["a"]


def test_rows_that_were_just_loaded_are_not_too_old_because_the_store_was_restored(
    host: FakeHost, declare: Any, step: Any
) -> None:
    prices = declare(max_stale=timedelta(minutes=10))
    look = step(prices)
    publish(prices)
    older = host.state(prices).checked
    assert older is not None
    publish(prices)
    look()
    host.kv.put(
        prices.layout("t").checked, replace(older, load_started=older.load_started - 3600, id="restored").encode()
    )
    look()
    assert prices.status().state is State.VALID
    assert prices["a"] == 1
