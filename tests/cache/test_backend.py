"""What the methods of a cache do, beside what Django's own tests ask (see :mod:`.test_conformance`), in both forms."""

from __future__ import annotations

import asyncio
import copy
import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.cache.calls import _SET_UP
from django_etcdaero.cache.counters import Histogram
from django_etcdaero.exceptions import ClusterError, LockTimeout
from django_etcdaero.records.store import RecordStore
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import MakeCache
from tests.waiting import wait_until

MISSING = object()


@pytest.fixture(params=[Plain, Awaited])
def calls(request: pytest.FixtureRequest, cache: EtcdAeroCache) -> Any:
    return request.param(cache)


# --- storing under a condition ---------------------------------------------------------------------------------------


def test_add_stores_only_where_there_is_nothing(calls: Any) -> None:
    assert calls.add("k", 1) is True
    assert calls.add("k", 2) is False
    assert calls.get("k") == 1


@pytest.mark.parametrize("value", [7, "seven"])
def test_add_over_an_entry_that_has_expired_or_was_deleted(calls: Any, value: Any) -> None:
    calls.set("k", value, 0.05)
    wait_until(lambda: calls.get("k") is None)
    assert calls.add("k", "new", 60) is True
    calls.delete("k")
    assert calls.add("k", "newer") is True
    assert calls.get("k") == "newer"


def test_set_nx_is_add(calls: Any) -> None:
    assert calls.set("k", 1, nx=True) is True
    assert calls.set("k", 2, nx=True) is False
    assert calls.get("k") == 1


def test_set_xx_stores_only_over_something(calls: Any) -> None:
    assert calls.set("k", 1, xx=True) is False
    assert calls.get("k") is None
    calls.set("k", "x")
    assert calls.set("k", 2, 60, xx=True) is True
    assert calls.get("k") == 2
    assert calls.ttl("k") == 60


def test_set_get_returns_the_value_before(calls: Any) -> None:
    assert calls.set("k", 1, get=True) is None
    assert calls.set("k", "two", get=True) == 1
    assert calls.set("k", 3, 0, get=True) == "two"
    assert calls.get("k") is None


def test_flags_that_exclude_each_other_are_refused(calls: Any) -> None:
    for flags in ({"nx": True, "xx": True}, {"nx": True, "get": True}, {"xx": True, "get": True}):
        with pytest.raises(ValueError, match="exclude"):
            calls.set("k", 1, **flags)
    assert calls.get("k") is None


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_a_timeout_of_nothing_stores_nothing(calls: Any, timeout: float) -> None:
    assert calls.add("k", 1, timeout) is True
    assert calls.get("k") is None
    calls.set("k", 1)
    assert calls.add("k", 2, timeout) is False
    assert calls.set("k", 2, timeout, xx=True) is True
    assert calls.get("k") is None
    calls.set("k", 1)
    calls.set("k", 2, timeout)
    assert calls.get("k") is None
    assert calls.set_many({"k": 1}, timeout) == []
    assert calls.get("k") is None
    calls.set("k", 1)
    assert calls.touch("k", timeout) is True
    assert calls.get("k") is None


@pytest.mark.parametrize("timeout", ["60", 60.0, 60, True, 10**30, float("inf")])
def test_timeouts_of_all_kinds_of_numbers(calls: Any, timeout: Any) -> None:
    calls.set("k", "v", timeout)
    assert calls.get("k") == "v"
    assert calls.ttl("k") is not None


@pytest.mark.parametrize("timeout", ["soon", float("nan"), timedelta(seconds=5), [1]])
def test_a_timeout_that_is_no_number_is_refused(calls: Any, timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        calls.set("k", "v", timeout)
    assert calls.get("k") is None


def test_the_timeout_of_settings_counts_where_none_is_given(make_cache: MakeCache) -> None:
    assert make_cache({"TIMEOUT": None}).default_timeout is None
    for timeout, left in ((None, None), (77, 77)):
        cache = make_cache({"TIMEOUT": timeout})
        cache.set("k", "v")
        assert cache.ttl("k") == left
        cache.set("k", "v", 5000)
        assert cache.touch("k") is True
        assert cache.ttl("k") == left


# --- timeouts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, "v"])
def test_times_to_live_can_be_asked_for(calls: Any, value: Any) -> None:
    assert calls.ttl("k") == calls.pttl("k") == 0
    calls.set("k", value, None)
    assert calls.ttl("k") is calls.pttl("k") is None
    calls.set("k", value, 60)
    assert 58 <= calls.ttl("k") <= 60
    assert 58_000 <= calls.pttl("k") <= 60_000
    calls.set("k", value, 8.5)
    assert 7 <= calls.ttl("k") <= 9
    assert 7_000 < calls.pttl("k") <= 8_500


@pytest.mark.parametrize("value", [1, "v", 2**70])
def test_timeouts_can_be_changed(calls: Any, value: Any) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=200)
    for method, argument, least, most in (
        ("expire", 100, 98, 100),
        ("pexpire", 50_500, 49, 51),
        ("expire_at", soon, 195, 201),
        ("expire_at", soon.timestamp(), 195, 201),
        ("pexpire_at", soon.timestamp() * 1000, 195, 201),
        ("touch", 5.5, 4, 6),
        ("touch", 300, 298, 300),
    ):
        assert getattr(calls, method)("none", argument) is False
        calls.set("k", value, None)
        assert getattr(calls, method)("k", argument) is True
        assert least <= calls.ttl("k") <= most, method
        assert calls.get("k") == value
    assert calls.persist("k") is True
    assert calls.ttl("k") is None
    assert calls.persist("none") is False
    assert calls.expire_at("k", datetime(2020, 1, 1, tzinfo=UTC)) is True
    assert calls.get("k") is None


@pytest.mark.parametrize("value", [1, "v"])
def test_fractions_of_a_second_count(calls: Any, value: Any) -> None:
    calls.set("k", value, 0.1)
    calls.set("longer", value, 30.5)
    wait_until(lambda: calls.get("k") is None)
    assert calls.get("longer") == value
    assert calls.has_key("k") is False
    assert calls.get_many(["k", "longer"]) == {"longer": value}
    assert calls.ttl("k") == 0
    assert calls.touch("k", 60) is False
    assert calls.touch_many(["k", "longer"], 60) == 1
    assert calls.delete("k") is False
    assert calls.delete_many(["k", "longer"]) == 1


def test_jitter_lets_entries_expire_earlier_never_later(make_cache: MakeCache) -> None:
    cache = make_cache(JITTER=0.5)
    cache.set_many({str(number): "v" for number in range(10)}, 1000)
    for number in range(10, 40):
        cache.set(str(number), "v", 1000)
    cache.set("whole", "v", 1000, jitter=0)
    found = [cache.ttl(str(number)) for number in range(40)]
    assert all(left is not None and 498 <= left <= 1000 for left in found)
    assert len(set(found)) > 5
    assert 998 <= (cache.ttl("whole") or 0) <= 1000
    with pytest.raises(ValueError, match="jitter"):
        cache.set("k", "v", jitter=1)


def test_jitter_lets_entries_of_one_batch_expire_one_after_the_other(make_cache: MakeCache) -> None:
    cache = make_cache(JITTER=0.5)
    cache.set_many({"number": 1, **{str(number): "v" for number in range(20)}}, 1000)
    found = [cache.ttl(str(number)) for number in range(20)]
    assert all(left is not None and 498 <= left <= 1000 for left in found)
    assert len(set(found)) > 5
    assert 498 <= (cache.ttl("number") or 0) <= 1000
    assert cache.incr("number") == 2
    cache.set_many({"for": "ever"}, None)
    assert cache.ttl("for") is None


# --- many at a time --------------------------------------------------------------------------------------------------


def test_many_are_read_and_written_at_once(calls: Any) -> None:
    assert calls.set_many({"a": 1, "b": "two", "c": None}, 60) == []
    assert calls.get_many(["a", "b", "c", "d"]) == {"a": 1, "b": "two", "c": None}
    assert calls.get_many(iter(["a", "b"])) == {"a": 1, "b": "two"}
    assert calls.ttl("a") == calls.ttl("b")
    assert calls.touch_many(["a", "b", "d"], 500) == 2
    assert calls.ttl("a") == 500
    assert calls.ttl("b") == 500
    assert calls.touch_many(["a"], 0) == 1
    assert calls.delete_many(["a", "b", "c", "d"]) == 2
    assert calls.get_many(["a", "b", "c", "d"]) == {}


def test_nothing_is_asked_of_the_store_for_no_keys(calls: Any) -> None:
    assert calls.get_many([]) == {}
    assert calls.set_many({}) == []
    assert calls.touch_many([]) == 0
    assert not calls.delete_many([])


def test_batches_are_one_call_to_the_store(cache: EtcdAeroCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.set("k", "v")  # the generation is known from here on
    seen: list[str] = []
    store = type(cache.get_client())
    for name in ("get_many", "put_many", "delete_many", "touch_many", "get", "put", "delete", "touch"):
        original = getattr(store, name)

        def counted(self: Any, *args: Any, _name: str = name, _call: Any = original, **kwargs: Any) -> Any:
            seen.append(_name)
            return _call(self, *args, **kwargs)

        monkeypatch.setattr(store, name, counted)
    keys = [str(number) for number in range(100)]
    asyncio.run(cache.aset_many(dict.fromkeys(keys, "v")))
    assert seen == ["put_many"]
    seen.clear()
    assert len(asyncio.run(cache.aget_many(keys))) == 100
    assert seen == ["get_many"]
    seen.clear()
    assert asyncio.run(cache.adelete_many(keys)) == 100
    assert len(seen) <= 2


# --- versions, prefixes, clear ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, "v", None])
def test_versions_move_with_what_is_left_of_the_timeout(calls: Any, value: Any) -> None:
    calls.set("k", value, 60)
    calls.set("ever", value, None)
    assert calls.incr_version("k") == 2
    assert calls.get("k", MISSING) is MISSING
    assert calls.get("k", MISSING, version=2) == value
    assert 58 <= calls.ttl("k", version=2) <= 61
    assert calls.decr_version("k", version=2) == 1
    assert calls.get("k", MISSING) == value
    assert calls.incr_version("ever", 5) == 6
    assert calls.ttl("ever", version=6) is None
    for call in (calls.incr_version, calls.decr_version):
        with pytest.raises(ValueError, match="not found"):
            call("none")


def test_clear_removes_every_version_and_nothing_of_other_prefixes(make_cache: MakeCache) -> None:
    cache, other = make_cache(), make_cache({"KEY_PREFIX": "other"})
    for each in (cache, other):
        each.set("k", 1, None)
        each.set("k", "v", version=2)
        each.set("tagged", "v", tags=["t"])
    cache.clear()
    assert cache.get("k") is cache.get("k", version=2) is cache.get("tagged") is None
    assert cache.add("k", 5) is True
    assert other.get("k") == 1
    assert other.get("k", version=2) == other.get("tagged") == "v"


def test_a_key_prefix_is_not_the_start_of_another(make_cache: MakeCache) -> None:
    a, ab = make_cache({"KEY_PREFIX": "a"}), make_cache({"KEY_PREFIX": "a:1"})
    a.set("1:k", "of a")
    ab.set("k", "of ab")
    assert (a.get("1:k"), ab.get("k")) == ("of a", "of ab")
    a.clear()
    assert (a.get("1:k"), ab.get("k")) == (None, "of ab")


def test_others_see_a_clear_within_the_age_of_stamps(make_cache: MakeCache, elsewhere: MakeCache) -> None:
    cache, other, slow = make_cache(), elsewhere(STAMP_MAX_AGE=0.05), elsewhere(STAMP_MAX_AGE=3600)
    cache.set("k", "v")
    assert other.get("k") == slow.get("k") == "v"
    cache.clear()
    assert cache.get("k") is None
    wait_until(lambda: other.get("k") is None)
    assert slow.get("k") == "v"
    slow.clear()
    assert slow.get("k") is None


# --- the rest --------------------------------------------------------------------------------------------------------


def test_client_and_close(cache: EtcdAeroCache) -> None:
    assert isinstance(cache.get_client(), RecordStore)
    cache.set("k", "v")
    cache.close()
    asyncio.run(cache.aclose())
    assert cache.get("k") == "v"


def test_what_it_does_is_counted(make_cache: MakeCache) -> None:
    cache = make_cache(LOAD_WAIT=7.5)
    cache.stats(reset=True)
    cache.set("k", "v")
    cache.set_many({"l": "v"})
    cache.get("k")
    cache.get("none")
    cache.get_many(["k", "none"])
    cache.get_or_set("loaded", lambda: "v")
    cache.delete("k")
    counts = cache.stats(reset=True)
    assert (counts["hits"], counts["sets"], counts["deletes"], counts["loads"]) == (2, 2, 1, 1)
    assert counts["misses"] == 3
    assert counts["bytes_read"] > 0
    assert counts["bytes_written"] > 0
    counts = cache.stats()
    assert counts.pop("latencies") == {}
    assert set(counts.values()) == {0}


def test_how_long_it_takes_is_counted(make_cache: MakeCache, location: str) -> None:
    cache = make_cache(LOAD_WAIT=7.25)
    cache.stats(reset=True)
    calls = {
        "get": (lambda: cache.get("k"), lambda: cache.ttl("k"), lambda: cache.has_key("k")),
        "set": (lambda: cache.set("k", 1), lambda: cache.set("k", 1, xx=True), lambda: cache.set("k", 1, get=True)),
        "add": (lambda: cache.add("k", 1), lambda: cache.set("k", 1, nx=True)),
        "touch": (lambda: cache.touch("k"), lambda: cache.persist("k")),
        "incr": (lambda: cache.incr("k"), lambda: cache.decr("k")),
        "delete": (lambda: cache.delete("k"),),
        "get_many": (lambda: cache.get_many(["k", "l"]),),
        "set_many": (lambda: cache.set_many({"k": 1, "l": 1}),),
        "touch_many": (lambda: cache.touch_many(["k", "l"]),),
        "delete_many": (lambda: cache.delete_many(["k", "l"]),),
        "keys": (cache.keys,),
        "invalidate_tags": (lambda: cache.invalidate_tags("t"),),
        "clear": (cache.clear,),
    }
    for each in calls.values():
        for call in each:
            call()
    latencies = cache.stats()["latencies"]
    in_memory = location.startswith("mem:")  # there a look at the clock takes as long as what it would measure
    assert {name: each["count"] for name, each in latencies.items()} == (
        {} if in_memory else {name: len(each) for name, each in calls.items()}
    )
    cache.stats(reset=True)
    cache.get_or_set("k", lambda: "v", tags=["t"])
    asyncio.run(cache.aget_or_set("l", lambda: "v"))
    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("m", lambda: 1 // 0)
    latencies = cache.stats()["latencies"]
    assert latencies["load"]["count"] == 3
    assert set(latencies) == ({"load"} if in_memory else {"load", "get", "claim", "stamps", "set"})


def test_a_histogram_is_what_metrics_want() -> None:
    histogram = Histogram()
    for seconds in (0.00005, 0.0001, 0.0002, 0.3, 99.0):
        histogram.add(seconds)
    found = histogram.as_dict()
    assert found["count"] == 5
    assert found["sum"] == pytest.approx(99.30035)
    assert list(found["buckets"]) == sorted(found["buckets"])
    assert [found["buckets"][bound] for bound in (0.0001, 0.00025, 0.25, 0.5, 10.0, float("inf"))] == [2, 3, 3, 4, 4, 5]


def test_what_fails_took_its_time_too(make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make_cache(LOAD_WAIT=7.125)

    def fail(*args: Any) -> Any:
        raise ClusterError("away")

    monkeypatch.setattr(cache._core.entries, "value", fail)
    monkeypatch.setattr(cache._core.outage, "_times", True)
    with pytest.raises(ClusterError):
        cache.get("k")
    assert cache.stats()["latencies"]["get"]["count"] == 1


def test_it_is_no_cache_of_django_in_disguise() -> None:
    assert not issubclass(EtcdAeroCache, LocMemCache)  # some packages refuse those


def test_every_method_has_its_twin_with_the_same_arguments() -> None:
    without = {"iter_keys", "reverse_key", "lock", "get_client", "stats", "validate_key", "make_key", "sweep"}
    without |= {"make_and_validate_key", "get_backend_timeout"}
    for name, method in inspect.getmembers(EtcdAeroCache, inspect.isfunction):
        if (name.startswith(("_", "a")) and name != "add") or name in without:
            continue
        twin = getattr(EtcdAeroCache, f"a{name}")
        assert inspect.iscoroutinefunction(twin), name
        wanted = list(inspect.signature(method).parameters.values())
        given = list(inspect.signature(twin).parameters.values())
        open_ended = any(each.kind is each.VAR_KEYWORD for each in given)
        assert open_ended or [each.name for each in given] == [each.name for each in wanted], name


def test_instances_are_made_for_each_thread_and_share_all_but_their_attributes(location: str) -> None:
    settings = {"default": {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": location}}
    with override_settings(CACHES=settings):
        mine = caches["default"]

        async def other() -> Any:
            return caches["default"]

        other_cache = asyncio.run(other())
        mine.set("k", "v")
        assert other_cache.get("k") == "v"
        assert other_cache.get_client() is mine.get_client()


@pytest.mark.parametrize("location", ["", "redis://localhost", "mem", "etcdaero:none", "aerospike://host"])
def test_a_wrong_location_is_refused_at_the_first_use(location: str) -> None:
    cache = EtcdAeroCache(location, {})
    with pytest.raises(ImproperlyConfigured, match=r"LOCATION|none"):
        cache.get("k")


def test_whatever_is_asked_of_a_cache_with_wrong_settings_tells_it() -> None:
    cache, right = (
        EtcdAeroCache("redis://localhost", {"OPTIONS": {"IGNORE_EXCEPTIONS": True}}),
        EtcdAeroCache("mem:", {}),
    )
    for call in (
        lambda: cache.get("k"),
        lambda: cache.set("k", "v"),
        lambda: cache.get_or_set("k", "v"),
        lambda: asyncio.run(cache.aget("k")),
        cache.clear,
        cache.keys,
        cache.stats,
        lambda: cache.lock("k"),
        lambda: cache.make_key("k"),
        lambda: cache.default_timeout,
    ):
        with pytest.raises(ImproperlyConfigured, match="LOCATION"):
            call()
    cache.close()
    assert not hasattr(cache, "something")
    assert set(vars(right)) - {"_wrong"} == _SET_UP
    assert copy.copy(right).get("k") is None


def test_the_records_of_an_alias_have_a_room_for_the_cache() -> None:
    setting = {"shop": {"KV": "mem:cache-alias", "RECORDS": "mem:cache-alias", "PREFIX": "shop"}}
    with override_settings(ETCDAERO=setting):
        cache = EtcdAeroCache("etcdaero:shop", {})
        cache.set("k", "v")
        assert cache.get("k") == "v"
        assert all(key.startswith(b"shop/cache:") for key, _ in cache.get_client().scan())
        cache.get_client().truncate()


def test_a_lock_is_one_of_the_alias_that_using_names() -> None:
    setting = {
        alias: {"KV": f"mem:cache-{alias}", "RECORDS": "mem:", "PREFIX": "shop"} for alias in ("default", "locks")
    }
    with override_settings(ETCDAERO=setting):
        one = EtcdAeroCache("mem:locks", {"OPTIONS": {"USING": "locks"}})
        same = EtcdAeroCache("mem:locks", {"OPTIONS": {"USING": "locks", "JITTER": 0.1}})
        other = EtcdAeroCache("mem:locks", {})
        with one.lock("k", ttl=30):
            with pytest.raises(LockTimeout):
                same.lock("k").acquire(timeout=0)
            for free in (same.lock("k", version=2), other.lock("k")):
                free.acquire(timeout=0)
                free.release()
