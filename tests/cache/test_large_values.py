"""Values that do not fit into one record are kept in several; those that are too large are not kept at all."""

from __future__ import annotations

import os
from typing import Any

import pytest

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import RecordTooBig
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import MakeCache

LARGE = 2_500_000


@pytest.fixture(params=[Plain, Awaited])
def calls(request: pytest.FixtureRequest, cache: EtcdAeroCache) -> Any:
    return request.param(cache)


def parts(cache: EtcdAeroCache) -> list[bytes]:
    """Return the keys of the records with parts of values."""
    return [key for key, _ in cache.get_client().scan() if key.startswith(b"cache:p")]


def large(seed: int = 0) -> bytes:
    return bytes([seed]) + os.urandom(LARGE)


def test_a_large_value_is_read_as_it_was_written(calls: Any) -> None:
    value, other = large(), large()
    calls.set("k", value, tags=["t"])
    assert calls.get("k") == value
    assert calls.has_key("k") is True
    calls.set_many({"small": "v", "large": other})
    assert calls.get_many(["k", "small", "large"]) == {"k": value, "small": "v", "large": other}
    assert calls.add("k", "v") is False
    assert calls.add("added", other) is True
    assert calls.get_or_set("loaded", lambda: value, 60, stale=60) == calls.get("loaded") == value
    assert calls.set("k", other, get=True) == value
    calls.set("t", value, tags=["t"])
    calls.invalidate_tags("t")
    assert calls.get("t") is None


@pytest.mark.parametrize("above", range(-6000, 200, 400))
def test_sizes_around_the_largest_record(cache: EtcdAeroCache, above: int) -> None:
    value = os.urandom(cache.get_client().max_value_bytes + above)
    tags = [f"{number:0500}" for number in range(20)]  # the header needs room as well
    cache.set("k", value)
    cache.set("tagged", value, tags=tags)
    assert cache.set_many({"many": value}, tags=tags) == []
    assert cache.get_many(["k", "tagged", "many"]) == dict.fromkeys(["k", "tagged", "many"], value)


def test_a_missing_part_is_a_miss(cache: EtcdAeroCache) -> None:
    for number in range(len(_stored(cache, large()))):
        before = set(parts(cache))
        cache.set("k", large())
        cache.get_client().delete(sorted(set(parts(cache)) - before)[number])
        assert cache.get("k") is None
        assert cache.get_many(["k"]) == {}
        assert cache.keys() == []
        assert cache.get_or_set("k", lambda: "v") == "v"
        cache.delete("k")


def test_a_part_that_was_changed_is_a_miss(make_cache: MakeCache) -> None:
    cache = make_cache(SERIALIZER=_Signed())
    for part in _stored(cache, "x" * LARGE):
        record = cache.get_client().get(part)
        assert record is not None
        assert isinstance(record.value, bytes)
        for changed in (b"y" + record.value[1:], record.value[:-1], b"", 5):
            cache.get_client().put(part, changed)
            assert cache.get("k") is None
        cache.get_client().put(part, record.value)
        assert cache.get("k") == "x" * LARGE


class _Signed:
    """A serializer of the project, whose entries are signed on every store."""

    def dumps(self, value: str) -> bytes:
        return value.encode()

    def loads(self, data: bytes) -> str:
        return data.decode()


def _stored(cache: EtcdAeroCache, value: Any) -> list[bytes]:
    cache.set("k", value)
    found = parts(cache)
    assert len(found) >= 3
    return found


def test_parts_that_nobody_needs_any_more_are_removed(cache: EtcdAeroCache) -> None:
    first = _stored(cache, large(1))
    second = _stored(cache, large(2))
    assert not set(first) & set(second)
    assert len(second) == len(first)
    cache.delete("k")
    assert parts(cache) == []
    _stored(cache, large(3))
    cache.set_many({"l": large(4)})
    assert cache.delete_many(["k", "l"]) == 2
    assert parts(cache) == []


def test_parts_live_as_long_as_their_entry(calls: Any, cache: EtcdAeroCache) -> None:
    def lives() -> set[int | None]:
        return {meta.ttl for key, meta in cache.get_client().scan() if key.startswith(b"cache:p")}

    value = large()
    calls.set("k", value, 60)
    assert all(ttl is not None and 58 <= ttl <= 60 for ttl in lives())
    for method, argument, least, most in (("touch", 500, 498, 500), ("expire", 5.5, 4, 6), ("expire", 800, 798, 800)):
        assert getattr(calls, method)("k", argument) is True
        assert calls.get("k") == value
        assert any(ttl is not None and least <= ttl <= most for ttl in lives())
    assert calls.touch_many(["k"], 2000) == 1
    assert max(ttl or 0 for ttl in lives()) >= 1998
    assert calls.persist("k") is True
    assert None in lives()
    assert calls.incr_version("k") == 2
    assert calls.get("k", version=2) == value


LIMIT = 20_000


@pytest.mark.parametrize("size", [LIMIT + 1, 2_000_000])
def test_a_value_that_is_too_large_leaves_nothing_of_the_old_one(
    make_cache: MakeCache, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache, value = make_cache(MAX_VALUE_BYTES=LIMIT), "x" * size
    for kind in (Plain(cache), Awaited(cache)):
        for write in (
            lambda kind=kind: kind.set("k", value),
            lambda kind=kind: kind.set("k", value, xx=True),
            lambda kind=kind: kind.set("k", value, get=True),
            lambda kind=kind: kind.set_many({"k": value, "other": "v"}),
        ):
            cache.set("k", "old")
            answer = write()
            assert answer in (None, False, ["k"])
            assert cache.get("k") is None
    assert cache.get("other") == "v"
    assert "':1:k' was not stored" in caplog.text
    assert cache.stats()["too_big"] > 0


def test_adding_a_value_that_is_too_large_is_an_error_that_changes_nothing(make_cache: MakeCache) -> None:
    cache = make_cache(MAX_VALUE_BYTES=LIMIT)
    for kind in (Plain(cache), Awaited(cache)):
        for before in (None, "old"):
            for method, options in (("add", {}), ("set", {"nx": True})):
                if before:
                    cache.set("k", before)
                with pytest.raises(RecordTooBig):
                    getattr(kind, method)("k", "x" * LIMIT, **options)
                assert cache.get("k") == before
        cache.delete("k")


def test_a_value_that_may_not_be_larger_than_it_is_now_is_stored(make_cache: MakeCache) -> None:
    cache = make_cache(MAX_VALUE_BYTES=LARGE + 100)
    value = large()
    cache.set("k", value)
    assert cache.get("k") == value


# --- compressed ------------------------------------------------------------------------------------------------------

COMPRESSORS = ["zlib", "zstd", "lz4"]


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_what_counts_is_what_is_stored(make_cache: MakeCache, compressor: str) -> None:
    cache = make_cache(MAX_VALUE_BYTES=LIMIT, COMPRESSOR=compressor)
    value = "x" * (7 * LIMIT)
    for kind in (Plain(cache), Awaited(cache)):
        kind.set("k", value)
        assert kind.get("k") == value
        assert kind.set_many({"l": value}, tags=["t"]) == []
        assert kind.get_many(["k", "l"]) == {"k": value, "l": value}
        assert kind.get_or_set("m", lambda: value, 60, stale=60) == value
    assert cache.stats()["too_big"] == 0
    assert cache.stats()["bytes_written"] < LIMIT


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_value_that_does_not_get_smaller_is_as_large_as_it_is(make_cache: MakeCache, compressor: str) -> None:
    cache = make_cache(MAX_VALUE_BYTES=LIMIT, COMPRESSOR=compressor)
    cache.set("k", "old")
    for value in (os.urandom(LIMIT + 100), "x" * (9 * LIMIT)):  # too many bytes stored; too many before
        with pytest.raises(RecordTooBig, match=r"a value of \d+ bytes, allowed are"):
            cache.add("k2", value)
        cache.set("k", value)
        assert cache.get("k") is None


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_little_that_unpacks_to_much_is_a_miss(
    make_cache: MakeCache, compressor: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever can write to the store makes no process use more memory than the bound."""
    make_cache(MAX_VALUE_BYTES=1024**2, COMPRESSOR=compressor, SERIALIZER="json").set("k", "x" * (9 * LIMIT))
    reading = make_cache(MAX_VALUE_BYTES=LIMIT, SERIALIZER="json")
    assert reading.get("k") is None
    assert reading.get_many(["k"]) == {}
    assert reading.stats()["unreadable"] > 0
    assert "larger than an entry may be" in caplog.text
