"""What comes of single calls to the store that fail, at the worst moment."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.cache.envelope import Envelope, Parts
from django_etcdaero.exceptions import ClusterError, RecordTooBig, StoreBusy, StoreFull
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import MakeCache
from tests.cache.failing import failing, full
from tests.waiting import wait_until

AWAY = ClusterError("away")


@pytest.fixture
def location(tmp_path: Any) -> str:
    """One store for all: what is tested is what the cache makes of its errors."""
    return f"sqlite:///{tmp_path}/cache.sqlite3"


pytestmark = pytest.mark.slow


@pytest.fixture(params=[Plain, Awaited])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def back(cache: EtcdAeroCache) -> None:
    wait_until(lambda: cache.get("probe") is None and not cache._core.outage.away, what="the store being back")


# --- what was left undone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [lambda cache: cache.delete("k" * 40_000), lambda cache: cache.invalidate_tags("t" * 2000)],
    ids=["key", "tag"],
)
@pytest.mark.filterwarnings("ignore::django.core.cache.backends.base.CacheKeyWarning")
def test_what_can_never_be_done_does_not_keep_the_cache_away(make_cache: MakeCache, change: Any) -> None:
    cache = make_cache(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.01)
    cache.set("k", "old", None)
    store = failing(cache)
    store.fails = lambda name, arguments: AWAY
    assert cache.get("k") is None
    with contextlib.suppress(ValueError):
        change(cache)
    store.fails = lambda name, arguments: None
    back(cache)
    cache.set("k", "new", None)
    assert cache.get("k") == "new"


def test_a_pattern_that_could_not_be_deleted_leaves_nothing(make_cache: MakeCache) -> None:
    cache = make_cache(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.01)
    cache.set("k", "old", None)
    store = failing(cache)
    store.fails = lambda name, arguments: AWAY
    assert cache.delete_pattern("k*") == 0
    store.fails = lambda name, arguments: None
    back(cache)
    assert cache.get("k") is None


def test_one_busy_entry_does_not_make_the_store_count_as_away(make_cache: MakeCache) -> None:
    cache = make_cache(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=3600)
    cache.set_many({"k": "old", "other": 1}, None)
    store = failing(cache)
    store.fails = lambda name, arguments: StoreBusy("others write") if name == "put" else None
    cache.set("k", "new", None)
    assert cache.get("other") == 1
    assert cache.get("k") is None


def test_an_entry_that_cannot_be_moved_is_told_and_stays(make_cache: MakeCache) -> None:
    cache = make_cache(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=3600)
    cache.set("k", "v", None)
    store = failing(cache)
    store.fails = lambda name, arguments: RecordTooBig("too big") if name == "put" else None
    with pytest.raises(RecordTooBig):
        cache.incr_version("k")
    assert cache.get("k") == "v"


def test_a_call_of_the_last_outage_that_ends_late_begins_no_new_one(make_cache: MakeCache) -> None:
    cache = make_cache(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.01)
    cache.set("k", "v", None)
    store = failing(cache)
    begun, go = threading.Event(), threading.Event()

    def late(name: str, arguments: Any) -> Exception | None:
        if threading.current_thread().name == "late":
            begun.set()
            go.wait(20)
            return AWAY
        return AWAY if not begun.is_set() or (cache._core.outage._recovered == 0 and not recovering) else None

    recovering: list[bool] = []
    store.fails = late
    thread = threading.Thread(target=lambda: cache.get("k"), name="late")
    thread.start()
    assert begun.wait(20)
    assert cache.get("k") is None
    recovering.append(True)
    back(cache)
    go.set()
    thread.join(20)
    assert not cache._core.outage.away


# --- no room ---------------------------------------------------------------------------------------------------------


def test_what_was_loaded_is_given_though_there_is_no_room_to_say_who_loads(make_cache: MakeCache, kind: Any) -> None:
    cache = make_cache()
    cache.get("k")
    full(failing(cache), StoreFull("no room"))
    assert kind(cache).get_or_set("k", lambda: "loaded", 60) == "loaded"


@pytest.mark.parametrize("error", [StoreFull("no room"), ClusterError("takes no writes")])
def test_a_value_that_is_given_as_it_is_comes_back(make_cache: MakeCache, kind: Any, error: Exception) -> None:
    cache = make_cache(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.01)
    cache.get("k")
    full(failing(cache), error)
    for _ in range(3):
        assert kind(cache).get_or_set("k", "given", 60) == "given"


def test_what_is_cleared_without_room_is_not_written_by_a_load(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    cache, other = make_cache(), elsewhere()
    other.set("another", 1, None)
    store = failing(cache)

    def load() -> str:
        cache.clear()
        store.fails = lambda name, arguments: None
        return "of before"

    cache.get("k")
    store.fails = lambda name, arguments: (
        StoreFull("no room")
        if name in ("put", "put_many") and b"cache:l" not in bytes(str(arguments), "utf-8")
        else None
    )
    assert cache.get_or_set("k", load, 60) == "of before"
    assert cache.get("k") is None
    assert other.get("another") is None


def test_what_is_cleared_without_room_goes_from_near_caches(make_cache: MakeCache) -> None:
    cache = make_cache(NEAR={"max_age": 600}, STAMP_MAX_AGE=600)
    cache.set("k", "v", None)
    assert cache.get("k") == "v"
    full(failing(cache), StoreFull("no room"))
    cache.clear()
    assert cache.get("k") is None


def test_a_sweep_that_fails_leaves_its_mark(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.set("k", "v", None)
    cache.clear()
    store = failing(cache)
    store.fails = lambda name, arguments: AWAY if name == "scan" else None
    with pytest.raises(ClusterError):
        cache.sweep()
    store.fails = lambda name, arguments: None
    assert store.exists(cache._core.place.room + b"m") is not None
    assert cache.sweep() == 1
    assert store.exists(cache._core.place.room + b"m") is None


# --- loads -----------------------------------------------------------------------------------------------------------


def test_an_early_load_does_not_overwrite_what_a_near_cache_does_not_know(
    make_cache: MakeCache, elsewhere: MakeCache
) -> None:
    cache, other = make_cache(NEAR={"max_age": 600}), elsewhere()
    cache.get_or_set("k", lambda: "first", 600, eager=0.9)
    assert cache.get("k") == "first"

    def load() -> str:
        other.set("k", "newer", 600)
        return "older"

    cache.get_or_set("k", load, 600, eager=1e-9)
    wait_until(lambda: other.get("k") == "newer" and not cache._core.loading._flights, what="the early load's end")
    assert other.get("k") == "newer"


def test_a_task_that_is_cancelled_while_a_release_waits_for_a_thread_releases(make_cache: MakeCache) -> None:
    cache = make_cache()
    releases: list[int] = []
    release = cache._core.loading._claims.release

    def noted(*args: Any) -> None:
        releases.append(1)
        release(*args)

    cache._core.loading._claims.release = noted  # type: ignore[method-assign]
    ask = cache._core.loading._ask

    async def main() -> None:
        waiting = asyncio.Event()

        async def cut_off(operation: str, function: Callable[[], Any], default: Any, **options: Any) -> Any:
            if operation == "claim" and options.get("give_up") is not None and cache.get("k") == "v":
                function = lambda: None  # noqa: E731 - as if the thread had never begun
                asyncio.get_running_loop().call_soon(task.cancel)
                waiting.set()
                await_it = ask(operation, lambda: threading.Event().wait(0.2), default, **options)
                return await await_it
            return await ask(operation, function, default, **options)

        cache._core.loading._ask = cut_off
        task = asyncio.create_task(cache.aget_or_set("k", lambda: "v", 60))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    wait_until(lambda: releases, what="the release in the background")
    cache._core.loading._ask = ask
    wait_until(lambda: not list(cache.get_client().scan(b"cache:l")), what="the release")


def test_a_task_that_is_cancelled_before_its_load_goes_to_the_background_leaves_no_claim(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.get_or_set("k", lambda: "old", 0.001, stale=600)
    wait_until(lambda: cache.get("k") is None, what="the value being stale")

    async def cancelled() -> bool:
        raise asyncio.CancelledError

    cache._core.loading._stays = cancelled  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cache.aget_or_set("k", lambda: "new", 600, stale=600, soft_timeout=1.0))
    assert not list(cache.get_client().scan(b"cache:l"))


@pytest.mark.usefixtures("transactional_db")
def test_a_task_in_a_transaction_loads_itself(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.get_or_set("k", lambda: "old", 0.001, stale=600)
    wait_until(lambda: cache.get("k") is None, what="the value being stale")
    threads: list[threading.Thread] = []

    def load() -> str:
        threads.append(threading.current_thread())
        return "new"

    with transaction.atomic():
        assert async_to_sync(cache.aget_or_set)("k", load, 600, stale=600, soft_timeout=0.0) == "new"
    assert threads == [threading.main_thread()]


# --- the rest --------------------------------------------------------------------------------------------------------


def test_counts_may_be_reset_while_others_count(make_cache: MakeCache) -> None:
    cache = make_cache()
    counters = cache._core.counters
    seen: set[type] = set()
    set_attribute = type(counters).__setattr__

    class Watched(type(counters)):  # type: ignore[misc]
        __slots__ = ()

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "latencies":
                seen.add(type(value))
            set_attribute(self, name, value)

    Watched().reset()
    assert seen == {dict}


def test_parts_of_more_than_there_can_be_are_not_fetched(make_cache: MakeCache) -> None:
    cache = make_cache(MAX_VALUE_BYTES=1024)
    cache.get("k")
    core = cache._core
    record_key = core.entries.record_key(cache.key_prefix, cache.make_key("k"))
    forged = Envelope(3, 0, 0.0, b"", parts=Parts(b"12345678", 3, 99_000_000)).pack()
    core.place.store().put(record_key, forged)
    store = failing(cache)
    asked: list[int] = []

    def note(name: str, arguments: Any) -> None:
        if name == "get_many":
            asked.append(len(arguments[0]))

    store.fails = note
    assert cache.get("k") is None
    assert 3 not in asked
