"""Keys of all kinds, and listing them."""

from __future__ import annotations

import base64
import warnings
from typing import Any

import pytest
from django.core.cache.backends.base import CacheKeyWarning
from django.core.exceptions import ImproperlyConfigured

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import ConfigurationError
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import MakeCache

STRANGE = [
    "a",
    "a\0",
    "a\0b",
    "\0",
    "a b",
    "a\n",
    "\ud800",
    "\udfff\ud800",
    "é",
    "e\u0301",
    "日本",
    "😀",
    "x" * 300,
    "x" * 301,
    "y" * 2000,
    "y" * 2001,
    "é" * 900,
    "",
    ":1:a",
    "*",
    "[a]",
]

pytestmark = pytest.mark.filterwarnings("ignore::django.core.cache.backends.base.CacheKeyWarning")


@pytest.fixture(params=[Plain, Awaited])
def calls(request: pytest.FixtureRequest, cache: EtcdAeroCache) -> Any:
    return request.param(cache)


def test_each_key_is_its_own(cache: EtcdAeroCache) -> None:
    values = {key: f"value of {number}" for number, key in enumerate(STRANGE)}
    for key, value in values.items():
        assert cache.get(key) is None
        cache.set(key, value)
    assert cache.get_many(STRANGE) == values
    assert {key: cache.get(key) for key in STRANGE} == values
    assert sorted(cache.keys()) == sorted(STRANGE)


@pytest.mark.parametrize("key", STRANGE, ids=lambda key: ascii(key)[:12])
def test_every_method_takes_it(cache: EtcdAeroCache, key: str) -> None:
    assert cache.add(key, 1) is True
    assert cache.incr(key) == 2
    assert cache.touch(key, 5.5) is True
    assert cache.get_or_set(key, lambda: "v") == 2
    assert cache.incr_version(key) == 2
    assert cache.set_many({key: "v"}, tags=["t"]) == []
    assert cache.get_or_set(key, lambda: "other") == "v"
    assert cache.delete_many([key]) == 1
    assert cache.get_or_set(key, lambda: "loaded", 300, stale=60) == "loaded"
    assert cache.delete(key) is True


@pytest.mark.parametrize("length", [300, 2000])
def test_a_long_key_takes_large_values_and_numbers_too(cache: EtcdAeroCache, length: int) -> None:
    key = "k" * length
    cache.set(key, "x" * 1_500_000)
    assert cache.get(key) == "x" * 1_500_000
    cache.set(key, 5, 60)
    assert cache.incr(key, 2) == 7
    assert 58 <= (cache.ttl(key) or 0) <= 61
    assert cache.keys() == [key]


def test_lengths_around_that_of_the_longest_record_key(cache: EtcdAeroCache) -> None:
    for length in range(990, 1030):
        key = "k" * length
        assert cache.get_or_set(key, lambda length=length: length, 300, stale=60) == length  # type: ignore[misc]
        assert cache.get(key) == length
        assert cache.delete(key) is True


def test_others_would_not_take_it_and_django_warns(cache: EtcdAeroCache) -> None:
    with pytest.warns(CacheKeyWarning, match="longer"):
        cache.set("x" * 300, "v")
    with pytest.warns(CacheKeyWarning, match="characters"):
        cache.get("a b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for key in ("a", "é", "日本", "x" * 200):
            cache.get(key)


def test_keys_that_are_no_text_are_taken_as_django_takes_them(cache: EtcdAeroCache) -> None:
    cache.set(5, "v")
    assert cache.get(5) == cache.get("5") == "v"
    assert cache.get_many([5]) == {5: "v"}


def test_keys_are_listed_by_patterns(calls: Any) -> None:
    calls.set_many(dict.fromkeys(["city:1", "city:12", "city:x", "shop:1"], "v"))
    calls.set("city:1", "v", version=2)
    assert sorted(calls.keys()) == ["city:1", "city:12", "city:x", "shop:1"]
    assert sorted(calls.keys("city:*")) == ["city:1", "city:12", "city:x"]
    assert sorted(calls.keys("city:?")) == ["city:1", "city:x"]
    assert calls.keys("city:[!0-9]") == ["city:x"]
    assert calls.keys("*", version=2) == ["city:1"]
    assert calls.keys("city") == []
    assert calls.delete_pattern("city:?") == 2
    assert sorted(calls.keys()) == ["city:12", "shop:1"]
    assert calls.delete_pattern("city:*", version=2) == 1
    assert calls.delete_pattern("none*") == 0


def test_keys_are_read_a_few_at_a_time(cache: EtcdAeroCache) -> None:
    cache.set_many({str(number): "v" for number in range(250)})
    found = list(cache.iter_keys("*", itersize=10))
    assert len(found) == len(set(found)) == 250
    assert cache.delete_pattern("1*", itersize=7) == 111
    assert len(cache.keys()) == 139


def test_what_is_listed_is_there(make_cache: MakeCache) -> None:
    cache, other = make_cache(), make_cache({"KEY_PREFIX": "other"})
    cache.set("deleted", "v")
    cache.delete("deleted")
    cache.set("tagged", "v", tags=["t"])
    cache.invalidate_tags("t")
    other.set("of the other", "v")
    cache.set("number", 5)
    cache.set("large", "x" * 1_500_000)
    assert sorted(cache.keys()) == ["large", "number"]
    cache.clear()
    assert cache.keys() == []
    assert other.keys() == ["of the other"]


PREFIXES = [
    "a:b",
    "[x]*",
    "日本",
    "",
    ":",
    "::",
    " ",
    "a b",
    "\n",
    "\0",
    "a\0b",
    "%",
    "%s",
    "%(key)s",
    "*",
    "?",
    "[!x]",
]
PREFIXES += ["[a-z]", "]", "\\", "(", ".*", "😀", "\ud800", "x" * 500]


@pytest.mark.parametrize("prefix", PREFIXES, ids=lambda prefix: ascii(prefix)[:12])
def test_prefixes_of_all_kinds(make_cache: MakeCache, prefix: str) -> None:
    cache, other = make_cache({"KEY_PREFIX": prefix}), make_cache({"KEY_PREFIX": "x"})
    cache.set("k:1", "v")
    other.set("k:1", "of the other")
    assert cache.keys() == cache.keys("k*") == ["k:1"]
    assert cache.get(cache.keys()[0]) == "v"
    cache.set("[x]*", 5, tags=["t"])
    assert cache.keys("[[]x]*") == ["[x]*"]
    assert cache.incr("[x]*") == cache.get_or_set("[x]*", lambda: 0) == 6
    cache.invalidate_tags("t")
    assert cache.get("[x]*") is None
    assert cache.delete_pattern("k*") == 1
    cache.set("k", "v")
    cache.clear()
    assert cache.keys() == []
    assert other.keys() == ["k:1"]


def test_all_prefixes_are_apart(make_cache: MakeCache) -> None:
    caches = {prefix: make_cache({"KEY_PREFIX": prefix}) for prefix in PREFIXES}
    for prefix, cache in caches.items():
        cache.set("k", f"of {prefix!r}")
    assert {prefix: cache.get("k") for prefix, cache in caches.items()} == {each: f"of {each!r}" for each in caches}
    for cache in caches.values():
        assert cache.keys("*") == ["k"]


@pytest.mark.parametrize("prefix", ["x" * 501, "日" * 167, "y" * 5000])
def test_a_prefix_that_is_too_long_is_refused_when_it_is_configured(make_cache: MakeCache, prefix: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"KEY_PREFIX has \d+ bytes, allowed are 500"):
        make_cache({"KEY_PREFIX": prefix}, IGNORE_EXCEPTIONS=True).get("k")


def test_a_prefix_that_is_no_text_is_taken_as_django_takes_it(make_cache: MakeCache) -> None:
    cache = make_cache({"KEY_PREFIX": 5})
    cache.set("k", "v")
    assert cache.keys() == ["k"]
    assert make_cache({"KEY_PREFIX": "5"}).get("k") == "v"


def swapped(key: str, prefix: str, version: int) -> str:
    return f"{key}|{version}|{prefix}"


def unswapped(key: str) -> str:
    return key.split("|")[0]


def test_a_key_function_and_its_reverse(make_cache: MakeCache) -> None:
    params = {"KEY_FUNCTION": swapped, "KEY_PREFIX": "p"}
    for reverse in (unswapped, f"{__name__}.unswapped"):
        cache = make_cache(params, REVERSE_KEY_FUNCTION=reverse)
        cache.set("k", "v")
        assert cache.keys("k*") == ["k"]
        assert cache.reverse_key(cache.make_key("k")) == "k"
        assert cache.delete_pattern("*") == 1


def coded(key: str, prefix: str, version: int) -> str:
    return base64.b32encode(f"{version}:{key}".encode()).decode()


def decoded(key: str) -> str:
    return base64.b32decode(key).decode().partition(":")[2]


@pytest.mark.parametrize("ignore", [False, True])
def test_keys_that_cannot_be_told_are_refused(make_cache: MakeCache, ignore: bool) -> None:
    cache = make_cache({"KEY_FUNCTION": swapped}, IGNORE_EXCEPTIONS=ignore)
    cache.set_many({"a1": "v", "a2": "v", "b": "v"})
    for call in (cache.keys, cache.iter_keys, lambda: Awaited(cache).keys("*"), lambda: cache.reverse_key("a1|1|")):
        with pytest.raises(ConfigurationError, match="REVERSE_KEY_FUNCTION"):
            call()
    assert cache.delete_pattern("a?") == 2  # where the function keeps the pattern as it is
    assert cache.get("b") == "v"
    hidden = make_cache({"KEY_FUNCTION": coded}, IGNORE_EXCEPTIONS=ignore)
    with pytest.raises(ConfigurationError, match="REVERSE_KEY_FUNCTION"):
        hidden.delete_pattern("*")


def test_keys_of_a_function_that_hides_them(make_cache: MakeCache) -> None:
    cache = make_cache({"KEY_FUNCTION": coded}, REVERSE_KEY_FUNCTION=decoded)
    cache.set_many({"a1": "v", "a2": "v", "b": "v"})
    cache.set("a1", "v", version=2)
    assert sorted(cache.keys("a*")) == ["a1", "a2"]
    assert cache.keys(version=2) == ["a1"]
    assert cache.delete_pattern("a*") == 2
    assert cache.keys() == ["b"]
    assert cache.get("a1", version=2) == "v"
