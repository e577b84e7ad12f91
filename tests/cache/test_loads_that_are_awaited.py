"""Whatever gives something to await loads for ``aget_or_set``, in the background too; ``get_or_set`` refuses it."""

from __future__ import annotations

import asyncio
import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from django_etcdaero.cache import EtcdAeroCache
from tests.cache.loaders import SHORT, Loader, expired, locks
from tests.waiting import wait_until


class AwaitedObject:
    """An object with an ``async def __call__``."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    async def __call__(self) -> int:
        return await self._loader.awaited()


class Awaitable:
    """Something to await that is no coroutine."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __await__(self) -> Any:
        return self._loader.awaited().__await__()


async def with_argument(loader: Loader) -> int:
    return await loader.awaited()


FORMS: dict[str, Callable[[Loader], Callable[[], Any]]] = {
    "coroutine function": lambda loader: loader.awaited,
    "function that returns a coroutine": lambda loader: lambda: loader.awaited(),
    "function that returns another awaitable": lambda loader: lambda: Awaitable(loader),
    "partial": lambda loader: functools.partial(with_argument, loader),
    "partial of a partial": lambda loader: functools.partial(functools.partial(with_argument), loader),
    "object": AwaitedObject,
    "sync_to_async": lambda loader: sync_to_async(loader),
    "partial of sync_to_async": lambda loader: functools.partial(sync_to_async(lambda one: one()), loader),
}


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def form(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_it_loads(cache: EtcdAeroCache, form: Any) -> None:
    loader = Loader()
    assert asyncio.run(cache.aget_or_set("k", form(loader), 60)) == 1
    assert cache.get("k") == 1
    assert asyncio.run(cache.aget_or_set("none", form(loader), 0)) == 2


def test_it_is_finished_in_the_background(cache: EtcdAeroCache, form: Any) -> None:
    loader = Loader(free=False)

    async def main() -> None:
        load = form(loader)
        assert await cache.aget_or_set("k", load, 60, stale=60, soft_timeout=SHORT) == "old"
        loader.free.set()
        while await cache.aget("k") != 1:
            await asyncio.sleep(0.005)

    expired(cache, "k", "old")
    asyncio.run(asyncio.wait_for(main(), 30))
    assert loader.count == 1
    assert cache.stats()["load_errors"] == 0


def test_it_loads_before_the_end(cache: EtcdAeroCache, form: Any) -> None:
    loader = Loader()

    async def main() -> None:
        load = form(loader)
        assert await cache.aget_or_set("k", load, 300, eager=1e-9) == 1
        assert await cache.aget_or_set("k", load, 300, eager=1e-9) == 1
        while await cache.aget("k") == 1:
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(main(), 30))
    assert cache.stats()["load_errors"] == 0


def test_a_loop_that_ends_ends_what_it_loads(cache: EtcdAeroCache, form: Any) -> None:
    loader = Loader(free=False)

    async def main() -> None:
        assert await cache.aget_or_set("k", form(loader), 60, stale=60, soft_timeout=SHORT) == "old"
        while not loader.begun.is_set():
            await asyncio.sleep(0.005)

    expired(cache, "k", "old")
    asyncio.run(main())
    loader.free.set()
    wait_until(lambda: not cache._core.loading._flights, what="the end of the load")
    wait_until(lambda: locks(cache) == [], what="its record being gone")


@pytest.mark.parametrize("timeout", [60, None, 0])
def test_nothing_awaits_it_in_get_or_set(cache: EtcdAeroCache, form: Any, timeout: Any) -> None:
    loader = Loader()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "was never awaited"
        with pytest.raises(TypeError, match=r"default must not .*await aget_or_set\(\)"):
            cache.get_or_set("k", form(loader), timeout)
    assert loader.count == 0
    assert cache.get("k", "none") == "none"
    assert locks(cache) == []


def test_a_coroutine_function_is_refused_beside_a_value_as_well(cache: EtcdAeroCache) -> None:
    cache.set("k", "v")
    with pytest.raises(TypeError, match="default"):
        cache.get_or_set("k", Loader().awaited)


@pytest.mark.parametrize("timeout", [60, 0])
def test_a_coroutine_is_no_default(cache: EtcdAeroCache, timeout: int) -> None:
    loader = Loader()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError, match="default must not be"):
            cache.get_or_set("k", loader.awaited(), timeout)
        with pytest.raises(TypeError, match="default must not be"):
            asyncio.run(cache.aget_or_set("k", loader.awaited(), timeout))
    assert loader.count == 0
