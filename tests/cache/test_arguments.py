"""Timeouts, shares and tags: what is taken, and errors that name the argument before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.records.arguments import MAX_TTL
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import MakeCache, memory
from tests.cache.loaders import Loader, locks

HUGE = 10**400
NAN = float("nan")
INF = float("inf")


@pytest.fixture
def location(request: pytest.FixtureRequest) -> Iterator[str]:
    """Arguments are looked at before any store is asked."""
    yield from memory(request)


@pytest.fixture(params=[Plain, Awaited])
def calls(request: pytest.FixtureRequest, cache: EtcdAeroCache) -> Any:
    return request.param(cache)


TIMED = {
    "set": lambda cache, timeout: cache.set("k", "v", timeout),
    "set nx": lambda cache, timeout: cache.set("k", "v", timeout, nx=True),
    "set xx": lambda cache, timeout: cache.set("k", "v", timeout, xx=True),
    "set get": lambda cache, timeout: cache.set("k", "v", timeout, get=True),
    "add": lambda cache, timeout: cache.add("k", "v", timeout),
    "set_many": lambda cache, timeout: cache.set_many({"k": "v"}, timeout),
    "touch": lambda cache, timeout: cache.touch("k", timeout),
    "touch_many": lambda cache, timeout: cache.touch_many(["k"], timeout),
    "expire": lambda cache, timeout: cache.expire("k", timeout),
    "pexpire": lambda cache, timeout: cache.pexpire("k", timeout),
    "get_or_set": lambda cache, timeout: cache.get_or_set("k", lambda: "v", timeout),
    "get_or_set of a value": lambda cache, timeout: cache.get_or_set("k", "v", timeout),
}
WRONG = [NAN, Decimal("NaN"), "nan", "soon", "", b"60", timedelta(seconds=60), 1j, [60], {}, ...]
TOO_LONG = [HUGE, INF, 1e300, 10**30, Decimal("1e999"), "1e400", str(HUGE)]
LONG = [60, 60.0, Decimal(60), Fraction(120, 2), "60", " 60.0 "]
NOTHING = [0, -1, -0.5, -HUGE, -INF, Decimal("-1e999"), "-5", False]


@pytest.fixture(params=TIMED.values(), ids=TIMED)
def timed(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("timeout", WRONG, ids=repr)
def test_a_timeout_that_is_no_number_is_refused(cache: EtcdAeroCache, timed: Any, timeout: Any) -> None:
    cache.set("k", "old", 600)
    for kind in (Plain(cache), Awaited(cache)):
        with pytest.raises((TypeError, ValueError), match=r"^timeout must be a number of seconds or None, not "):
            timed(kind, timeout)
    assert cache.get("k") == "old"
    assert (cache.ttl("k") or 0) > 500


@pytest.mark.parametrize("timeout", [*TOO_LONG, *LONG], ids=lambda value: repr(value)[:20])
def test_a_timeout_of_any_kind_of_number_is_taken(cache: EtcdAeroCache, timed: Any, timeout: Any) -> None:
    for kind in (Plain(cache), Awaited(cache)):
        cache.delete("k")
        timed(kind, timeout)
        cache.set("k", "old", 600)
        timed(kind, timeout)
        assert cache.get("k") in ("v", "old")
        assert 0 <= (cache.ttl("k") or 0) <= MAX_TTL


@pytest.mark.parametrize("timeout", NOTHING, ids=lambda value: repr(value)[:20])
def test_a_timeout_of_nothing_or_less_leaves_nothing(cache: EtcdAeroCache, timed: Any, timeout: Any) -> None:
    for kind in (Plain(cache), Awaited(cache)):
        cache.delete("k")
        timed(kind, timeout)
        assert cache.get("k") is None


def test_none_is_never(cache: EtcdAeroCache, timed: Any) -> None:
    timed(cache, None)
    timed(cache, None)
    assert cache.ttl("k") in (None, 0)  # 0: methods that only change what is there


@pytest.mark.parametrize("when", [None, NAN, "soon", timedelta(1), [1]], ids=repr)
@pytest.mark.parametrize("method", ["expire_at", "pexpire_at"])
def test_a_moment_that_is_none_is_refused(calls: Any, method: str, when: Any) -> None:
    calls.set("k", "v", 600)
    with pytest.raises((TypeError, ValueError), match=r"^when must be a datetime or a number, not "):
        getattr(calls, method)("k", when)
    assert calls.ttl("k") > 500


@pytest.mark.parametrize("method", ["expire_at", "pexpire_at"])
def test_moments_of_all_kinds(calls: Any, method: str) -> None:
    for when, left in ((HUGE, True), (INF, True), (-HUGE, False), (datetime.max.replace(tzinfo=UTC), True)):
        calls.set("k", "v", 600)
        assert getattr(calls, method)("k", when) is True
        assert (calls.get("k") == "v") is left
    calls.set("k", "v", 600)
    with pytest.raises(ValueError, match=r"^when"):
        getattr(calls, method)("k", datetime.min)  # noqa: DTZ901 # without a zone it has no timestamp


SPANS = ["stale", "soft_timeout"]
SHARES = ["eager", "jitter"]


@pytest.mark.parametrize("name", [*SPANS, *SHARES])
@pytest.mark.parametrize("value", [*WRONG, True, -1, -HUGE, -INF], ids=lambda value: repr(value)[:20])
def test_options_of_loads_that_make_no_sense_are_refused(calls: Any, name: str, value: Any) -> None:
    loader = Loader()
    for default in (loader, "v"):
        with pytest.raises((TypeError, ValueError), match=f"^{name} must be "):
            calls.get_or_set("k", default, 60, **{name: value})
    assert loader.count == 0
    assert calls.get("k") is None


@pytest.mark.parametrize("value", [HUGE, INF, 2, "1.5"], ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", SHARES)
def test_a_share_is_no_more_than_all(calls: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a share of the timeout"):
        calls.get_or_set("k", lambda: "v", 60, **{name: value})


@pytest.mark.parametrize("value", [HUGE, INF, 0, Decimal(5), "5"], ids=lambda value: repr(value)[:20])
def test_spans_of_all_kinds_of_numbers(calls: Any, value: Any) -> None:
    for number in range(2):
        calls.get_or_set("k", lambda: "v", 0.05, stale=value)
        calls.get_or_set("k", lambda: "v", 60, stale=value, soft_timeout=value, eager=Decimal("0.5"), jitter="0.1")
        assert calls.get_or_set(f"l{number}", lambda: "v", None, stale=value, soft_timeout=value) == "v"


def test_options_that_are_too_long_are_refused(make_cache: MakeCache) -> None:
    for name in ("STALE_RETRY", "SWEEP_INTERVAL", "LOAD_TIMEOUT", "LOAD_WAIT", "CALL_TIMEOUT", "RETRY_INTERVAL"):
        for value in (HUGE, INF, NAN):
            with pytest.raises(ImproperlyConfigured, match=name):
                make_cache(**{name: value}).get("k")
    with pytest.raises(ImproperlyConfigured, match="TIMEOUT"):
        make_cache({"TIMEOUT": INF}).get("k")
    for value in (HUGE, INF):
        cache = make_cache(STALE=value)
        assert cache.get_or_set("k", lambda: "v", 60) == "v"


# --- tags ------------------------------------------------------------------------------------------------------------

TAGGED = {
    "set": lambda cache, tags, key: cache.set(key, "v", tags=tags),
    "set xx": lambda cache, tags, key: cache.set(key, "v", xx=True, tags=tags),
    "set get": lambda cache, tags, key: cache.set(key, "v", get=True, tags=tags),
    "add": lambda cache, tags, key: cache.add(key, "v", tags=tags),
    "set_many": lambda cache, tags, key: cache.set_many({"short": "v", key: "v"}, tags=tags),
    "get_or_set": lambda cache, tags, key: cache.get_or_set(key, lambda: "v", tags=tags),
    "get_or_set of a value": lambda cache, tags, key: cache.get_or_set(key, "v", tags=tags),
}


def _many(size: int) -> list[str]:
    """Return tags that take about ``size`` bytes in a header."""
    return [f"{number:0489}" for number in range(size // 500)]


@pytest.mark.parametrize("tagged", TAGGED.values(), ids=TAGGED)
def test_tags_that_an_entry_cannot_have_are_refused_before_anything_is_done(cache: EtcdAeroCache, tagged: Any) -> None:
    before = {key for key, _ in cache.get_client().scan()}
    for tags, told in (
        (_many(67_000), r"^tags take 67000 bytes together .*, allowed are 65\d\d\d"),
        (["t" * 1020], "^tags: 't+'… is too long: 1020 bytes, a tag may have "),
        (["é" * 600], "^tags: .* is too long: 1200 bytes"),
        ("text", "^tags must be a list"),
        ([5], "^a tag must be a str"),
    ):
        for kind in (Plain(cache), Awaited(cache)):
            with pytest.raises((TypeError, ValueError), match=told):
                tagged(kind, tags, "k")
    assert {key for key, _ in cache.get_client().scan()} - before <= {cache._core.entries._generation_name("")}


def test_nothing_is_loaded_for_tags_that_an_entry_cannot_have(calls: Any, cache: EtcdAeroCache) -> None:
    loader = Loader()
    for tags in (_many(67_000), ["t" * 1020]):
        for stale in (None, 60):
            with pytest.raises(ValueError, match=r"^tags"):
                calls.get_or_set("k", loader, 60, tags=tags, stale=stale)
    assert loader.count == 0
    assert locks(cache) == []


@pytest.mark.filterwarnings("ignore::django.core.cache.backends.base.CacheKeyWarning")
def test_a_key_that_is_too_long_is_refused(calls: Any) -> None:
    loader, key = Loader(), "k" * 70_000
    for call in (
        lambda: calls.set(key, "v"),
        lambda: calls.get(key),
        lambda: calls.delete(key),
        lambda: calls.set_many({key: "v"}),
        lambda: calls.get_many([key, "a"]),
        lambda: calls.get_or_set(key, loader),
    ):
        with pytest.raises(ValueError, match=r"^key ':1:k+'… has 70003 bytes, allowed are"):
            call()
    assert loader.count == 0
