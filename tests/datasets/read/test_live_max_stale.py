"""Rows that are too old are refused and come back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.exceptions import DatasetStale
from tests.datasets.hosting import FakeHost, in_thread
from tests.datasets.read.reading import ACCESSES, Reading, each_access, snapshot
from tests.waiting import wait_until


@each_access
def test_too_old_rows_are_refused_and_come_back(host: FakeHost, declare: Any, reading: Reading, access: Any) -> None:
    prices = declare(first_read_timeout=1e6)
    loaded = snapshot({"a": 1}, index="made")
    live_state(prices).install(loaded)
    expected = access(prices) if access is not ACCESSES["snapshot"] else loaded
    live_state(prices).refuse("read an hour ago")
    with pytest.raises(DatasetStale, match="'prices' is too old to be used: read an hour ago"):
        access(prices)
    live_state(prices).refuse(None)
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
        live_state(prices).refuse(None)
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
