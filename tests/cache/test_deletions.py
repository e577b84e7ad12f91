"""What was deleted, cleared or written stays so, whatever is loaded or swept meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.cache import EtcdAeroCache, stamps
from django_etcdaero.exceptions import StoreBusy
from tests.cache.conftest import MakeCache
from tests.waiting import wait_until


def loading(cache: EtcdAeroCache, value: Any, **options: Any) -> tuple[threading.Event, Callable[[], Any]]:
    """Start a load in another thread; return what lets it end, and what waits for its value."""
    inside, go = threading.Event(), threading.Event()
    answers: list[Any] = []

    def load() -> Any:
        inside.set()
        assert go.wait(20)
        return value

    thread = threading.Thread(target=lambda: answers.append(cache.get_or_set("k", load, 600, **options)))
    thread.start()
    assert inside.wait(20)

    def ended() -> Any:
        thread.join(20)
        return answers[0]

    return go, ended


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda cache: cache.set("k", "new", 600), id="set"),
        pytest.param(lambda cache: cache.set_many({"k": "new"}, 600), id="set_many"),
        pytest.param(lambda cache: cache.add("k", "new", 600), id="add"),
    ],
)
def test_what_is_written_during_a_load_stays(cache: EtcdAeroCache, change: Callable[[EtcdAeroCache], object]) -> None:
    go, ended = loading(cache, "old")
    change(cache)
    go.set()
    assert ended() == "old"
    assert cache.get("k") == "new"


def test_a_deletion_between_the_look_and_the_writing_of_a_load(
    cache: EtcdAeroCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = cache._core.entries
    put = entries.put_loaded

    def deleted_first(*args: Any) -> bool:
        cache.delete("k")
        return put(*args)

    monkeypatch.setattr(entries, "put_loaded", deleted_first)
    assert cache.get_or_set("k", lambda: "old", 600) == "old"
    assert cache.get("k") is None


def test_of_a_slow_load_and_one_that_did_not_wait_the_first_to_end_writes(
    make_cache: MakeCache, elsewhere: MakeCache
) -> None:
    go, ended = loading(elsewhere(), "slow")
    assert make_cache(LOAD_WAIT=0).get_or_set("k", lambda: "own", 600) == "own"
    assert make_cache().get("k") == "own"
    go.set()
    assert ended() == "slow"
    assert make_cache().get("k") == "own"


def test_what_is_deleted_is_not_written_by_one_who_did_not_wait(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    go, ended = loading(elsewhere(), "slow")

    def load() -> str:
        make_cache().delete("k")
        return "own"

    assert make_cache(LOAD_WAIT=0).get_or_set("k", load, 600) == "own"
    go.set()
    assert ended() == "slow"
    assert make_cache().get("k") is None


def test_many_tasks_that_are_cancelled_leave_nothing_behind(cache: EtcdAeroCache) -> None:
    async def main() -> None:
        async def load() -> None:
            await asyncio.sleep(60)

        tasks = [asyncio.create_task(cache.aget_or_set(f"k{number}", load, 600)) for number in range(30)]
        await asyncio.sleep(0)
        for number, task in enumerate(tasks):  # some are cancelled at once, some when they load
            if number % 3 == 0:
                task.cancel()
        while cache.stats()["loads"] < 20:
            await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    room = cache._core.place.room
    wait_until(
        lambda: not [key for key, _ in cache.get_client().scan(room + b"l")], what="the records of all loads being gone"
    )


def test_a_stale_value_is_given_when_too_many_load_in_the_background(
    cache: EtcdAeroCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.get_or_set("k", lambda: "old", 0.05, stale=600)
    wait_until(lambda: cache.get("k") is None, what="the value being stale")
    monkeypatch.setattr(cache._core.loading._background, "run", lambda *args, **kwargs: None)
    assert cache.get_or_set("k", lambda: pytest.fail("loaded"), 600, stale=600, soft_timeout=0.01) == "old"


def test_a_stamp_that_is_being_read_when_it_is_replaced_is_not_held(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(STAMP_MAX_AGE=3600)
    cache.set("k", "old", 600)
    place = cache._core.place
    place.stamps.forget()
    reading, go = threading.Event(), threading.Event()
    store = place.store()

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def get_many(self, keys: Any, **options: Any) -> Any:
            found = store.get_many(keys, **options)
            reading.set()
            assert go.wait(20)
            return found

    monkeypatch.setattr(place.stamps, "_store", lambda: Slow() if threading.current_thread() is reader else store)
    reader = threading.Thread(target=lambda: cache.get("k"))
    reader.start()
    assert reading.wait(20)
    cache.clear()
    go.set()
    reader.join(20)
    assert cache.get("k") is None
    assert stamps.MAX_HELD


@pytest.mark.parametrize("relive", ["persist", "touch", "touch_many"])
def test_tags_live_as_long_as_their_entries(make_cache: MakeCache, elsewhere: MakeCache, relive: str) -> None:
    cache = make_cache()
    cache.set("k", "v", 20, tags=["t"])
    calls = {
        "persist": lambda: cache.persist("k"),
        "touch": lambda: cache.touch("k", 6000),
        "touch_many": lambda: cache.touch_many(["k"], 6000),
    }
    assert calls[relive]()
    (stamp,) = (key for key, _ in cache.get_client().scan(cache._core.place.room + b"t"))
    meta = cache.get_client().exists(stamp)
    assert meta is not None
    assert meta.ttl is None or meta.ttl >= 5900
    assert elsewhere().get("k") == "v"


def test_the_sweep_touches_nothing_but_what_caches_wrote(cache: EtcdAeroCache) -> None:
    store = cache.get_client()
    theirs = [b"cache/d/cities/s1/" + bytes(20), b"cache/e" + bytes(8), b"cachex", b"other"]
    store.put_many(dict.fromkeys(theirs, b"theirs"))
    cache.set("k", "v")
    cache.clear()
    assert cache.sweep() >= 1
    assert store.get_many(theirs).keys() == set(theirs)
    store.delete_many(theirs)


def test_who_cleared_before_marks_again_after_the_sweep_of_another(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    one, other = make_cache({"KEY_PREFIX": "one"}), elsewhere({"KEY_PREFIX": "other"})
    one.clear()
    other.sweep()
    one.set("k", "v", None)
    one.clear()
    marker = one._core.place.room + b"m"
    assert one.get_client().exists(marker) is not None


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda cache: cache.set("k", 1), id="set"),
        pytest.param(lambda cache: cache.add("k", 1), id="add"),
        pytest.param(lambda cache: cache.set_many({"k": 1}), id="set_many"),
        pytest.param(lambda cache: cache.get_or_set("k", lambda: 1), id="get_or_set"),
    ],
)
def test_every_kind_of_write_sweeps_when_it_is_time(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch, write: Callable[[EtcdAeroCache], object]
) -> None:
    cache = make_cache(SWEEP_INTERVAL=3600)
    cache.set("old", 1, None)
    cache.clear()
    monkeypatch.setattr(cache._core.sweeper, "_next", 0.0)
    write(cache)
    wait_until(
        lambda: cache.get_client().exists(cache._core.place.room + b"m") is None, what="the sweep in the background"
    )


def test_a_busy_store_does_not_keep_what_was_to_be_deleted(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.02)
    cache.set("k", "old", None)
    entries = cache._core.entries
    delete = entries.delete

    def busy(*args: Any) -> int:
        raise StoreBusy("others write for too long")

    monkeypatch.setattr(entries, "delete", busy)
    assert cache.delete("k") is False
    monkeypatch.setattr(entries, "delete", delete)
    wait_until(lambda: not cache._core.outage.pending or cache.get("k"), what="the deletion being repeated")
    assert cache.get("k") is None


def test_a_deletion_while_others_are_repeated_is_repeated_too(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.02)
    cache.set_many({"a": 1, "b": 1}, None)
    core = cache._core
    repeat = core._repeat

    def busy(*args: Any) -> int:
        raise StoreBusy("others write for too long")

    with monkeypatch.context() as patch:
        patch.setattr(core.entries, "delete", busy)
        cache.delete("a")

    def slowly(pending: Any) -> None:
        if ":1:a" in pending.keys.get("", ()):
            cache.delete("b")  # the store counts as away still
        repeat(pending)

    monkeypatch.setattr(core.outage, "_repeat", slowly)
    wait_until(lambda: not core.outage.away or cache.get("x"), what="the store being asked again")
    assert cache.get_many(["a", "b"]) == {}


def test_a_value_may_be_stale_for_ever(cache: EtcdAeroCache) -> None:
    assert cache.get_or_set("k", lambda: 1, 60, stale=float("inf")) == 1
