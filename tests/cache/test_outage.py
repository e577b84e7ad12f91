"""A store that is away: what a cache raises, and what it does where errors are ignored."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, EtcdAeroError, OutcomeUnknown
from tests.records.aerospike.line import Line
from tests.records.aerospike.serving import SET, Served, served
from tests.waiting import wait_until

TIMEOUT = 0.3


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as server:
        yield server


@pytest.fixture
def line(server: Served) -> Iterator[Line]:
    with Line((server.host, server.port)) as line:
        yield line


class Site:
    """Two processes' views of one store: one through a line that can be cut, one that always works."""

    def __init__(self, server: Served, line: Line) -> None:
        self._server, self._line = server, line

    def cut_off(self, **options: Any) -> EtcdAeroCache:
        location = f"aerospike://{self._line.host}:{self._line.port}/{self._server.namespace}/{SET}"
        return EtcdAeroCache(location, {"OPTIONS": {"CALL_TIMEOUT": TIMEOUT, "STAMP_MAX_AGE": 60, **options}})

    def elsewhere(self) -> EtcdAeroCache:
        location = f"aerospike://{self._server.host}:{self._server.port}/{self._server.namespace}/{SET}"
        return EtcdAeroCache(location, {"OPTIONS": {"STAMP_MAX_AGE": 0}})


@pytest.fixture
def site(server: Served, line: Line) -> Site:
    return Site(server, line)


CALLS = {
    "get": lambda cache: cache.get("k"),
    "has_key": lambda cache: cache.has_key("k"),
    "get_many": lambda cache: cache.get_many(["k"]),
    "set": lambda cache: cache.set("k", 2),
    "set_many": lambda cache: cache.set_many({"k": 2}),
    "delete": lambda cache: cache.delete("k"),
    "delete_many": lambda cache: cache.delete_many(["k"]),
    "touch": lambda cache: cache.touch("k", 20),
    "touch_many": lambda cache: cache.touch_many(["k"], 20),
    "ttl": lambda cache: cache.ttl("k"),
    "keys": lambda cache: cache.keys(),
    "delete_pattern": lambda cache: cache.delete_pattern("*"),
    "clear": lambda cache: cache.clear(),
    "invalidate_tags": lambda cache: cache.invalidate_tags("t"),
}
INSISTING = {
    "add": lambda cache: cache.add("k", 2),
    "nx": lambda cache: cache.set("k", 2, nx=True),
    "incr": lambda cache: cache.incr("n"),
    "decr": lambda cache: cache.decr("n"),
}


def test_every_call_raises_in_its_time(site: Site, line: Line) -> None:
    cache = site.cut_off()
    cache.set("k", 1)
    line.freeze()
    for name, call in {**CALLS, **INSISTING}.items():
        started = time.monotonic()
        with pytest.raises((DeadlineExceeded, OutcomeUnknown, ClusterError)):
            call(cache)
        # Some calls ask twice; none waits for more than its calls may take.
        assert time.monotonic() - started < 10 * TIMEOUT, name
    line.thaw()


def test_a_cache_that_ignores_errors_counts_as_empty(site: Site, line: Line, caplog: pytest.LogCaptureFixture) -> None:
    cache = site.cut_off(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=3600)
    cache.set("k", 1)
    line.freeze()
    with caplog.at_level(logging.WARNING, "django_etcdaero.cache"):
        answers = {name: call(cache) for name, call in CALLS.items()}
        assert cache.get_or_set("k", lambda: 5, 60) == 5
        assert asyncio.run(cache.aget("k", "none")) == "none"
    assert answers == {
        "get": None,
        "has_key": False,
        "get_many": {},
        "set": None,
        "set_many": ["k"],
        "delete": False,
        "delete_many": 0,
        "touch": False,
        "touch_many": 0,
        "ttl": 0,
        "keys": [],
        "delete_pattern": 0,
        "clear": None,
        "invalidate_tags": None,
    }
    for call in INSISTING.values():
        with pytest.raises(EtcdAeroError):
            call(cache)
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 1
    line.thaw()


def test_a_dead_store_costs_one_timeout_and_then_nothing(site: Site, line: Line) -> None:
    cache = site.cut_off(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=3600)
    cache.set("k", 1)
    line.freeze()
    assert cache.get("k") is None
    asked = cache.stats()["errors"]
    for _ in range(1000):
        assert cache.get("k") is None
    assert cache.stats()["errors"] == asked == 1
    assert cache.stats()["ignored"] >= 1000
    line.thaw()


def test_only_the_first_call_meets_it_the_store_is_looked_at_in_the_background(site: Site, line: Line) -> None:
    cache = site.cut_off(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.01)
    cache.set("k", 1)
    line.freeze()
    assert cache.get("k") is None
    asked: list[str] = []
    value = cache._core.entries.value

    def noted(*args: Any) -> Any:
        asked.append(threading.current_thread().name)
        return value(*args)

    cache._core.entries.value = noted  # type: ignore[method-assign]
    wait_until(lambda: cache.get("k") is None and cache.stats()["errors"] >= 3, 30, "the store being looked at twice")
    assert asked == []
    line.thaw()
    wait_until(lambda: cache.get("k") == 1, what="the store being found again")


def test_it_goes_on_by_itself_when_the_store_is_back(site: Site, line: Line) -> None:
    cache = site.cut_off(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.05)
    cache.set("k", 1)
    line.freeze()
    assert cache.get("k") is None
    line.thaw()
    wait_until(lambda: cache.get("k") == 1, what="the store being asked again")
    assert cache.add("new", 1)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda cache: cache.set("k", 2), id="set"),
        pytest.param(lambda cache: cache.set_many({"k": 2}), id="set_many"),
        pytest.param(lambda cache: cache.delete("k"), id="delete"),
        pytest.param(lambda cache: cache.delete_many(["k"]), id="delete_many"),
        pytest.param(lambda cache: cache.touch("k", 0), id="touch"),
        pytest.param(lambda cache: cache.invalidate_tags("t"), id="invalidate_tags"),
        pytest.param(lambda cache: cache.clear(), id="clear"),
    ],
)
def test_what_was_changed_in_an_outage_is_not_seen_after_it(site: Site, line: Line, change: Any) -> None:
    cache, elsewhere = site.cut_off(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.05), site.elsewhere()
    cache.set("k", 1, None, tags=["t"])
    cache.set("other", 1, None)
    assert elsewhere.get("k") == 1
    line.freeze()
    change(cache)
    line.thaw()
    wait_until(lambda: cache.get_or_set("probe", lambda: 1, 60) and cache.has_key("probe"), what="the store being back")
    assert cache.get("k") is None
    assert elsewhere.get("k") is None


def test_more_deletions_than_can_be_remembered_clear_the_cache(site: Site, line: Line) -> None:
    cache, elsewhere = site.cut_off(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.05), site.elsewhere()
    cache.set("k", 1, None)
    line.freeze()
    for start in range(0, 11_000, 1000):
        cache.delete_many([f"key-{number}" for number in range(start, start + 1000)])
    line.thaw()
    wait_until(lambda: cache.get_or_set("probe", lambda: 1, 60) and cache.has_key("probe"), what="the store being back")
    assert cache.get("k") is None
    assert elsewhere.get("k") is None


def test_loading_raises_when_the_store_is_away(site: Site, line: Line) -> None:
    cache = site.cut_off()
    line.freeze()
    with pytest.raises(EtcdAeroError):
        cache.get_or_set("k", lambda: 1, 60)
    line.thaw()


def test_a_namespace_that_does_not_exist_is_named(server: Served) -> None:
    cache = EtcdAeroCache(f"aerospike://{server.host}:{server.port}/nowhere/{SET}", {})
    with pytest.raises(EtcdAeroError, match="nowhere"):
        cache.set("k", 1)
    with pytest.raises(EtcdAeroError, match="nowhere"):
        cache.get("k")


def test_tasks_that_find_no_thread_count_the_cache_as_empty(site: Site, line: Line) -> None:
    cache = site.cut_off(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=3600)
    cache.set("k", 1)
    line.freeze()

    async def main() -> list[int]:
        async def load() -> int:
            return 5

        return await asyncio.gather(*(cache.aget_or_set(f"k{number}", load, 60) for number in range(40)))

    assert asyncio.run(main()) == [5] * 40
    line.thaw()
