"""A load that fails is made once for all who wait for it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from django_etcdaero.cache import EtcdAeroCache
from tests.cache.conftest import MakeCache
from tests.cache.loaders import expired
from tests.waiting import wait_until


class SourceAway(Exception):
    """What a source of the project raises; it has more than its message."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
        self.hint = "try again"


class Peculiar(Exception):
    """One whose class takes other arguments than it has."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Source:
    """Fails with ``error``, when it may."""

    def __init__(self, error: Exception) -> None:
        self.count = 0
        self.may = threading.Event()
        self._error = error

    def __call__(self) -> Any:
        self.count += 1
        assert self.may.wait(30)
        raise self._error

    async def awaited(self) -> Any:
        self.count += 1
        while not self.may.is_set():
            await asyncio.sleep(0.005)
        raise self._error


@pytest.mark.parametrize("error", [SourceAway(503), Peculiar(code=503)], ids=lambda error: type(error).__name__)
def test_threads_that_wait_are_told_the_same(make_cache: MakeCache, error: Any) -> None:
    source, count = Source(error), 16
    with ThreadPoolExecutor(count) as threads:
        loads = [threads.submit(make_cache().get_or_set, "k", source) for _ in range(count)]
        wait_until(lambda: make_cache().stats()["waits"] == count - 1)
        source.may.set()
        failures = [_failure(load) for load in loads]
    assert source.count == 1
    assert {type(each) for each in failures} == {type(error)}
    assert {each.code for each in failures} == {503}
    # The traceback of the load is in each, and no two threads write to one exception.
    assert all(error in (each, each.__cause__) for each in failures)
    assert len({id(each) for each in failures}) == count
    assert {str(each) for each in failures} == {str(error)}
    assert make_cache().get_or_set("k", lambda: "v") == "v"  # who comes later tries


def _failure(load: Future[Any]) -> Any:
    error = load.exception(30)
    assert error is not None
    return error


def test_tasks_that_wait_are_told_the_same(cache: EtcdAeroCache) -> None:
    source = Source(SourceAway(503))

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(cache.aget_or_set("k", source.awaited)) for _ in range(64)]
        while cache.stats()["waits"] < 63:
            await asyncio.sleep(0.005)
        source.may.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    failures = asyncio.run(main())
    assert source.count == 1
    assert {(type(each), each.hint) for each in failures} == {(SourceAway, "try again")}


def test_a_value_that_cannot_be_stored_is_told_to_all(make_cache: MakeCache) -> None:
    may = threading.Event()
    count: list[int] = []

    def load() -> Any:
        count.append(1)
        assert may.wait(30)
        return threading.Lock()

    with ThreadPoolExecutor(8) as threads:
        loads = [threads.submit(make_cache().get_or_set, "k", load) for _ in range(8)]
        wait_until(lambda: make_cache().stats()["waits"] == 7)
        may.set()
        assert {type(_failure(load)) for load in loads} == {TypeError}
    assert len(count) == 1


def test_who_waits_in_another_process_tries_once(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    here, there = Source(SourceAway(1)), Source(SourceAway(2))
    there.may.set()
    waiting = elsewhere()
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(make_cache().get_or_set, "k", here)
        wait_until(lambda: here.count == 1)
        others = [threads.submit(waiting.get_or_set, "k", there) for _ in range(8)]
        wait_until(lambda: waiting.stats()["waits"] == 8)
        here.may.set()
        assert _failure(first).code == 1
        assert {_failure(other).code for other in others} == {2}
    assert (here.count, there.count) == (1, 1)


def test_a_load_that_was_cancelled_is_made_by_another(cache: EtcdAeroCache) -> None:
    source = Source(SourceAway(503))

    async def main() -> Any:
        first = asyncio.create_task(cache.aget_or_set("k", source.awaited))
        while not source.count:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(cache.aget_or_set("k", lambda: "v"))
        while cache.stats()["waits"] < 1:
            await asyncio.sleep(0.005)
        first.cancel()
        return await second

    assert asyncio.run(main()) == "v"


def test_with_a_stale_value_nobody_is_told_of_it(make_cache: MakeCache) -> None:
    cache, source = make_cache(), Source(SourceAway(503))
    expired(cache, "k", "old")
    with ThreadPoolExecutor(8) as threads:
        loads = [threads.submit(make_cache().get_or_set, "k", source, 60, stale=60) for _ in range(8)]
        wait_until(lambda: source.count == 1)
        source.may.set()
        assert {load.result(30) for load in loads} == {"old"}
    assert source.count == 1


def test_a_load_that_never_ends_does_not_hold_up_its_process(make_cache: MakeCache) -> None:
    stuck = Source(SourceAway(503))
    options = {"LOAD_TIMEOUT": 1, "LOAD_WAIT": 0.05}
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(make_cache(**options).get_or_set, "k", stuck)
        wait_until(lambda: stuck.count == 1)
        # Whoever gives up waiting stores nothing; after LOAD_TIMEOUT somebody loads for all again.
        wait_until(
            lambda: make_cache(**options).get_or_set("k", lambda: "v") == "v" and make_cache().get("k") == "v",
            what="a load that is stored",
        )
        stuck.may.set()
        assert _failure(first).code == 503
    assert make_cache().get("k") == "v"
