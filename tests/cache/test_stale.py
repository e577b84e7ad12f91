"""What has expired stands in when loading fails or takes long; what will expire is loaded in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from django_etcdaero.cache import EtcdAeroCache
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import MakeCache
from tests.cache.loaders import SHORT, Loader, expired, failing, locks
from tests.waiting import wait_until


@pytest.fixture(params=[Plain, Awaited])
def calls(request: pytest.FixtureRequest, cache: EtcdAeroCache) -> Any:
    return request.param(cache)


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
