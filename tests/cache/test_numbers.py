"""Counting: atomically, whatever the number, and without a change of its timeout."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import StoreBusy
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import LOCATIONS, SHARED, MakeCache
from tests.programs import cache_loading
from tests.programs.cache_loading import line, say
from tests.waiting import wait_until

LARGEST = 2**63 - 1
NUMBERS = [0, 1, -1, LARGEST, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**50, True, False, 1.5, 5e300]


@pytest.fixture(params=[Plain, Awaited])
def calls(request: pytest.FixtureRequest, cache: EtcdAeroCache) -> Any:
    return request.param(cache)


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_a_number_is_read_as_it_was_written(cache: EtcdAeroCache, number: Any) -> None:
    cache.set("k", number)
    cache.set("tagged", number, tags=["t"])
    cache.set("short", number, 5.5)
    for key in ("k", "tagged", "short"):
        assert cache.get(key) == number
        assert type(cache.get(key)) is type(number)
    assert cache.get_or_set("loaded", lambda: number, 60, stale=60) == number
    assert type(cache.get("loaded")) is type(number)


def test_a_bool_is_no_int_beside_it(cache: EtcdAeroCache) -> None:
    cache.set_many({"true": True, "one": 1, "zero": 0, "false": False})
    assert {key: repr(value) for key, value in cache.get_many(["true", "one", "zero", "false"]).items()} == {
        "true": "True",
        "one": "1",
        "zero": "0",
        "false": "False",
    }


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
@pytest.mark.parametrize("delta", [1, -1, 2**63, 2**70, -(2**64), True])
def test_sums_are_those_of_python(cache: EtcdAeroCache, number: Any, delta: int) -> None:
    for key, options in (("k", {}), ("tagged", {"tags": ["t"]}), ("short", {"timeout": 60.5})):
        cache.set(key, number, **options)
        assert cache.incr(key, delta) == number + delta
        assert cache.get(key) == number + delta
        assert cache.decr(key, delta) == number + delta - delta
        assert cache.get(key) == number + delta - delta


@pytest.mark.parametrize("number", [5, LARGEST, 2**70, 1.5])
def test_the_timeout_stays(calls: Any, number: Any) -> None:
    calls.set("k", number, 100)
    calls.touch("k", 50)
    calls.set("ever", number, None)
    calls.set("short", number, 8.5)
    for _ in range(3):
        for key in ("k", "ever", "short"):
            calls.incr(key)
    assert 47 <= calls.ttl("k") <= 51
    assert calls.ttl("ever") is None
    assert calls.pttl("short") <= 8500


@pytest.mark.slow
@pytest.mark.parametrize("number", [2**70, 1.5])
def test_counting_all_the_time_does_not_keep_an_entry_for_ever(cache: EtcdAeroCache, number: Any) -> None:
    cache.set("k", number, 10)
    cache.incr("k")
    first = cache.pttl("k")
    assert first is not None
    wait_until(lambda: cache.incr("k") and (cache.pttl("k") or 0) < first - 1500)


def test_what_is_not_there_cannot_be_counted(calls: Any) -> None:
    for call in (calls.incr, calls.decr):
        with pytest.raises(ValueError, match="'k' not found"):
            call("k")
    calls.set("k", 5)
    calls.delete("k")
    with pytest.raises(ValueError, match="'k' not found"):
        calls.incr("k")
    assert calls.get("k") is None


@pytest.mark.parametrize("value", ["5", None, b"5", [5]])
def test_what_is_no_number_cannot_be_counted(calls: Any, value: Any) -> None:
    calls.set("k", value)
    with pytest.raises(TypeError):
        calls.incr("k")
    assert calls.get("k") == value


@pytest.mark.parametrize("start", [0, LARGEST - 30])
def test_threads_count_together(make_cache: MakeCache, start: int) -> None:
    make_cache().set("k", start, 600)

    def count() -> None:
        cache = make_cache()
        for _ in range(10):
            cache.incr("k")

    with ThreadPoolExecutor(6) as threads:
        for future in [threads.submit(count) for _ in range(6)]:
            future.result(60)
    assert make_cache().get("k") == start + 60


@pytest.mark.parametrize("options", [{"tags": ["t"]}, {"timeout": 600.5}], ids=["tagged", "fraction"])
def test_many_threads_count_what_the_store_cannot(make_cache: MakeCache, options: dict[str, Any]) -> None:
    make_cache(CALL_TIMEOUT=60).set("k", 0, **options)
    ready = threading.Barrier(16)

    def count(_: int) -> None:
        cache = make_cache(CALL_TIMEOUT=60)
        ready.wait(30)
        for _ in range(10):
            cache.incr("k")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(count, range(16)))
    assert make_cache().get("k") == 160


def test_a_number_that_others_change_all_the_time_is_an_error_in_time(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(CALL_TIMEOUT=0.2)
    cache.set("k", 1, tags=["t"])
    entries = cache._core.entries
    put = entries._put
    tries: list[int] = []

    def overtaken(record_key: bytes, *args: Any) -> None:
        record = cache.get_client().get(record_key)
        assert record is not None
        cache.get_client().put(record_key, record.value)
        tries.append(1)
        put(record_key, *args)

    monkeypatch.setattr(entries, "_put", overtaken)
    with pytest.raises(StoreBusy, match=":1:k"):
        cache.incr("k")
    assert len(tries) > 3
    monkeypatch.setattr(entries, "_put", put)
    assert cache.incr("k") == 2


def test_of_all_threads_that_add_one_does(make_cache: MakeCache) -> None:
    for value in ("v", 5):
        for before in (False, True):
            cache = make_cache()
            cache.delete("k")
            if before:  # something that does not count any more
                cache.set("k", "old", 60, tags=["t"])
                cache.invalidate_tags("t")
            with ThreadPoolExecutor(6) as threads:
                added = list(threads.map(lambda number, value=value: make_cache().add("k", value), range(6)))  # type: ignore[misc]
            assert added.count(True) == 1


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest) -> Iterator[str]:
    """A location that several processes share."""
    yield from LOCATIONS[request.param](request)


@pytest.mark.slow
def test_processes_count_together(shared: str) -> None:
    cache = EtcdAeroCache(shared, {})
    cache.set("k", 0, 1000)
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(cache_loading.child(cache_loading.increment, shared, "k", 50)) for _ in range(3)
        ]
        for child in children:
            assert line(child) == "ready"
        for child in children:
            say(child)
        for _ in range(50):
            cache.incr("k")
        assert [line(child) for child in children] == ["done"] * 3
    assert cache.get("k") == 200
    assert (cache.ttl("k") or 0) > 800
