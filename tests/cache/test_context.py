"""What other threads do for a caller they do with its language, its time zone, and not in its transaction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.local import Local
from django.db import transaction
from django.utils import timezone, translation

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.runtime import runtime
from tests.cache.conftest import MakeCache
from tests.waiting import wait_until

tenant = Local()

Here = tuple[str | None, str, str | None]


def here() -> Here:
    return translation.get_language(), timezone.get_current_timezone_name(), getattr(tenant, "name", None)


@pytest.fixture
def visitor() -> Any:
    tenant.name = "acme"
    with translation.override("de"), timezone.override("Asia/Tokyo"):
        yield ("de", "Asia/Tokyo", "acme")
    del tenant.name


def by_tenant(key: str, prefix: str, version: int) -> str:
    return f"{prefix}:{version}:{getattr(tenant, 'name', '')}:{translation.get_language()}:{key}"


@pytest.fixture
def stale(cache: EtcdAeroCache) -> EtcdAeroCache:
    """A cache with a stale value under ``k``."""
    cache.get_or_set("k", lambda: "old", 0.001, stale=600)
    wait_until(lambda: cache.get("k") is None, what="the value being stale")
    return cache


@pytest.mark.parametrize("awaited", [False, True])
def test_a_load_that_goes_on_in_the_background(stale: EtcdAeroCache, visitor: Here, awaited: bool) -> None:
    threads: list[threading.Thread] = []

    def load() -> Here:
        threads.append(threading.current_thread())
        return here()

    if awaited:
        assert asyncio.run(stale.aget_or_set("k", load, 600, stale=600, soft_timeout=20)) == visitor
    else:
        assert stale.get_or_set("k", load, 600, stale=600, soft_timeout=20) == visitor
    assert threading.current_thread() not in threads


def test_an_early_load(cache: EtcdAeroCache, visitor: Here) -> None:
    cache.get_or_set("k", lambda: "old", 600, eager=0.9)
    assert cache.get_or_set("k", here, 600, eager=1e-9) == "old"
    wait_until(lambda: cache.get("k") != "old", what="the early load")
    assert cache.get("k") == visitor


def test_keys_that_are_made_for_a_call_that_is_awaited(make_cache: MakeCache, visitor: Here) -> None:
    cache = make_cache({"KEY_FUNCTION": by_tenant})
    cache.set("k", "v")

    async def read() -> tuple[object, object]:
        return await cache.aget("k"), await cache.aget_many(["k"])

    assert asyncio.run(read()) == ("v", {"k": "v"})


@pytest.fixture(params=["in a transaction", "in a test run"])
def bound(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Where a load must be made by its caller."""
    if request.param == "in a transaction":
        request.getfixturevalue("transactional_db")
        with transaction.atomic():
            yield
    else:
        monkeypatch.setattr(runtime.open_stores, "memory_only", True)
        yield


def loaded_by(cache: EtcdAeroCache, **options: Any) -> tuple[object, list[str]]:
    threads: list[str] = []

    def load() -> str:
        threads.append(threading.current_thread().name)
        return "new"

    return cache.get_or_set("k", load, 600, stale=600, **options), threads


@pytest.mark.usefixtures("bound")
def test_a_soft_timeout_waits(stale: EtcdAeroCache) -> None:
    assert loaded_by(stale, soft_timeout=0) == ("new", [threading.current_thread().name])


@pytest.mark.usefixtures("bound")
def test_nothing_is_loaded_early(cache: EtcdAeroCache, started: Callable[[], set[str]]) -> None:
    cache.get_or_set("k", lambda: "old", 600, eager=0.9)
    assert loaded_by(cache, eager=1e-9) == ("old", [])
    assert "etcdaero-cache-load" not in started()
