"""Requests for a load that are waited for: reading one's own write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.read import requested
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    DatasetNotReady,
    DeadlineExceeded,
    InvalidRequest,
    RefreshInTransaction,
)
from django_etcdaero.testing import override_dataset
from tests.datasets.hosting import HOUR, FakeHost, away, in_thread, publish
from tests.waiting import wait_until

Declare = Callable[..., Any]


@pytest.fixture
def prices(host: FakeHost, declare: Declare) -> Any:
    """Published, and read by a reader."""
    made = declare({"a": 1}, refresh_every=HOUR)
    publish(made)
    host.start_reader()
    assert made.wait_ready(20)["a"] == 1
    return made


@pytest.fixture(params=["blocking", "awaited", "await"])
def wait(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Wait for a request in one of the ways to do it."""
    if request.param == "blocking":
        return lambda made, timeout: made.wait(timeout)

    def awaited(made: Any, timeout: float) -> Any:
        monkeypatch.setattr(requested, "AWAITED", timeout)

        async def main() -> Any:
            return await (made if request.param == "await" else made.await_(timeout))

        return asyncio.run(main())

    return awaited


@pytest.fixture
def refreshed(host: FakeHost, prices: Any) -> Iterator[Callable[[Any], None]]:
    """Let another process refresh once somebody waits for it, with other rows."""
    threads = []

    def soon(rows: Any) -> None:
        def refresh() -> None:
            wait_until(lambda: live_state(prices).wakers, what="somebody who waits")
            prices.source.rows = rows
            assert Refresh(prices, host.other(), serving=True).run().ok  # type: ignore[arg-type]

        threads.append(in_thread(refresh))

    yield soon
    for thread, answers in threads:
        thread.join(20)
        assert answers == [None]


def test_waiting_returns_the_version_of_a_load_that_began_later(
    prices: Any, wait: Any, refreshed: Callable[[Any], None]
) -> None:
    refreshed({"a": 2})
    view = wait(prices.request_refresh(), 20)
    assert (view.version, view["a"], prices["a"]) == (2, 2, 2)
    assert not live_state(prices).wakers


def test_a_load_that_finds_the_source_unchanged_answers_as_well(
    prices: Any, wait: Any, refreshed: Callable[[Any], None]
) -> None:
    refreshed({"a": 1})
    assert wait(prices.request_refresh(), 20).version == 1


def test_a_load_that_began_before_does_not_answer(host: FakeHost, prices: Any) -> None:
    made: list[Any] = []
    prices.source.rows = {"a": 2}
    prices.source.during = lambda: made.append(prices.request_refresh())
    assert Refresh(prices, host, force=True).run().version == 2  # type: ignore[arg-type]
    prices.wait_version(2, timeout=20)
    with pytest.raises(
        DeadlineExceeded, match=r"within 0 s: no load has begun since; does 'manage.py etcdaero_refresh"
    ):
        made[0].wait(0)
    prices.source.rows = {"a": 3}
    prices.refresh()
    assert made[0].wait(20)["a"] == 3


def test_who_waits_late_is_answered_by_whatever_was_loaded_since(prices: Any) -> None:
    made = [prices.request_refresh(), prices.request_refresh()]
    publish(prices, {"a": 2})
    publish(prices, {"a": 3})  # its note names no request
    for each in made:
        assert each.wait(20)["a"] == 3
        assert each.wait(20)["a"] == 3


def test_many_wait_for_one_load(prices: Any, refreshed: Callable[[Any], None]) -> None:
    made = [prices.request_refresh() for _ in range(5)]
    waiting = [in_thread(lambda each=each: each.wait(20)["a"]) for each in made]  # type: ignore[misc]
    wait_until(lambda: len(live_state(prices).wakers) == 5, what="all of them")
    refreshed({"a": 2})
    for thread, answers in waiting:
        thread.join(20)
        assert answers == [2]
    assert prices.source.loads == 2


# --- why it may be in vain -------------------------------------------------------------------------------------------


def test_the_last_failure_is_told_as_soon_as_no_load_will_begin_in_time(prices: Any, wait: Any) -> None:
    prices.source.error = RuntimeError("the source is broken")
    made = prices.request_refresh()
    assert not prices.refresh().ok
    with pytest.raises(DeadlineExceeded, match=r"within 4 s: the last load failed: RuntimeError: the source is broken"):
        wait(made, 4)


def test_an_older_failure_is_no_reason_not_to_wait(prices: Any, refreshed: Callable[[Any], None]) -> None:
    prices.source.error = RuntimeError("was broken")
    assert not prices.refresh(force=True).ok
    prices.source.error = None
    refreshed({"a": 2})
    assert prices.request_refresh().wait(4)["a"] == 2


def test_requests_that_are_answered_later_than_one_waits(host: FakeHost, declare: Declare) -> None:
    prices = declare(request_every=timedelta(minutes=5))
    publish(prices)
    host.start_reader()
    prices.request_refresh()
    prices.refresh()
    with pytest.raises(DeadlineExceeded, match=r"the next load is due in \d+ s \(request_every\)"):
        prices.request_refresh().wait(20)


def test_who_loads_is_told(host: FakeHost, prices: Any) -> None:
    lock = host.kv.lock(prices.layout("t").lock)
    with lock, pytest.raises(DeadlineExceeded, match=r"within 0 s: being loaded by .+/\d+ since"):
        prices.request_refresh().wait(0)


def test_a_version_that_is_loaded_and_not_held_yet(host: FakeHost, declare: Declare) -> None:
    def prepare(self: Any, rows: Any) -> None:
        if threading.current_thread().name == "etcdaero-load" and rows["a"] == 2:
            raise ValueError("no index")

    prices = declare(prepare=prepare)
    publish(prices)
    host.start_reader()
    prices.wait_ready(20)
    made = prices.request_refresh()
    publish(prices, {"a": 2})
    wait_until(lambda: prices.status().error, what="the failure of the reader")
    with pytest.raises(
        DeadlineExceeded, match=r"version 2 was loaded, and this process does not hold it yet \(.*index"
    ):
        made.wait(0)


def test_while_readers_are_pinned_there_is_nothing_to_wait_for(prices: Any, wait: Any) -> None:
    publish(prices, {"a": 2})
    prices.rollback(1)
    made = prices.request_refresh()
    publish(prices, {"a": 3})
    with pytest.raises(DatasetNotReady, match=r"gave version 3, which is not served: readers are pinned to version 1"):
        wait(made, 20)
    prices.unpin()
    prices.refresh()
    assert wait(made, 20)["a"] == 3


def test_where_no_reader_may_run_it_is_told_at_once(host: FakeHost, declare: Declare, wait: Any) -> None:
    prices = declare()
    with pytest.raises(DatasetNotReady, match="no load can arrive in this process: no reader in this test"):
        wait(prices.request_refresh(), 20)


def test_a_store_that_is_away_is_told(host: FakeHost, prices: Any, wait: Any) -> None:
    made = prices.request_refresh()
    away(host)
    with pytest.raises(ClusterError):
        wait(made, 20)
    assert not live_state(prices).wakers


def test_blocking_in_an_event_loop_is_refused(prices: Any) -> None:
    async def main() -> None:
        request = await prices.arequest_refresh()
        with pytest.raises(InvalidRequest, match="'await request'"):
            request.wait(1)
        with pytest.raises(InvalidRequest, match=r"'await dataset\.arequest_refresh"):
            prices.request_refresh()

    asyncio.run(main())


def test_a_task_that_is_cancelled_waits_no_longer(prices: Any) -> None:
    async def main() -> None:
        task = asyncio.ensure_future((await prices.arequest_refresh()).await_(20))
        await asyncio.to_thread(wait_until, lambda: live_state(prices).wakers, what="the wait")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not live_state(prices).wakers


def test_rows_that_a_test_has_set_are_served_whatever_is_loaded(host: FakeHost, declare: Declare, wait: Any) -> None:
    prices = declare()
    with override_dataset(prices, {"a": 7}):
        assert wait(prices.request_refresh(), 20)["a"] == 7


# --- transactions ----------------------------------------------------------------------------------------------------


def commit(host: FakeHost) -> None:
    host.transaction, functions = None, [*host.at_commit]
    host.at_commit.clear()
    for function in functions:
        function()


def test_a_request_in_a_transaction_is_sent_at_the_commit(host: FakeHost, prices: Any, wait: Any) -> None:
    host.transaction = "default"
    made = prices.request_refresh()
    assert host.state(prices).pending is None
    assert "waits for the commit" in repr(made)
    with pytest.raises(RefreshInTransaction, match="wait for it after the block"):
        wait(made, 20)
    commit(host)
    assert host.state(prices).pending is not None
    assert "sent" in repr(made)
    publish(prices, {"a": 2})
    assert wait(made, 20)["a"] == 2


@pytest.mark.parametrize("seconds", [float("nan"), None, "10", True])
def test_what_is_no_number_of_seconds_is_refused_and_never_waited_for(prices: Any, wait: Any, seconds: Any) -> None:
    made = prices.request_refresh()
    with pytest.raises(InvalidRequest, match="timeout must be a number of seconds"):
        wait(made, seconds)


def test_after_a_rollback_there_was_no_request(host: FakeHost, prices: Any, wait: Any) -> None:
    host.transaction = "default"
    made = prices.request_refresh()
    host.transaction = None
    host.at_commit.clear()
    with pytest.raises(Cancelled, match="never sent: the transaction was rolled back"):
        wait(made, 20)
    assert "not sent" in repr(made)


def test_a_request_that_could_not_be_sent_at_the_commit(host: FakeHost, prices: Any, wait: Any) -> None:
    host.transaction = "default"
    made = prices.request_refresh()
    away(host)
    with pytest.raises(ClusterError):
        commit(host)
    assert "not sent" in repr(made)
    with pytest.raises(ClusterError):
        wait(made, 20)


def test_a_refresh_in_a_transaction_is_refused(host: FakeHost, prices: Any) -> None:
    host.transaction = "orders"
    with pytest.raises(RefreshInTransaction, match=r"database 'orders', .*Call request_refresh\(\) instead"):
        prices.refresh(force=True)
    assert prices.source.loads == 1
    assert prices.refresh(force=True, allow_in_atomic=True).ok
