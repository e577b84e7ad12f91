"""A dataset is a mapping of the version held, and tells its status."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.held import SMALL
from django_etcdaero.datasets.blocks.held_making import Making
from django_etcdaero.datasets.host import bind
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import ConfigurationError, DatasetNotReady, DatasetStale
from tests.datasets.hosting import FakeHost, follow, in_thread, publish
from tests.datasets.read.reading import Reading, snapshot
from tests.waiting import wait_until

# --- a mapping -------------------------------------------------------------------------------------------------------


def test_it_is_a_mapping_of_the_version_held(host: FakeHost, declare: Any) -> None:
    prices = declare()
    live_state(prices).install(snapshot({"a": 1, "b": None}))
    assert isinstance(prices, Mapping)
    assert prices["a"] == 1
    assert (prices.get("a"), prices.get("b", 5), prices.get("c"), prices.get("c", 5)) == (1, None, None, 5)
    assert "a" in prices
    assert "c" not in prices
    assert len(prices) == 2
    assert list(prices) == ["a", "b"]
    assert dict(prices.items()) == {"a": 1, "b": None}
    assert (list(prices.keys()), list(prices.values())) == (["a", "b"], [1, None])
    assert host.ensured == 0


def test_what_is_read_again_and_again_is_of_the_version_held(host: FakeHost, declare: Any) -> None:
    prices = declare()
    for version in (1, 2):
        live_state(prices).install(
            snapshot(Making(dict.fromkeys(range(SMALL + 1), version), SMALL + 1).done(), version)
        )
        assert {prices[5] for _ in range(50)} == {version}
    live_state(prices).refuse("too old")
    with pytest.raises(DatasetStale):
        prices[5]


def test_reading_before_the_process_is_set_up_says_what_is_missing(host: FakeHost, declare: Any) -> None:
    prices = declare()
    bind(None)
    try:
        with pytest.raises(ConfigurationError, match=r"must be in INSTALLED_APPS, .* after django.setup\(\) only"):
            prices["a"]
    finally:
        bind(host)


def test_a_missing_key_is_told_with_the_dataset(host: FakeHost, declare: Any) -> None:
    prices = declare()
    live_state(prices).install(snapshot({"a": 1}))
    for mapping in (prices, prices.snapshot()):
        with pytest.raises(KeyError, match="dataset 'prices' has no key 'c'") as caught:
            mapping["c"]
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    with pytest.raises(TypeError):
        prices[[]]


def test_a_dataset_is_true_hashable_and_equal_to_itself_only(host: FakeHost, declare: Any) -> None:
    prices, other = declare(), declare(name="other")
    assert bool(prices) is True  # not loaded
    live_state(prices).install(snapshot({}))
    live_state(other).install(snapshot({}))
    assert bool(prices) is True  # empty
    assert prices == prices
    assert prices != other
    assert prices != {}
    assert len({prices, other}) == 2
    assert host.ensured == 0


def test_a_snapshot_stays_what_it_is(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": 1}, prepare=lambda self, rows: {"sum": sum(rows.values())})
    follower = follow(prices, host)
    held = []
    for value in range(5):
        publish(prices, {"a": value, f"b{value}": value})
        follower.step()
        held.append(prices.snapshot())
    for value, each in enumerate(held):
        assert dict(each) == {"a": value, f"b{value}": value}
        assert (each.version, each.index) == (value + 1, {"sum": 2 * value})
        assert each.published_at == each.announcement.published_at > 0
        assert (len(each), list(each), "a" in each, each.get("zz", 7)) == (2, ["a", f"b{value}"], True, 7)
        assert (dict(each.items()), list(each.keys()), list(each.values())) == (
            dict(each), ["a", f"b{value}"], [value, value]
        )  # fmt: skip
    assert prices.index == {"sum": 8}
    assert repr(held[0]) == "<Snapshot prices version 1, 2 rows>"
    with pytest.raises(TypeError):
        held[0]["a"] = 2
    follower.close()


@pytest.mark.slow
def test_rows_and_index_of_a_snapshot_belong_together_while_versions_arrive(host: FakeHost, declare: Any) -> None:
    prices = declare({"n": 0}, prepare=lambda self, rows: rows["n"])
    follower = follow(prices, host)
    publish(prices, {"n": 0})
    follower.step()
    wrong: list[Any] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen = prices.snapshot()
            if not seen["n"] == seen.index == seen.version - 1:
                wrong.append((seen["n"], seen.index, seen.version))

    threads = [threading.Thread(target=read) for _ in range(1)]
    for thread in threads:
        thread.start()
    for value in range(1, 15):
        publish(prices, {"n": value})
        follower.step()
    stop.set()
    for thread in threads:
        thread.join(20)
    assert wrong == []
    assert prices["n"] == 14
    follower.close()


# --- status ----------------------------------------------------------------------------------------------------------


def test_the_status_of_a_dataset_that_is_not_loaded(host: FakeHost, declare: Any) -> None:
    status = declare(required=False).status()
    assert (status.name, status.state, status.required) == ("prices", State.INITIALIZING, False)
    assert status.since > 0
    assert (status.version, status.rows, status.bytes, status.age, status.lag, status.error) == (
        None, 0, 0, None, None, None
    )  # fmt: skip
    assert host.ensured == 0


def test_the_status_of_a_dataset_that_is_loaded(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": 1, "b": 2})
    result = publish(prices)
    follow(prices, host).step()
    status = prices.status()
    assert (status.state, status.version, status.rows, status.bytes) == (State.VALID, 1, 2, result.bytes_total)
    assert status.published_at == prices.snapshot().published_at
    assert status.age is not None
    assert status.lag is not None
    assert 0 <= status.lag <= status.age
    assert (status.error, status.failures) == (None, 0)


def test_a_reader_that_died_is_told_and_started_again(host: FakeHost, declare: Any) -> None:
    prices, other = declare(), declare(name="other")
    dead = [False]
    for dataset in (prices, other):
        live_state(dataset).followed(died=lambda: dead[0])
    live_state(prices).install(snapshot({"a": 1}))
    live_state(prices).report(state=State.VALID)
    assert (prices.status().state, host.ensured) == (State.VALID, 0)
    dead[0] = True
    since = prices.status().since
    assert (prices.status().state, prices.status().since) == (State.INTERRUPTED, since)
    assert "the reader of this process ended unexpectedly" in str(prices.status().error)
    assert other.status().state is State.INITIALIZING  # nothing is served
    assert "ended unexpectedly" in str(other.status().error)
    assert host.ensured >= 2
    assert prices["a"] == 1
    live_state(prices).followed(died=lambda: False)
    live_state(prices).report(state=State.VALID, error=None)
    assert prices.status().state is State.VALID


def test_since_moves_only_with_the_state(host: FakeHost, declare: Any) -> None:
    prices = declare()
    first = prices.status().since
    live_state(prices).report(error="a")
    assert prices.status().since == first
    live_state(prices).report(state=State.VALID)
    second = prices.status().since
    assert second > first
    live_state(prices).report(state=State.VALID, error="b")
    assert prices.status().since == second


# --- forks and tests -------------------------------------------------------------------------------------------------


def test_forgetting_makes_it_not_loaded_again(host: FakeHost, declare: Any, reading: Reading) -> None:
    prices = declare(first_read_timeout=0.01)
    with pytest.raises(DatasetNotReady):
        prices["a"]
    live_state(prices).install(snapshot({"a": 1}))
    live_state(prices).forget()
    assert prices.status().version is None
    prices.first_read_timeout = 60.0
    thread, answers = in_thread(lambda: prices["a"])
    wait_until(lambda: live_state(prices).guard._waiters, what="the reading thread to wait again")
    live_state(prices).install(snapshot({"a": 2}))
    thread.join(20)
    assert answers == [2]


def test_an_override_is_served_whatever_is_loaded(host: FakeHost, declare: Any) -> None:
    prices = declare(max_stale=timedelta(hours=1))
    live_state(prices).override(snapshot({}, 0))
    assert len(prices) == 0
    live_state(prices).install(snapshot({"a": 1}))
    live_state(prices).refuse("old")
    assert list(prices) == []
    live_state(prices).override(None)
    with pytest.raises(DatasetStale):
        prices["a"]
    live_state(prices).override(snapshot({}, 0))
    live_state(prices).refuse(None)
    assert list(prices) == []
    live_state(prices).override(None)
    assert prices["a"] == 1


def test_a_version_that_arrives_under_an_override_is_waited_for(host: FakeHost, declare: Any, reading: Reading) -> None:
    prices = declare()
    live_state(prices).override(snapshot({}, 0))
    thread, answers = in_thread(lambda: prices.wait_version(1, timeout=60))
    wait_until(lambda: live_state(prices).guard._waiters, what="the thread to wait")
    live_state(prices).install(snapshot({"a": 1}))
    thread.join(20)
    assert answers[0].version == 1


def test_after_a_fork_the_rows_are_served_and_no_inherited_lock_is_taken(host: FakeHost, declare: Any) -> None:
    prices = declare()
    live_state(prices).install(snapshot({"a": 1}))
    live_state(prices).followed(died=lambda: True)  # the parent's, which is not in the child
    thread = threading.Thread(target=live_state(prices).guard.acquire)  # one of the parent's, that is not in the child
    thread.start()
    thread.join(20)
    live_state(prices).after_fork_in_child()
    assert prices["a"] == 1
    assert prices.status().error is None
    live_state(prices).install(snapshot({"a": 2}, 2))
    assert prices["a"] == 2


def test_a_fork_in_the_middle_of_a_change_leaves_the_child_with_what_it_says_it_holds(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = declare()
    live = live_state(prices)
    live.install(snapshot({"a": 1}, 1))
    with monkeypatch.context() as forked:
        forked.setattr(type(live), "_show", lambda self: None)
        live.install(snapshot({"a": 2}, 2))
    live.after_fork_in_child()
    assert prices.status().version == prices.snapshot().version == 2
    assert prices["a"] == 2
