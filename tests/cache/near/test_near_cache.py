"""The backend with ``OPTIONS["NEAR"]``: answers without the store and without a thread, and the options themselves."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_etcdaero.cache import EtcdAeroCache, core, notices, options
from django_etcdaero.cache.near_entries import NearEntries
from django_etcdaero.cache.options import NearOptions
from django_etcdaero.exceptions import ClusterError, ConfigurationError
from django_etcdaero.keyvalue.client.watch import ResyncReason
from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.runtime import runtime
from django_etcdaero.testing.faults import interruptible_watches
from tests.waiting import wait_until

pytestmark = pytest.mark.etcdaero_real_stores

_numbers = itertools.count()

NEAR = {"max_entries": 1000, "max_bytes": 1_000_000, "max_age": 60}

Make = Callable[..., EtcdAeroCache]


@pytest.fixture
def make(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes caches on one file, each with a core of its own."""
    monkeypatch.setattr(notices, "REWATCH", 0.0)

    def make(**given: Any) -> EtcdAeroCache:
        unlike = {"CALL_TIMEOUT": 20 + next(_numbers) / 1000}
        return EtcdAeroCache(
            f"sqlite:///{tmp_path}/cache.sqlite3", {"OPTIONS": {"NEAR": NEAR, "STAMP_MAX_AGE": 3600, **unlike, **given}}
        )

    return make


@pytest.fixture
def cache(make: Make) -> EtcdAeroCache:
    return warmed(make())


def warmed(cache: EtcdAeroCache) -> EtcdAeroCache:
    """The cache when its watch has begun, and what its start drops is dropped."""
    entries = cache._core.entries
    assert isinstance(entries, NearEntries)
    wait_until(lambda: cache.get("absent") or entries._notices.following, what="the watch")
    wait_until(lambda: _held(cache), what="something being held")
    cache.stats(reset=True)
    return cache


def _held(cache: EtcdAeroCache) -> bool:
    cache.set("anything", "x")
    return cache.get("anything") is not None and cache._near_values([cache.make_key("anything")]) != {}


@pytest.fixture
def no_store(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets no read reach the store from then on."""

    def refuse(*args: Any, **options: Any) -> Any:
        raise ClusterError("the store was asked")

    return lambda: [monkeypatch.setattr(SqliteStore, name, refuse) for name in ("get", "get_many")] and None


def test_reads_are_answered_without_the_store(cache: EtcdAeroCache, no_store: Callable[[], None]) -> None:
    cache.set("a", {"x": 1})
    cache.set("b", "b", timeout=None)
    assert cache.get_many(["a", "b"]) == {"a": {"x": 1}, "b": "b"}
    no_store()
    assert cache.get("a") == {"x": 1}
    assert cache.has_key("a")
    assert "b" in cache
    assert cache.get_many(["a", "b"]) == {"a": {"x": 1}, "b": "b"}
    assert cache.get_or_set("a", lambda: 1 / 0) == {"x": 1}
    with pytest.raises(ClusterError):
        cache.get("c")
    with pytest.raises(ClusterError):
        cache.ttl("a")  # what is left of it is the store's to say
    stats = cache.stats()
    assert stats["near_hits"] == 6
    assert stats["hits"] == 8


def test_what_is_ignored_does_not_cost_what_is_near(make: Make, no_store: Callable[[], None]) -> None:
    cache = warmed(make(IGNORE_EXCEPTIONS=True))
    cache.set("a", "a")
    cache.get("a")
    no_store()
    assert cache.get_many(["a", "b"]) == {"a": "a"}
    assert cache.get("b") is None
    assert cache.get("a") == "a"


def test_a_hit_in_an_event_loop_needs_no_thread(
    cache: EtcdAeroCache, no_store: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "b"):
        cache.set(key, key, tags=["t"])
        cache.get(key)
    no_store()
    monkeypatch.setattr(core.pools, "get", lambda: pytest.fail("a thread was asked for"))

    async def main() -> None:
        assert await cache.aget("a") == "a"
        assert await cache.ahas_key("a")
        assert await cache.aget_many(["a", "b"]) == {"a": "a", "b": "b"}
        assert await cache.aget_or_set("a", lambda: 1 / 0) == "a"

    asyncio.run(main())
    stats = cache.stats()
    assert stats["near_hits"] == 5
    assert stats["hits"] == 7


def test_what_is_missing_is_fetched_in_an_event_loop(cache: EtcdAeroCache) -> None:
    cache.set_many({"a": "a", "b": "b"})
    cache.get("a")

    async def main() -> None:
        assert await cache.aget_many(["a", "b", "c"]) == {"a": "a", "b": "b"}
        assert await cache.aget("b") == "b"
        assert await cache.aget("c", "none") == "none"
        assert not await cache.ahas_key("c")
        assert await cache.aget_or_set("c", lambda: "c") == "c"

    asyncio.run(main())


def test_changes_are_seen_by_all_caches_of_the_process_at_once(make: Make) -> None:
    one, two = warmed(make()), warmed(make())
    assert one._core is not two._core
    one.set("k", "old", tags=["t"])
    for change in (
        lambda: one.set("k", "new", tags=["t"]),
        lambda: one.delete("k"),
        lambda: one.set_many({"k": "again"}, tags=["t"]),
        lambda: one.incr_version("k"),
        lambda: one.set("k", "more", tags=["t"]),
        lambda: one.invalidate_tags("t"),
        lambda: one.set("k", "last"),
        one.clear,
    ):
        two.get("k")
        change()
        assert two.get("k") == one.get("k")


def test_a_counter_is_right_everywhere(make: Make) -> None:
    one, two = warmed(make()), warmed(make())
    one.set("n", 1)
    for expected in range(2, 20):
        assert (one, two)[expected % 2].incr("n") == expected
        assert one.get("n") == two.get("n") == expected
    one.set("f", 1.5)
    assert two.get("f") == 1.5
    one.incr("f")
    assert two.get("f") == 2.5


def test_what_is_loaded_early_replaces_what_is_near(cache: EtcdAeroCache) -> None:
    values = iter(["first", "second", "third"])

    def get() -> Any:
        return cache.get_or_set("k", lambda: next(values), timeout=1000, eager=1e-9)

    assert get() == "first"
    assert get() == "first"  # and begins to load
    wait_until(lambda: cache.get("k") == "second", what="the second value")


def test_after_a_gap_the_store_is_asked(cache: EtcdAeroCache, make: Make) -> None:
    entries = cache._core.entries
    assert isinstance(entries, NearEntries)
    with interruptible_watches() as interrupt:
        watch = entries._notices._watch
        assert watch is not None
        watch.cancel()
        wait_until(lambda: cache.get("absent") is None and entries._notices.following, timeout=20, what="a watch")
        cache.set("k", "value")
        wait_until(lambda: cache.get("k") and cache._near_values([cache.make_key("k")]), what="it being near")
        interrupt(ResyncReason.COMPACTED)
        wait_until(lambda: not cache._near_values([cache.make_key("k")]), what="it being dropped")
    assert cache.get("k") == "value"


def test_a_store_that_was_opened_again_is_asked(cache: EtcdAeroCache, tmp_path: Any) -> None:
    cache.set("k", "value")
    assert cache.get("k") == "value"
    runtime.close()
    for path in tmp_path.glob("cache.sqlite3*"):
        path.unlink()
    assert cache.get("k") is None


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"NEAR": None}, None),
        ({"NEAR": {}}, NearOptions()),
        ({"NEAR": {"max_age": 2}}, NearOptions(max_age=2)),
        ({"NEAR": NEAR}, NearOptions(max_entries=1000, max_bytes=1_000_000, max_age=60)),
    ],
)
def test_options_are_given_as_a_dict(given: Any, expected: NearOptions | None) -> None:
    near = options.read(given).NEAR
    assert near == expected


@pytest.mark.parametrize(
    ("near", "told"),
    [
        (True, "OPTIONS['NEAR'] must be a dict, not bool"),
        ({"max_entires": 5}, "OPTIONS['NEAR'] has the unknown key 'max_entires'; there are max_entries"),
        ({"max_entries": 0}, "OPTIONS['NEAR']['max_entries'] must be a whole number of at least 1"),
        ({"max_bytes": 1.5}, "OPTIONS['NEAR']['max_bytes'] must be a whole number of at least 1024"),
        ({"max_age": "1"}, "OPTIONS['NEAR']['max_age'] must be a number of at least 0.01"),
        ({"max_age": None}, "OPTIONS['NEAR']['max_age'] must be a number"),
    ],
)
def test_an_error_names_the_option(near: Any, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        options.read({"NEAR": near})
    assert str(caught.value).startswith(told)


def test_stamps_must_be_held_for_a_moment() -> None:
    with pytest.raises(ConfigurationError, match="needs an OPTIONS\\['STAMP_MAX_AGE'\\] above 0"):
        options.read({"NEAR": {}, "STAMP_MAX_AGE": 0})


def test_an_alias_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(ImproperlyConfigured, match="'elsewhere'"):
        EtcdAeroCache("mem:", {"OPTIONS": {"NEAR": {}, "USING": "elsewhere"}}).get("k")


def test_nothing_starts_before_the_first_use(make: Make) -> None:
    before = set(threading.enumerate())
    entries = make()._core.entries
    assert isinstance(entries, NearEntries)
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()
    assert entries._notices._watch_wanted is False


def test_the_backend_tells_it_as_django_does() -> None:
    with pytest.raises(ImproperlyConfigured, match="NEAR"):
        EtcdAeroCache("mem:", {"OPTIONS": {"NEAR": 5}}).get("k")
