"""Waiting for a version: at the first access, and on purpose."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.exceptions import DatasetNotReady, DeadlineExceeded, InvalidRequest
from tests.datasets.hosting import FakeHost, in_thread, publish
from tests.datasets.read.reading import Reading, each_access, snapshot
from tests.waiting import wait_until

# --- before the first load -------------------------------------------------------------------------------------------


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


def test_a_wait_that_was_interrupted_is_not_begun_anew(
    host: FakeHost, declare: Any, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = declare(first_read_timeout=3600.0)
    waits: list[float] = []

    def interrupted(there: Any, timeout: float) -> None:
        waits.append(timeout)
        raise TimeoutError("the request took too long")

    with monkeypatch.context() as patch:
        patch.setattr(type(live_state(prices)), "wait", lambda self, there, timeout: interrupted(there, timeout))
        for _ in range(2):
            with pytest.raises(TimeoutError, match="the request took too long"):
                prices["a"]
    assert waits[1] < waits[0] <= 3600
    prices.first_read_timeout = 0.0  # the time is over
    with pytest.raises(DatasetNotReady):
        prices["a"]


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


@pytest.mark.parametrize("held", [True, False])
def test_the_version_of_a_refresh_that_has_published_none_is_not_waited_for(
    host: FakeHost, declare: Any, reading: Reading, held: bool
) -> None:
    prices = declare()
    if held:
        live_state(prices).install(snapshot({"a": 1}))
    with pytest.raises(InvalidRequest, match="'prices': there is no version to wait for: look at the refresh's error"):
        prices.wait_version(None, timeout=1e6)


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


@pytest.mark.parametrize("seconds", [float("nan"), "10", True])
def test_what_is_no_number_of_seconds_is_refused_and_never_waited_for(
    host: FakeHost, declare: Any, seconds: Any
) -> None:
    prices = declare()
    waits = [
        lambda: prices.wait_ready(seconds),
        lambda: asyncio.run(prices.aready(seconds)),
        lambda: prices.wait_version(1, timeout=seconds),
        lambda: prices.refresh(wait=seconds),
        lambda: prices.import_version("/nowhere", wait=seconds),
    ]
    for wait in waits:
        with pytest.raises(InvalidRequest, match="must be a number of seconds"):
            wait()
