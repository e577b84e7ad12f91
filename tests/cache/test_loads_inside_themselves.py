"""A function that loads a key and asks for that key is refused at once, and does not wait for itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import EtcdAeroError, RecursiveLoad
from tests.cache.conftest import MakeCache
from tests.cache.loaders import SHORT, expired, locks
from tests.waiting import wait_until


@pytest.fixture
def cache(make_cache: MakeCache) -> EtcdAeroCache:
    """Who waited for itself here would wait for longer than a test may."""
    return make_cache(LOAD_WAIT=600)


def refused(error: pytest.ExceptionInfo[RecursiveLoad], key: str = "k") -> None:
    assert isinstance(error.value, RuntimeError)
    assert isinstance(error.value, EtcdAeroError)
    assert f":1:{key}" in str(error.value)


def test_a_function_that_asks_for_itself(cache: EtcdAeroCache) -> None:
    def load() -> Any:
        return cache.get_or_set("k", load)

    with pytest.raises(RecursiveLoad) as error:
        cache.get_or_set("k", load)
    refused(error)
    assert locks(cache) == []
    assert cache.get_or_set("k", lambda: "v") == "v"


def test_through_other_keys_and_other_instances(cache: EtcdAeroCache, make_cache: MakeCache) -> None:
    other = make_cache(LOAD_WAIT=600)

    def one() -> Any:
        return other.get_or_set("two", two)

    def two() -> Any:
        return cache.get_or_set("three", three)

    def three() -> Any:
        return other.get_or_set("one", one)

    with pytest.raises(RecursiveLoad) as error:
        cache.get_or_set("one", one)
    refused(error, "one")


def test_a_coroutine_function_that_asks_for_itself(cache: EtcdAeroCache) -> None:
    async def load() -> Any:
        return await cache.aget_or_set("k", load)

    async def gathering() -> Any:
        return await asyncio.gather(cache.aget_or_set("k", gathering))

    async def through_a_thread() -> Any:
        return await sync_to_async(cache.get_or_set)("k", lambda: "v")

    def through_a_loop() -> Any:
        return async_to_sync(cache.aget_or_set)("k", lambda: "v")

    for each in (load, gathering, through_a_thread, through_a_loop):
        with pytest.raises(RecursiveLoad) as error:
            asyncio.run(cache.aget_or_set("k", each))
        refused(error)
    with pytest.raises(RecursiveLoad):
        cache.get_or_set("k", through_a_loop)


def test_other_keys_versions_and_prefixes_are_loaded(cache: EtcdAeroCache, make_cache: MakeCache) -> None:
    prefixed = make_cache({"KEY_PREFIX": "p"})

    def load() -> Any:
        return (
            cache.get_or_set("other", lambda: 1)
            + cache.get_or_set("k", lambda: 2, version=2)
            + prefixed.get_or_set("k", lambda: 3)
        )

    assert cache.get_or_set("k", load) == 6


def test_what_it_has_started_may_ask_when_it_is_done(cache: EtcdAeroCache) -> None:
    async def main() -> Any:
        tasks: list[asyncio.Task[Any]] = []
        go = asyncio.Event()

        async def later() -> Any:
            await go.wait()
            return await cache.aget_or_set("k", lambda: "again")

        async def load() -> str:
            tasks.append(asyncio.create_task(later()))
            return "v"

        assert await cache.aget_or_set("k", load) == "v"
        await cache.adelete("k")
        go.set()
        return await tasks[0]

    assert asyncio.run(main()) == "again"


def test_a_load_in_the_background_is_not_inside_of_what_began_it(cache: EtcdAeroCache) -> None:
    """It may wait for the load that began it, which does not wait for it."""
    answers: list[Any] = []

    def in_the_background() -> str:
        answers.append(cache.get_or_set("k", lambda: "not this one"))
        return "renewed"

    def load() -> Any:
        return cache.get_or_set("inner", in_the_background, 60, stale=60, soft_timeout=SHORT)

    expired(cache, "inner", "old")
    assert cache.get_or_set("k", load) == "old"
    wait_until(lambda: cache.get("inner") == "renewed")
    assert answers == ["old"]


def test_a_fresh_value_may_be_asked_for(cache: EtcdAeroCache) -> None:
    def renew() -> Any:
        return cache.get_or_set("k", lambda: 0) + 1

    cache.get_or_set("k", lambda: 1, 300, eager=1e-9)
    assert cache.get_or_set("k", renew, 300, eager=1e-9) == 1
    wait_until(lambda: cache.get("k") == 2)
