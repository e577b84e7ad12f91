"""Tags: the names with which entries are invalidated together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_etcdaero.cache import EtcdAeroCache
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import MakeCache
from tests.waiting import wait_until

FRESH = {"STAMP_MAX_AGE": 0.0}


@pytest.fixture(params=[Plain, Awaited])
def calls(request: pytest.FixtureRequest, cache: EtcdAeroCache) -> Any:
    return request.param(cache)


def test_an_invalidated_tag_takes_all_its_entries_along_and_no_others(calls: Any) -> None:
    calls.set("a", "v", tags=["city", "country"])
    calls.add("b", 5, tags=["country"])
    calls.set_many({"c": "v", "d": 1}, tags=["city"])
    calls.get_or_set("e", lambda: "v", tags=["city"])
    calls.get_or_set("f", "v", tags=["city"])
    calls.set("g", "v", nx=True, tags=["city"])
    calls.set("free", "v")
    calls.invalidate_tags("city")
    assert calls.get_many([*"abcdefg", "free"]) == {"b": 5, "free": "v"}
    assert [calls.get(key) for key in "ac"] == [None, None]
    assert calls.has_key("a") is False
    calls.invalidate_tags("country", "nobody has this")
    assert calls.get("b") is None
    calls.invalidate_tags()
    assert calls.get("free") == "v"


def test_what_is_written_after_an_invalidation_counts(calls: Any) -> None:
    calls.set("k", 1, tags=["t"])
    calls.invalidate_tags("t")
    calls.set("k", 2, tags=["t"])
    assert calls.get("k") == 2
    calls.invalidate_tags("t")
    assert calls.get("k") is None
    assert calls.add("k", 3, tags=["t"]) is True
    assert calls.get("k") == 3


def test_an_entry_counts_only_while_all_of_its_tags_do(cache: EtcdAeroCache) -> None:
    tags = [str(number) for number in range(20)]
    for tag in tags:
        cache.set(tag, "v", tags=tags)
        cache.invalidate_tags(tag)
        assert cache.get(tag) is None


def test_what_is_invalid_is_not_there_for_any_method(calls: Any) -> None:
    for key in "abcdefgh":
        calls.set(key, 5, tags=["t"])
    calls.invalidate_tags("t")
    assert calls.touch("a") is False
    assert calls.delete("b") is False
    assert calls.set("c", 1, xx=True) is False
    assert calls.set("d", 1, get=True) is None
    assert calls.ttl("e") == 0
    assert calls.keys("[efgh]") == []
    for change in (calls.incr, calls.incr_version):
        with pytest.raises(ValueError, match="not found"):
            change("f")
    assert calls.touch_many(["g", "h"], 60) == 0
    assert calls.delete_many(["g", "h"]) == 0


def test_tags_stay_when_an_entry_changes(calls: Any) -> None:
    for key in "abcd":
        calls.set(key, 5, tags=["t"])
    calls.incr("a")
    calls.touch("b", 5.5)
    calls.incr_version("c")
    calls.expire("d", 1000)
    assert (calls.get("a"), calls.get("b"), calls.get("c", version=2), calls.get("d")) == (6, 5, 5, 5)
    calls.invalidate_tags("t")
    assert [calls.get("a"), calls.get("b"), calls.get("c", version=2), calls.get("d")] == [None] * 4


def test_tags_of_one_prefix_are_not_those_of_another(make_cache: MakeCache) -> None:
    cache, other = make_cache(), make_cache({"KEY_PREFIX": "other"})
    for each in (cache, other):
        each.set("k", "v", tags=["t"])
    cache.invalidate_tags("t")
    assert (cache.get("k"), other.get("k")) == (None, "v")


def test_other_processes_see_it_within_the_age_of_stamps(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    cache, other = make_cache(), elsewhere(STAMP_MAX_AGE=0.05)
    cache.set("k", "v", tags=["t"])
    assert other.get("k") == "v"
    cache.invalidate_tags("t")
    wait_until(lambda: other.get("k") is None)
    other.set("k", "new", tags=["t"])
    assert cache.get("k") == "new"


def test_an_invalidation_by_who_knows_nothing_of_the_tag(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    cache, other = make_cache(**FRESH), elsewhere(**FRESH)
    cache.set("k", "v", None, tags=["t"])
    other.invalidate_tags("t")
    assert cache.get("k") is None


def test_a_stamp_that_is_lost_invalidates(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    cache = make_cache(**FRESH)
    cache.set("k", "v", tags=["t"])
    store = cache.get_client()
    (stamp,) = (key for key, _ in store.scan() if key.startswith(b"cache:t"))
    store.delete(stamp)
    assert cache.get("k") is None
    assert elsewhere().get("k") is None


def test_stamps_live_as_long_as_the_entries_that_need_them(make_cache: MakeCache) -> None:
    cache = make_cache()
    store = cache.get_client()

    def left() -> int | None:
        (found,) = [meta.ttl for key, meta in store.scan() if key.startswith(b"cache:t")]
        return found

    cache.set("short", "v", 60, tags=["t"])
    first = left()
    assert first is not None
    assert first >= 59
    cache.set("long", "v", 5000, tags=["t"])
    second = left()
    assert second is None or second >= 5000
    cache.set("kept", "v", 4000, tags=["t"])
    cache.get_or_set("stale", lambda: "v", 100, tags=["t"], stale=20_000)
    third = left()
    assert third is None or third >= 20_100
    cache.invalidate_tags("t")
    assert left() is None or left() >= 20_000  # type: ignore[operator]
    cache.set("ever", "v", None, tags=["t"])
    assert left() is None
    assert cache.get("ever") == "v"


@pytest.mark.parametrize("tag", ["a\0b", "\ud800", "é", "x" * 900, "t:1", " "])
def test_tags_may_be_any_text(calls: Any, tag: str) -> None:
    calls.set("k", "v", tags=[tag])
    calls.set("l", "v", tags=[tag[:-1] or "y"])
    assert calls.get("k") == "v"
    calls.invalidate_tags(tag)
    assert calls.get_many(["k", "l"]) == {"l": "v"}


@pytest.mark.parametrize(
    ("tags", "error"), [("one", TypeError), ([5], TypeError), ([""], ValueError), ([b"t"], TypeError), (5, TypeError)]
)
def test_wrong_tags_are_refused_and_change_nothing(calls: Any, tags: Any, error: type[Exception]) -> None:
    calls.set("k", "before")
    for call in (
        lambda: calls.set("k", "v", tags=tags),
        lambda: calls.add("l", "v", tags=tags),
        lambda: calls.set_many({"k": "v"}, tags=tags),
        lambda: calls.get_or_set("l", lambda: "v", tags=tags),
    ):
        with pytest.raises(error):
            call()
    assert calls.get_many(["k", "l"]) == {"k": "before"}


def test_a_tag_that_is_too_long_is_refused(calls: Any) -> None:
    with pytest.raises(ValueError, match="too long"):
        calls.set("k", "v", tags=["x" * 2000])
    with pytest.raises(ValueError, match="bytes"):
        calls.set("k", "v", tags=[f"{number:0500}" for number in range(300)])
    assert calls.get("k") is None


def test_tags_may_come_from_an_iterator(calls: Any) -> None:
    calls.set("k", "v", tags=(tag for tag in ("a", "b", "a")))
    calls.invalidate_tags("b")
    assert calls.get("k") is None


def test_what_was_loaded_from_data_of_before_an_invalidation_does_not_count(cache: EtcdAeroCache) -> None:
    def load() -> str:
        cache.invalidate_tags("t")  # the data changes while it is being read
        return "old"

    assert cache.get_or_set("k", load, tags=["t"]) == "old"
    assert cache.get("k") is None

    async def main() -> None:
        async def aload() -> str:
            await cache.ainvalidate_tags("t")
            return "old"

        assert await cache.aget_or_set("k", aload, tags=["t"]) == "old"

    asyncio.run(main())
    assert cache.get("k") is None


@pytest.mark.filterwarnings("ignore::django.core.cache.backends.base.CacheKeyWarning")
def test_as_many_tags_as_an_entry_can_have(cache: EtcdAeroCache) -> None:
    tags = [f"{number:0489}" for number in range(130)]
    for value in ("v", 5, "x" * 1_500_000):
        cache.set("k", value, 60, tags=tags)
        assert cache.get("k") == value
        cache.get_or_set("l", lambda value=value: value, 60, tags=tags, stale=60)  # type: ignore[misc]
        assert cache.get("l") == value
        cache.invalidate_tags(tags[-1])
        assert cache.get("k") is cache.get("l") is None
    with pytest.raises(ValueError, match="allowed are 33"):
        cache.set("k" * 32_000, "v", tags=tags)
    cache.set("k" * 32_000, "v", tags=tags[:64])
    assert cache.get("k" * 32_000) == "v"


@pytest.mark.parametrize("tags", [(["a", "b"],), ({"a"},), (("a",),), ("a", ["b"]), (5,), (None,)], ids=repr)
def test_tags_are_invalidated_one_by_one_and_not_as_a_list(calls: Any, tags: Any) -> None:
    calls.set("k", "v", tags=["a"])
    with pytest.raises(TypeError, match=r"tags one by one, .*\*tags"):
        calls.invalidate_tags(*tags)
    assert calls.get("k") == "v"


def test_a_tag_is_no_list(calls: Any) -> None:
    with pytest.raises(TypeError, match="a tag must be a str, not list"):
        calls.set("k", "v", tags=[["a"]])
