"""Reading a dataset: a mapping of the version held now, and what reading does before there is one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.host import bind
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.snapshot import Snapshot
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import ConfigurationError, DatasetNotReady, DatasetStale, DeadlineExceeded
from tests.datasets.hosting import FakeHost, follow, in_thread, publish
from tests.waiting import wait_until


def snapshot(rows: dict[Any, Any], version: int = 1, index: Any = None) -> Snapshot:
    announcement = Announcement(
        id=str(version), version=version, epoch=1, root="00", rows=len(rows), stored_bytes=1, load_started=0.0,
        load_seconds=0.0, published_at=5.0, host="h", pid=1,
    )  # fmt: skip
    return Snapshot("prices", rows, index, announcement)


class Reading:
    """A reader that is there and has nothing to say, until it is told to load."""

    alive = True

    def __init__(self, host: FakeHost) -> None:
        host.reader = self  # type: ignore[assignment]
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def stop(self, timeout: float) -> None:
        pass


@pytest.fixture
def reading(host: FakeHost) -> Reading:
    return Reading(host)


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


# --- before the first load -------------------------------------------------------------------------------------------

ACCESSES: dict[str, Any] = {
    "[]": lambda dataset: dataset["a"],
    "get": lambda dataset: dataset.get("a", 1),
    "in": lambda dataset: "a" in dataset,
    "len": len,
    "iter": lambda dataset: list(dataset),
    "keys": lambda dataset: list(dataset.keys()),
    "values": lambda dataset: list(dataset.values()),
    "items": lambda dataset: list(dataset.items()),
    "snapshot": lambda dataset: dataset.snapshot(),
    "index": lambda dataset: dataset.index,
}
each_access = pytest.mark.parametrize("access", ACCESSES.values(), ids=ACCESSES)


@each_access
def test_every_access_waits_for_the_first_version(host: FakeHost, declare: Any, reading: Reading, access: Any) -> None:
    prices = declare(first_read_timeout=60.0)
    expected = {"a": 1}
    loaded = snapshot(expected, index="made")
    thread, answers = in_thread(lambda: access(prices))
    wait_until(lambda: live_state(prices).guard._waiters, what="the reading thread to wait")
    assert answers == []
    live_state(prices).install(loaded)
    thread.join(20)
    other = declare(name="other")
    live_state(other).install(loaded)
    assert answers == [access(other)]
    assert host.ensured == 1


@each_access
def test_every_access_waits_once_and_boundedly_then_says_why(
    host: FakeHost, declare: Any, reading: Reading, access: Any
) -> None:
    prices = declare(first_read_timeout=0.05)
    live_state(prices).report(error="ClusterError: no endpoint answers")
    for _ in range(2):
        with pytest.raises(DatasetNotReady, match="'prices' is not loaded in this process: ClusterError: no endpoint"):
            access(prices)
    prices.first_read_timeout = 1e6  # from now on it would be for ever
    with pytest.raises(DatasetNotReady):
        access(prices)
    live_state(prices).install(snapshot({"a": 1}))
    access(prices)


@each_access
def test_without_a_reader_every_access_fails_at_once(host: FakeHost, declare: Any, access: Any) -> None:
    prices = declare(first_read_timeout=1e6)
    host.refusal = "the reader is switched off"
    with pytest.raises(DatasetNotReady, match="the reader is switched off"):
        access(prices)
    assert host.ensured == 1


@each_access
def test_inside_an_event_loop_every_access_fails_at_once(
    host: FakeHost, declare: Any, reading: Reading, access: Any
) -> None:
    prices = declare(first_read_timeout=1e6)

    async def read() -> None:
        access(prices)

    with pytest.raises(DatasetNotReady, match=r"in async code, 'await dataset.aready\(\)' first"):
        asyncio.run(read())


def test_failing_in_an_event_loop_does_not_use_up_the_wait_of_threads(
    host: FakeHost, declare: Any, reading: Reading
) -> None:
    prices = declare(first_read_timeout=60.0)

    async def read() -> None:
        with pytest.raises(DatasetNotReady):
            prices["a"]

    asyncio.run(read())
    thread, answers = in_thread(lambda: prices["a"])
    wait_until(lambda: live_state(prices).guard._waiters, what="the reading thread to wait")
    live_state(prices).install(snapshot({"a": 1}))
    thread.join(20)
    assert answers == [1]


def test_a_reader_that_has_said_nothing_is_the_reason(host: FakeHost, declare: Any, reading: Reading) -> None:
    with pytest.raises(DatasetNotReady, match="the reader has not answered yet"):
        declare(first_read_timeout=0)["a"]


def test_the_first_read_starts_the_reader_and_gets_its_rows(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": 1}, first_read_timeout=60.0)
    publish(prices)
    host.start = host.start_reader
    assert prices["a"] == 1


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_wait_ready_returns_the_snapshot(host: FakeHost, declare: Any, reading: Reading) -> None:
    prices = declare()
    loaded = snapshot({"a": 1})
    thread, answers = in_thread(lambda: prices.wait_ready(60))
    wait_until(lambda: live_state(prices).guard._waiters, what="the thread to wait")
    live_state(prices).install(loaded)
    thread.join(20)
    assert answers == [loaded]
    assert prices.wait_ready(0) is loaded
    assert host.ensured == 2


@pytest.mark.parametrize("arguments", [{"timeout": 0.01}, {}])
def test_wait_ready_ends_with_the_reason(host: FakeHost, declare: Any, reading: Reading, arguments: Any) -> None:
    prices = declare(first_read_timeout=0.01)
    live_state(prices).report(error="nothing published")
    with pytest.raises(DatasetNotReady, match="nothing published"):
        prices.wait_ready(**arguments)


def test_without_a_reader_there_is_nothing_to_wait_for(host: FakeHost, declare: Any) -> None:
    prices = declare(first_read_timeout=1e6)
    host.refusal = "the reader is switched off"
    with pytest.raises(DatasetNotReady, match="switched off"):
        prices.wait_ready()
    with pytest.raises(DatasetNotReady, match="switched off"):
        prices.wait_ready(1e6)
    with pytest.raises(DatasetNotReady, match="switched off"):
        asyncio.run(prices.aready())
    with pytest.raises(DatasetNotReady, match=r"version 1 cannot arrive in this process; held: none .*switched off"):
        prices.wait_version(1, timeout=1e6)
    live_state(prices).install(snapshot({}, 7))
    with pytest.raises(DatasetNotReady, match=r"version 8 cannot arrive in this process; held: 7 .*switched off"):
        prices.wait_version(8, timeout=1e6)
    assert prices.wait_version(7, timeout=1e6).version == 7


def test_wait_version_waits_for_the_number_or_a_greater_one(host: FakeHost, declare: Any, reading: Reading) -> None:
    prices = declare()
    thread, answers = in_thread(lambda: prices.wait_version(3, timeout=60))
    for version in (1, 2):
        wait_until(lambda: live_state(prices).guard._waiters, what="the thread to wait")
        live_state(prices).install(snapshot({"a": version}, version))
    assert thread.is_alive()
    live_state(prices).install(snapshot({"a": 4}, 4))
    thread.join(20)
    assert answers[0].version == 4
    assert reading.woken == 1
    assert prices.wait_version(4, timeout=0).version == 4


def test_wait_version_ends_saying_what_is_held_and_why(host: FakeHost, declare: Any, reading: Reading) -> None:
    prices = declare()
    with pytest.raises(DeadlineExceeded, match=r"version 1 did not arrive within 0.01 s; held: none$"):
        prices.wait_version(1, timeout=0.01)
    live_state(prices).install(snapshot({}, 7))
    live_state(prices).report(error="ClusterError: away")
    with pytest.raises(DeadlineExceeded, match=r"version 8 .* held: 7 \(ClusterError: away\)"):
        prices.wait_version(8, timeout=0.01)


def test_aready_waits_without_blocking_the_loop(host: FakeHost, declare: Any, reading: Reading) -> None:
    prices = declare(first_read_timeout=60.0)
    loaded = snapshot({"a": 1})

    async def main() -> Any:
        waiting = [asyncio.create_task(prices.aready()) for _ in range(3)]
        turns = 0
        while not live_state(prices).wakers:
            turns += 1
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        threading.Thread(target=live_state(prices).install, args=(loaded,)).start()
        found = await asyncio.gather(*waiting)
        return [*found, await prices.aready()]

    assert asyncio.run(main()) == [loaded] * 4
    assert live_state(prices).wakers == set()


def test_aready_ends_with_the_reason(host: FakeHost, declare: Any, reading: Reading) -> None:
    prices = declare(first_read_timeout=0.01)
    live_state(prices).report(error="nothing published")
    for timeout in (None, 0.01, 0):
        with pytest.raises(DatasetNotReady, match="nothing published"):
            asyncio.run(prices.aready(timeout))
    assert live_state(prices).wakers == set()


def test_a_cancelled_aready_leaves_nothing(host: FakeHost, declare: Any, reading: Reading) -> None:
    prices = declare()

    async def main() -> None:
        task = asyncio.create_task(prices.aready(60))
        while not live_state(prices).wakers:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert live_state(prices).wakers == set()


def test_an_event_loop_that_was_closed_while_waiting_harms_nobody(
    host: FakeHost, declare: Any, reading: Reading
) -> None:
    prices = declare()
    loop = asyncio.new_event_loop()
    task = loop.create_task(prices.aready(60))
    loop.run_until_complete(asyncio.sleep(0))
    assert live_state(prices).wakers
    loop.close()
    live_state(prices).install(snapshot({"a": 1}))
    assert prices["a"] == 1
    task.get_coro().close()  # type: ignore[union-attr]
    task._log_destroy_pending = False  # type: ignore[attr-defined]


# --- too old ---------------------------------------------------------------------------------------------------------


@each_access
def test_too_old_rows_are_refused_and_come_back(host: FakeHost, declare: Any, reading: Reading, access: Any) -> None:
    prices = declare(first_read_timeout=1e6)
    loaded = snapshot({"a": 1}, index="made")
    live_state(prices).install(loaded)
    expected = access(prices) if access is not ACCESSES["snapshot"] else loaded
    live_state(prices).refuse("read an hour ago")
    with pytest.raises(DatasetStale, match="'prices' is too old to be used: read an hour ago"):
        access(prices)
    live_state(prices).serve_again()
    assert access(prices) == expected


@each_access
def test_a_first_version_that_is_too_old_is_never_served_and_not_waited_for(
    host: FakeHost, declare: Any, reading: Reading, access: Any
) -> None:
    prices = declare(first_read_timeout=1e6)
    thread, answers = in_thread(lambda: access(prices))
    wait_until(lambda: live_state(prices).guard._waiters, what="the reading thread to wait")
    live_state(prices).install(snapshot({"a": 1}), refusal="read an hour ago")
    thread.join(20)
    assert [type(answer) for answer in answers] == [DatasetStale]
    assert "'prices' is too old to be used: read an hour ago" in str(answers[0])


def test_without_a_timeout_too_old_rows_are_not_waited_for(host: FakeHost, declare: Any, reading: Reading) -> None:
    prices = declare(first_read_timeout=1e6)
    live_state(prices).install(snapshot({"a": 1}), refusal="read an hour ago")
    with pytest.raises(DatasetStale):
        prices.wait_ready()
    with pytest.raises(DatasetStale):
        asyncio.run(prices.aready())
    assert prices.wait_version(1, timeout=0).version == 1


def test_waiting_on_purpose_for_too_old_rows_says_in_the_end_that_they_are(
    host: FakeHost, declare: Any, reading: Reading
) -> None:
    prices = declare()
    live_state(prices).install(snapshot({"a": 1}), refusal="read an hour ago")
    with pytest.raises(DatasetStale):
        prices.wait_ready(0.01)
    with pytest.raises(DatasetStale):
        asyncio.run(prices.aready(0.01))


def test_waiting_on_purpose_ends_when_the_rows_are_good_again(host: FakeHost, declare: Any, reading: Reading) -> None:
    prices = declare()
    loaded = snapshot({"a": 1})
    live_state(prices).install(loaded, refusal="read an hour ago")
    thread, answers = in_thread(lambda: prices.wait_ready(60))
    wait_until(lambda: live_state(prices).guard._waiters, what="the thread to wait")

    async def main() -> Any:
        task = asyncio.create_task(prices.aready(60))
        while not live_state(prices).wakers:
            await asyncio.sleep(0)
        live_state(prices).refuse("read two hours ago")  # wakes it, and it waits on
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done()
        live_state(prices).serve_again()
        return await task

    assert asyncio.run(main()) is loaded
    thread.join(20)
    assert answers == [loaded]


def test_what_is_held_is_not_waited_for_and_does_not_wake_the_reader(
    host: FakeHost, declare: Any, reading: Reading
) -> None:
    prices = declare()
    loaded = snapshot({"a": 1})
    live_state(prices).install(loaded)
    assert prices.wait_ready() is loaded
    assert asyncio.run(prices.aready()) is loaded
    assert reading.woken == 0


def test_a_new_version_ends_the_refusal(host: FakeHost, declare: Any) -> None:
    prices = declare()
    live_state(prices).install(snapshot({"a": 1}))
    live_state(prices).refuse("old")
    live_state(prices).install(snapshot({"a": 2}, 2))
    assert prices["a"] == 2


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
    live_state(prices).serve_again()
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
