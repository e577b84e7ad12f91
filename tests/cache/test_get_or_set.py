"""Loading: one at a time, and nobody gets ``None`` instead."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import RecordTooBig
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import LOCATIONS, SHARED, MakeCache
from tests.cache.loaders import Loader, expired, failing, locks
from tests.programs import cache_loading
from tests.programs.cache_loading import line, say
from tests.waiting import wait_until


@pytest.fixture(params=[Plain, Awaited])
def calls(request: pytest.FixtureRequest, cache: EtcdAeroCache) -> Any:
    return request.param(cache)


# --- what it returns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 0, False, "", 5, {"a": 1}])
def test_a_value_is_loaded_once(calls: Any, value: Any) -> None:
    count: list[int] = []

    def load() -> Any:
        count.append(1)
        return value

    for _ in range(3):
        assert calls.get_or_set("k", load, 60) == value
    assert calls.get("k", "none") == value
    assert len(count) == 1
    assert 58 <= calls.ttl("k") <= 60


@pytest.mark.parametrize("default", ["v", None, 5])
def test_a_value_may_be_given_as_it_is(calls: Any, default: Any) -> None:
    assert calls.get_or_set("k", default, 60) == default
    assert calls.get_or_set("k", "other") == default
    assert calls.get("k", "none") == default


def test_a_timeout_of_nothing_loads_each_time(calls: Any) -> None:
    loader = Loader()
    assert [calls.get_or_set("k", loader, 0) for _ in range(2)] == [1, 2]
    assert calls.get("k") is None
    assert calls.get_or_set("k", "v", 0) == "v"
    calls.set("k", "there")
    assert calls.get_or_set("k", loader, 0) == "there"


def test_what_loading_raises_is_raised_and_nothing_is_stored(calls: Any) -> None:
    with pytest.raises(LookupError):
        calls.get_or_set("k", failing)
    assert calls.get("k") is None
    assert calls.get_or_set("k", lambda: "v") == "v"  # nobody thinks that somebody loads


def test_a_value_that_is_too_large_is_given_but_not_stored(make_cache: MakeCache) -> None:
    cache = make_cache(MAX_VALUE_BYTES=1024)
    large = "x" * 2000
    for kind in (Plain(cache), Awaited(cache)):
        assert kind.get_or_set("k", lambda: large) == large
        assert kind.get_or_set("k", large) == large
        assert kind.get("k") is None
        with pytest.raises(RecordTooBig):
            kind.add("k", large)


def test_a_value_that_cannot_be_serialized_is_an_error_that_leaves_nothing_behind(calls: Any) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        calls.get_or_set("k", lambda: lambda: None)
    assert calls.get_or_set("k", lambda: "v") == "v"


@pytest.mark.parametrize("options", [{"eager": 0}, {"eager": 1.5}, {"jitter": 1}, {"stale": -1}, {"soft_timeout": -1}])
def test_options_out_of_range_are_refused(calls: Any, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        calls.get_or_set("k", lambda: "v", **options)


def test_a_coroutine_function_is_refused_where_nothing_awaits(cache: EtcdAeroCache) -> None:
    loader = Loader()
    with pytest.raises(TypeError, match="aget_or_set"):
        cache.get_or_set("k", loader.awaited)
    assert asyncio.run(cache.aget_or_set("k", loader.awaited)) == 1
    assert asyncio.run(cache.aget_or_set("l", lambda: loader.awaited())) == 2


# --- one load for all ------------------------------------------------------------------------------------------------


def test_many_threads_make_one_load(make_cache: MakeCache) -> None:
    loader = Loader(free=False)
    with ThreadPoolExecutor(16) as threads:
        # An instance for each thread, as Django has it.
        answers = [threads.submit(make_cache().get_or_set, "k", loader, 60) for _ in range(16)]
        assert loader.begun.wait(30)
        wait_until(lambda: make_cache().stats()["waits"] >= 1)
        loader.free.set()
        assert {answer.result(30) for answer in answers} == {1}
    assert loader.count == 1


def test_many_tasks_make_one_load(cache: EtcdAeroCache) -> None:
    loader = Loader(free=False)

    async def main() -> list[int]:
        tasks = [asyncio.create_task(cache.aget_or_set("k", loader.awaited, 60)) for _ in range(64)]
        while cache.stats()["waits"] < 60 and not any(task.done() for task in tasks):
            await asyncio.sleep(0.005)
        loader.free.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [1] * 64
    assert loader.count == 1


def test_who_waits_too_long_loads_without_waiting_any_more(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    slow = Loader(free=False)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(elsewhere().get_or_set, "k", slow)
        assert slow.begun.wait(30)
        for cache in (elsewhere(LOAD_WAIT=0.05), make_cache(LOAD_WAIT=0)):
            assert cache.get_or_set("k", lambda: "own") == "own"
            cache.delete("k")
        slow.free.set()
        assert first.result(30) == 1


def test_who_waits_too_long_for_another_thread_loads_as_well(make_cache: MakeCache) -> None:
    slow = Loader(free=False)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(make_cache(LOAD_WAIT=0.05).get_or_set, "k", slow)
        assert slow.begun.wait(30)
        assert make_cache(LOAD_WAIT=0.05).get_or_set("k", lambda: "own") == "own"
        slow.free.set()
        assert first.result(30) == 1


@pytest.mark.parametrize("eager", [None, 1e-9])
def test_what_another_process_has_just_loaded_is_not_loaded_again(
    make_cache: MakeCache, elsewhere: MakeCache, monkeypatch: pytest.MonkeyPatch, eager: float | None
) -> None:
    cache, late, loader = make_cache(), elsewhere(), Loader()
    if eager is None:
        expired(cache, "k", "old")
    else:
        cache.get_or_set("k", lambda: "old", 300, eager=eager)
    loading = late._core.loading
    take = loading._claims.take

    def after_the_other(request: Any) -> bytes | None:
        cache.delete("k")
        cache.get_or_set("k", lambda: "new", 300, stale=60, eager=eager)
        return take(request)

    monkeypatch.setattr(loading._claims, "take", after_the_other)
    assert late.get_or_set("k", loader, 300, stale=60, eager=eager) == ("new" if eager is None else "old")
    wait_until(lambda: not loading._flights)
    assert loader.count == 0
    assert cache.get("k") == "new"
    assert locks(cache) == []


def test_others_wait_for_the_load_of_another_process(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    slow = Loader(free=False)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(elsewhere().get_or_set, "k", slow)
        assert slow.begun.wait(30)
        waiting = elsewhere()
        second = threads.submit(waiting.get_or_set, "k", failing)
        wait_until(lambda: waiting.stats()["waits"] == 1)
        slow.free.set()
        assert first.result(30) == second.result(30) == 1


def test_a_load_ends_when_its_task_is_cancelled(cache: EtcdAeroCache) -> None:
    loader = Loader(free=False)

    async def main() -> Any:
        task = asyncio.create_task(cache.aget_or_set("k", loader.awaited))
        while not loader.begun.is_set():
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return await cache.aget_or_set("k", lambda: "v")

    assert asyncio.run(main()) == "v"


def test_who_takes_longer_than_the_load_timeout_writes_nothing(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    cache, other = make_cache(), elsewhere()
    store = cache.get_client()

    def load() -> str:
        (lock,) = locks(cache)
        store.delete(lock)  # its time is over
        assert other.get_or_set("k", lambda: "newer") == "newer"
        return "older"

    assert cache.get_or_set("k", load) == "older"
    assert cache.get("k") == other.get("k") == "newer"


def test_the_lock_of_somebody_else_is_not_released(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    cache, store = make_cache(), make_cache().get_client()

    def load() -> str:
        (lock,) = locks(cache)
        store.put(lock, b"of somebody else", ttl=60)
        return "v"

    assert cache.get_or_set("k", load) == "v"
    assert len(locks(cache)) == 1
    assert cache.get("k") is None
    # Who waits for it in vain loads, and nobody is stuck for ever: the lock has a time to live.
    assert elsewhere(LOAD_WAIT=0.05).get_or_set("k", lambda: "own") == "own"
    (lock,) = locks(cache)
    meta = store.exists(lock)
    assert meta is not None
    assert meta.ttl is not None


def test_a_lock_is_gone_when_the_write_fails(cache: EtcdAeroCache) -> None:
    with pytest.raises(TypeError):
        cache.get_or_set("k", lambda: threading.Lock())
    assert locks(cache) == []


@pytest.mark.parametrize("method", ["clear", "delete", "delete_many", "touch"])
def test_what_is_removed_while_it_is_loaded_is_not_written(
    make_cache: MakeCache, elsewhere: MakeCache, method: str
) -> None:
    arguments = {"clear": (), "delete": ("k",), "delete_many": (["k", "l"],), "touch": ("k", 0)}[method]
    cache = make_cache()
    for other in (cache, elsewhere()):

        def load(other: EtcdAeroCache = other) -> str:
            getattr(other, method)(*arguments)
            return "old"

        assert cache.get_or_set("k", load) == "old"
        if other is cache or method != "clear":  # others see a clear a moment later
            assert cache.get("k") is None
        assert other.get("k") is None
        assert cache.get_or_set("l", lambda: "v") == "v"
        cache.clear()


# --- several processes -----------------------------------------------------------------------------------------------


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest) -> Iterator[str]:
    """A location that several processes share."""
    yield from LOCATIONS[request.param](request)


@pytest.mark.slow
def test_many_processes_make_one_load(shared: str, tmp_path: Path) -> None:
    noted = tmp_path / "loads"
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(cache_loading.child(cache_loading.load_once, shared, "k", noted)) for _ in range(6)
        ]
        for child in children:
            assert line(child) == "ready"
        for child in children:
            say(child)
        wait_until(noted.exists, 30, "a load")
        for child in children:  # the one that loads takes it for the end of its load
            say(child)
        assert [line(child) for child in children] == ["value"] * 6
    assert noted.read_text() == "loaded\n"


@pytest.mark.slow
def test_the_death_of_who_loads_holds_nobody_up_for_long(shared: str) -> None:
    cache = EtcdAeroCache(shared, {"OPTIONS": {"LOAD_WAIT": 0.2}})
    with cache_loading.child(cache_loading.hold_the_load, shared, "k") as process:
        assert line(process) == "loading"
        process.kill()
        process.wait(30)
        assert cache.get_or_set("k", lambda: "own") == "own"
        assert cache.get("k") == "own"
