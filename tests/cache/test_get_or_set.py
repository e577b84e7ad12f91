"""Loading: one at a time, nobody gets ``None`` instead, and what has expired stands in when loading fails."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import RecordTooBig
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import LOCATIONS, SHARED, MakeCache
from tests.programs import cache_loading
from tests.programs.cache_loading import line, say
from tests.waiting import wait_until

SHORT = 0.05
"""A timeout that tests wait for."""


@pytest.fixture(params=[Plain, Awaited])
def calls(request: pytest.FixtureRequest, cache: EtcdAeroCache) -> Any:
    return request.param(cache)


def failing() -> Any:
    raise LookupError("the source is away")


class Loader:
    """Loads numbers, counted, and not before it may."""

    def __init__(self, *, free: bool = True) -> None:
        self.count = 0
        self.begun = threading.Event()
        self.free = threading.Event()
        if free:
            self.free.set()

    def __call__(self) -> int:
        self.count += 1
        number = self.count
        self.begun.set()
        assert self.free.wait(30)
        return number

    async def awaited(self) -> int:
        self.count += 1
        number = self.count
        self.begun.set()
        while not self.free.is_set():
            await asyncio.sleep(0.005)
        return number


def expired(cache: Any, key: str, value: Any, **options: Any) -> None:
    """Let ``key`` have a value that has expired and is kept for a minute."""
    cache.get_or_set(key, lambda: value, SHORT, stale=60, **options)
    wait_until(lambda: cache.get(key) is None)


def locks(cache: EtcdAeroCache) -> list[bytes]:
    """Return the keys of the records that say that somebody loads."""
    return [key for key, _ in cache.get_client().scan() if key.startswith(b"cache/l")]


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
        while cache.stats()["waits"] < 60:
            await asyncio.sleep(0.005)
        loader.free.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [1] * 64
    assert loader.count == 1


def test_a_load_that_fails_is_made_by_another(make_cache: MakeCache) -> None:
    ready = threading.Event()
    count: list[int] = []

    def load() -> str:
        count.append(1)
        if len(count) == 1:
            assert ready.wait(30)
            raise LookupError
        return "v"

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(make_cache().get_or_set, "k", load)
        wait_until(lambda: count)
        second = threads.submit(make_cache().get_or_set, "k", load)
        wait_until(lambda: make_cache().stats()["waits"] >= 1)
        ready.set()
        with pytest.raises(LookupError):
            first.result(30)
        assert second.result(30) == "v"


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
    take = loading._take

    def after_the_other(request: Any) -> bytes | None:
        cache.delete("k")
        cache.get_or_set("k", lambda: "new", 300, stale=60, eager=eager)
        return take(request)

    monkeypatch.setattr(loading, "_take", after_the_other)
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


# --- what has expired ------------------------------------------------------------------------------------------------


def test_a_stale_value_stands_in_when_loading_fails(calls: Any) -> None:
    expired(calls, "k", "old")
    assert calls.get_or_set("k", failing, 60, stale=60) == "old"
    assert calls.get("k") == "old"  # for a while nobody tries again
    loader = Loader()
    assert calls.get_or_set("k", loader, 60, stale=60) == "old"
    assert loader.count == 0


def test_it_is_tried_again_after_a_while(make_cache: MakeCache) -> None:
    cache = make_cache(STALE_RETRY=0.1, STALE=60)
    cache.get_or_set("k", lambda: "old", SHORT)
    wait_until(lambda: cache.get("k") is None)
    assert cache.get_or_set("k", failing) == "old"
    wait_until(lambda: cache.get("k") is None)
    assert cache.get_or_set("k", failing) == "old"
    wait_until(lambda: cache.get("k") is None)
    assert cache.get_or_set("k", lambda: "new") == "new"
    assert cache.get("k") == "new"


@pytest.mark.slow
def test_failing_again_and_again_does_not_lengthen_the_stale_time(make_cache: MakeCache) -> None:
    cache = make_cache(STALE_RETRY=0.1)
    cache.get_or_set("k", lambda: "old", SHORT, stale=2)
    values = set()

    def given() -> bool:
        try:
            values.add(cache.get_or_set("k", failing, 60, stale=2))
        except LookupError:
            return False
        return True

    assert given()
    wait_until(lambda: not given(), 20, "the end of the stale value")
    assert values == {"old"}


def test_without_stale_what_has_expired_is_gone(calls: Any) -> None:
    calls.get_or_set("k", lambda: "old", SHORT)
    wait_until(lambda: calls.get("k") is None)
    with pytest.raises(LookupError):
        calls.get_or_set("k", failing, 60)
    calls.set("l", "old", SHORT)
    wait_until(lambda: calls.get("l") is None)
    with pytest.raises(LookupError):
        calls.get_or_set("l", failing, 60)


def test_no_other_method_sees_a_stale_value(calls: Any) -> None:
    for key in "abcde":
        expired(calls, key, 5)
    assert calls.has_key("a") is False
    assert calls.get_many(["a", "b"]) == {}
    assert calls.add("a", "new") is True
    assert calls.touch("b", 60) is False
    with pytest.raises(ValueError, match="not found"):
        calls.incr("c")
    assert calls.ttl("d") == 0
    assert calls.keys("[bcde]") == []
    assert calls.delete("e") is False
    with pytest.raises(LookupError):
        calls.get_or_set("e", failing, stale=60)


def test_a_stale_value_does_not_survive_clear_or_delete(calls: Any) -> None:
    for remove in (calls.clear, lambda: calls.delete("k")):
        expired(calls, "k", "old")
        remove()
        with pytest.raises(LookupError):
            calls.get_or_set("k", failing, 60, stale=60)


def test_an_invalidated_tag_leaves_the_stale_value_for_failures(calls: Any) -> None:
    calls.get_or_set("k", lambda: "old", 60, tags=["t"], stale=60)
    calls.invalidate_tags("t")
    assert calls.get("k") is None
    assert calls.get_or_set("k", failing, 60, tags=["t"], stale=60) == "old"
    calls.invalidate_tags("t")
    assert calls.get_or_set("k", lambda: "new", 60, tags=["t"], stale=60) == "new"


def test_a_stale_value_does_not_replace_what_was_stored_meanwhile(cache: EtcdAeroCache) -> None:
    def load() -> Any:
        cache.set("k", "new")
        raise LookupError

    expired(cache, "k", "old")
    assert cache.get_or_set("k", load, 60, stale=60) == "old"
    assert cache.get("k") == "new"


def test_who_does_not_load_is_given_the_stale_value(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    cache, slow = make_cache(), Loader(free=False)
    expired(cache, "k", "old")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(make_cache().get_or_set, "k", slow, 60, stale=60)
        assert slow.begun.wait(30)
        for other in (make_cache(), elsewhere()):
            for kind in (Plain(other), Awaited(other)):
                assert kind.get_or_set("k", failing, 60, stale=60) == "old"
        slow.free.set()
        assert first.result(30) == 1
    assert cache.get("k") == 1


Load = Callable[[], Any]


def both_forms(loader: Loader) -> tuple[Load, Load]:
    return loader, loader.awaited


def test_a_soft_timeout_gives_the_stale_value_and_finishes_in_the_background(cache: EtcdAeroCache) -> None:
    loader = Loader(free=False)
    expired(cache, "k", "old")
    assert cache.get_or_set("k", loader, 60, stale=60, soft_timeout=SHORT) == "old"
    assert loader.begun.wait(30)
    assert cache.get_or_set("k", failing, 60, stale=60, soft_timeout=SHORT) == "old"
    loader.free.set()
    wait_until(lambda: cache.get("k") == 1)
    assert loader.count == 1


@pytest.mark.parametrize("form", [0, 1], ids=["function", "coroutine function"])
def test_soft_timeouts_in_an_event_loop(cache: EtcdAeroCache, form: int) -> None:
    loader = Loader(free=False)

    async def main() -> None:
        load = both_forms(loader)[form]
        assert await cache.aget_or_set("k", load, 60, stale=60, soft_timeout=SHORT) == "old"
        assert await cache.aget_or_set("k", load, 60, stale=60, soft_timeout=SHORT) == "old"
        loader.free.set()
        while await cache.aget("k") != 1:
            await asyncio.sleep(0.005)

    expired(cache, "k", "old")
    asyncio.run(asyncio.wait_for(main(), 30))
    assert loader.count == 1


def test_a_fast_load_is_given_within_the_soft_timeout(calls: Any) -> None:
    expired(calls, "k", "old")
    assert calls.get_or_set("k", lambda: "new", 60, stale=60, soft_timeout=30) == "new"
    assert calls.get_or_set("none", lambda: "first", 60, stale=60, soft_timeout=0) == "first"


def test_a_load_in_the_background_that_fails_leaves_the_stale_value(cache: EtcdAeroCache) -> None:
    loader = Loader(free=False)

    def load() -> Any:
        loader()
        raise LookupError

    expired(cache, "k", "old")
    assert cache.get_or_set("k", load, 60, stale=60, soft_timeout=0) == "old"
    loader.free.set()
    wait_until(lambda: cache.get("k") == "old")


def test_an_eager_load_is_made_before_the_end(cache: EtcdAeroCache) -> None:
    loader = Loader()
    assert cache.get_or_set("k", loader, 300, eager=0.9) == 1
    assert cache.get_or_set("k", loader, 300, eager=0.9) == 1
    assert loader.count == 1
    assert cache.get_or_set("k", loader, 300, eager=1e-9) == 1
    wait_until(lambda: cache.get("k") == 2)


@pytest.mark.parametrize("form", [0, 1], ids=["function", "coroutine function"])
def test_eager_loads_in_an_event_loop(cache: EtcdAeroCache, form: int) -> None:
    loader = Loader()

    async def main() -> None:
        load = both_forms(loader)[form]
        assert await cache.aget_or_set("k", load, 300, eager=1e-9) == 1
        assert await cache.aget_or_set("k", load, 300, eager=1e-9) == 1
        while await cache.aget("k") == 1:
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_an_eager_load_that_fails_changes_nothing(cache: EtcdAeroCache) -> None:
    count: list[int] = []

    def load() -> Any:
        count.append(1)
        raise LookupError

    cache.get_or_set("k", lambda: "v", 300, eager=1e-9)
    assert cache.get_or_set("k", load, 300, eager=1e-9) == "v"
    wait_until(lambda: cache.stats()["load_errors"] == 1)
    wait_until(lambda: locks(cache) == [])
    for _ in range(3):  # it is not tried again at once
        assert cache.get_or_set("k", load, 300, eager=1e-9) == "v"
    assert (cache.ttl("k") or 0) > 280
    assert len(count) == 1


def test_a_value_without_end_has_no_eager_part(cache: EtcdAeroCache) -> None:
    loader = Loader()
    for _ in range(3):
        assert cache.get_or_set("k", loader, None, eager=1e-9) == 1
    assert cache.ttl("k") is None
    assert loader.count == 1
