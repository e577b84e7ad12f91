"""Values to bytes and back: whatever is in a record, it is a value of ours or a miss, and no code of others runs."""

from __future__ import annotations

import decimal
import json
import logging
import pickle
import sys
import types
import uuid
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.test import override_settings

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.cache.compressors import ALL
from django_etcdaero.cache.envelope import FORMAT, MAGIC, Envelope, unpack
from django_etcdaero.cache.serializers import BUILT_IN
from django_etcdaero.exceptions import CorruptBlock
from tests.cache.conftest import MakeCache

VALUES = [
    None,
    "text",
    "\ud800",
    "",
    b"bytes",
    b"",
    MAGIC + b"like a header",
    Envelope(1, 0, 0.0, b"an entry as a value").pack(),
    [1, [2]],
    {"a": {"b": None}},
    3.5,
    True,
]
OF_PICKLE = [
    (1, 2),
    {1, 2},
    {1: "int", "1": "str"},
    decimal.Decimal("1.10"),
    datetime(2026, 1, 1, tzinfo=UTC),
    date(2026, 1, 1),
    uuid.UUID(int=5),
    ValueError("an object"),
]

executed: list[str] = []


class Malicious:
    """Runs code when it is read from a pickle."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return executed.append, ("code has run",)


class Shouting:
    """A serializer of a project."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).upper().encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data.decode().lower())


def record_of(cache: EtcdAeroCache, key: str) -> bytes:
    """Return the key of an entry's record."""
    return cache._core.entries.record_key(cache.key_prefix, cache.make_key(key))


def raw(cache: EtcdAeroCache, key: str) -> bytes:
    """Return what is in the record of an entry."""
    record = cache.get_client().get(record_of(cache, key))
    assert record is not None
    assert isinstance(record.value, bytes)
    return record.value


def put_raw(cache: EtcdAeroCache, key: str, value: bytes | int) -> None:
    cache.get_client().put(record_of(cache, key), value)


def rewritten(cache: EtcdAeroCache, key: str, **changes: Any) -> None:
    """Change the header of an entry, or its body, without signing it anew."""
    envelope = unpack(raw(cache, key))
    assert envelope is not None
    put_raw(cache, key, envelope._replace(**changes).pack())


def is_a_miss(cache: EtcdAeroCache, key: str) -> None:
    """The entry is not there for any method, and can be stored anew."""
    assert cache.get(key) is None
    assert cache.get_many([key]) == {}
    assert cache.has_key(key) is False
    assert cache.touch(key) is False
    assert cache.keys() == []
    assert cache.get_or_set(key, lambda: "new", 60, stale=60) == "new"
    assert cache.delete(key) is True


# --- serializers and compressors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressor", [None, *ALL])
@pytest.mark.parametrize("serializer", [*BUILT_IN, Shouting, Shouting()], ids=[*BUILT_IN, "a class", "an object"])
def test_values_are_read_as_they_were_written(make_cache: MakeCache, serializer: Any, compressor: str | None) -> None:
    cache = make_cache(SERIALIZER=serializer, COMPRESSOR=compressor, COMPRESS_MIN_LENGTH=0)
    values: list[Any] = list(VALUES) if "pickle" in str(serializer) else ["small", [1, 2], {"a": None}, 3.5, True, None]
    if "pickle" in str(serializer):
        values += OF_PICKLE[:-1]
    elif serializer == "msgpack":
        values.append(b"bytes")
    for value in (*values, "long " * 10_000):
        cache.set("k", value)
        found = cache.get("k")
        assert found == value
        assert type(found) is type(value)
    assert len(raw(cache, "k")) < (5000 if compressor else 60_000)


@pytest.mark.parametrize("value", OF_PICKLE, ids=repr)
def test_what_json_cannot_hold_is_refused_and_what_it_changes_is_djangos_way(make_cache: MakeCache, value: Any) -> None:
    cache = make_cache(SERIALIZER="json")
    if not isinstance(value, set | Exception):
        cache.set("k", value)
        assert cache.get("k") == json.loads(json.dumps(value, cls=DjangoJSONEncoder))
        return
    with pytest.raises(TypeError):
        cache.set("k", value)
    assert cache.get("k") is None


def test_json_makes_strings_of_dates_and_the_like(make_cache: MakeCache) -> None:
    cache = make_cache(SERIALIZER="json")
    moment, number, name = datetime(2026, 1, 31, 12, 30, tzinfo=UTC), decimal.Decimal("19.90"), uuid.uuid4()
    cache.set(
        "k", {"moment": moment, "day": moment.date(), "lasts": timedelta(hours=1), "number": number, "name": name}
    )
    assert cache.get("k") == {
        "moment": "2026-01-31T12:30:00Z",
        "day": "2026-01-31",
        "lasts": "P0DT01H00M00S",
        "number": "19.90",
        "name": str(name),
    }


def test_serializer_and_compressor_can_change_while_entries_are_there(make_cache: MakeCache) -> None:
    text = "long " * 1000
    writers = [
        make_cache(SERIALIZER=serializer, COMPRESSOR=compressor)
        for serializer in ("pickle", "json", "msgpack")
        for compressor in (None, *ALL)
    ]
    for number, writer in enumerate(writers):
        writer.set(str(number), text)
    for reader in writers:
        assert reader.get_many(map(str, range(len(writers)))) == dict.fromkeys(map(str, range(len(writers))), text)


def test_small_values_are_not_compressed(make_cache: MakeCache) -> None:
    cache = make_cache(COMPRESSOR="zlib", COMPRESS_MIN_LENGTH=1000, COMPRESS_LEVEL=9)
    for text, code in (("x" * 900, 0), ("x" * 1100, 1)):
        cache.set("k", text)
        envelope = unpack(raw(cache, "k"))
        assert envelope is not None
        assert envelope.compressor == code


@pytest.mark.parametrize("name", ALL)
def test_a_body_that_grows_too_large_is_a_miss(make_cache: MakeCache, name: str, caplog: Any) -> None:
    limit = 10_000
    cache = make_cache(COMPRESSOR=name, MAX_VALUE_BYTES=limit, SERIALIZER="json")
    bomb = ALL[name].compress(b'"' + b"0" * 5_000_000 + b'"', None)
    put_raw(cache, "k", Envelope(BUILT_IN["json"].code, ALL[name].code, 0.0, bomb).pack())
    with caplog.at_level(logging.WARNING, "django_etcdaero.cache"):
        assert cache.get("k") is None
    assert "larger than an entry may be" in caplog.text
    is_a_miss(cache, "k")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [0, 1, 999, 1000])
def test_what_is_as_large_as_allowed_is_read(name: str, size: int) -> None:
    body = bytes(size)
    assert ALL[name].decompress(ALL[name].compress(body, None), 1000) == body
    with pytest.raises(CorruptBlock):
        ALL[name].decompress(ALL[name].compress(bytes(1001), None), 1000)
    with pytest.raises(CorruptBlock):
        ALL[name].decompress(ALL[name].compress(b"x" + body, None)[:-1], 1001)
    with pytest.raises(CorruptBlock):
        ALL[name].decompress(b"not compressed", 1000)


@pytest.mark.parametrize("name", ALL)
def test_every_level_works(make_cache: MakeCache, name: str) -> None:
    levels = ALL[name].levels
    for level in (levels[0], 0, 1, levels[-1]):
        cache = make_cache(COMPRESSOR=name, COMPRESS_LEVEL=level, COMPRESS_MIN_LENGTH=0)
        cache.set("k", "text " * 100)
        assert cache.get("k") == "text " * 100


def test_a_large_value_that_compresses_well_is_read_or_refused(make_cache: MakeCache, caplog: Any) -> None:
    cache = make_cache(COMPRESSOR="zlib", MAX_VALUE_BYTES=100_000)
    cache.set("k", "old")
    for size in (90_000, 110_000, 790_000):  # it is larger before it is compressed only
        cache.set("k", "x" * size)
        assert cache.get("k") == "x" * size
    cache.set("k", "x" * 810_000)
    assert cache.get("k") is None
    assert "was not stored" in caplog.text


# --- what is in the record -------------------------------------------------------------------------------------------

BYTES = [
    b"",
    b"\0",
    MAGIC,
    MAGIC + bytes([FORMAT]),
    MAGIC + bytes([FORMAT + 1]) + bytes(50),
    b"something else altogether",
    pickle.dumps("of another cache"),
    zlib.compress(b"text"),
    bytes(range(256)),
]


@pytest.mark.parametrize("data", BYTES, ids=lambda data: repr(data)[:16])
def test_what_is_not_ours_is_a_miss(cache: EtcdAeroCache, data: bytes) -> None:
    put_raw(cache, "k", data)
    is_a_miss(cache, "k")
    put_raw(cache, "k", data)
    assert cache.add("k", 5) is True
    assert cache.incr("k") == 6
    put_raw(cache, "k", data)
    with pytest.raises(ValueError, match="not found"):
        cache.incr("k")
    cache.set("k", "v")
    assert cache.get("k") == "v"


def test_an_entry_of_a_newer_format_is_a_miss(cache: EtcdAeroCache) -> None:
    cache.set("k", "v")
    data = bytearray(raw(cache, "k"))
    data[2] = FORMAT + 1
    put_raw(cache, "k", bytes(data))
    is_a_miss(cache, "k")


@pytest.mark.parametrize("changes", [{"serializer": 77}, {"compressor": 77}, {"compressor": 1}, {"signature": None}])
def test_codes_that_are_not_those_of_the_entry_are_a_miss(signed: EtcdAeroCache, changes: dict[str, Any]) -> None:
    signed.set("k", "v")
    rewritten(signed, "k", **changes)
    is_a_miss(signed, "k")


def test_a_class_that_is_gone_is_a_miss(cache: EtcdAeroCache, caplog: pytest.LogCaptureFixture) -> None:
    module = types.ModuleType("a_module_of_before")
    exec("class Thing: pass", module.__dict__)
    sys.modules[module.__name__] = module
    try:
        cache.set("k", module.Thing())
        assert cache.get("k").__class__.__name__ == "Thing"
    finally:
        del sys.modules[module.__name__]
    is_a_miss(cache, "k")
    assert "a_module_of_before" in caplog.text


def test_an_int_where_something_else_was_expected(cache: EtcdAeroCache) -> None:
    put_raw(cache, "k", 5)
    assert cache.get("k") == 5
    assert cache.get_or_set("k", lambda: "v", 60, stale=60, eager=0.1, soft_timeout=1) == 5


# --- signatures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def signed(make_cache: MakeCache) -> EtcdAeroCache:
    """A cache whose entries are signed, on every store."""
    return make_cache(SERIALIZER=Pickle())


class Pickle:
    """Of the project: signed wherever it is used."""

    dumps = staticmethod(pickle.dumps)
    loads = staticmethod(pickle.loads)


@pytest.fixture(autouse=True)
def _nothing_executed() -> Any:
    executed.clear()
    yield
    assert executed == []


def test_every_bit_counts(signed: EtcdAeroCache) -> None:
    signed.set("k", ["a", "value"])
    data = raw(signed, "k")
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        put_raw(signed, "k", bytes(changed))
        assert signed.get("k") is None, position
    put_raw(signed, "k", data)
    assert signed.get("k") == ["a", "value"]


def test_an_entry_moved_to_another_key_is_a_miss(signed: EtcdAeroCache, caplog: pytest.LogCaptureFixture) -> None:
    signed.set("another", "secret")
    put_raw(signed, "k", raw(signed, "another"))
    signed.delete("another")
    is_a_miss(signed, "k")
    assert "signature is wrong" in caplog.text


def test_an_entry_is_not_valid_for_longer_than_it_says(signed: EtcdAeroCache) -> None:
    signed.set("k", "v", 60.5)
    rewritten(signed, "k", expires=float("inf"))
    is_a_miss(signed, "k")


def test_code_in_an_unsigned_pickle_does_not_run(make_cache: MakeCache, signed: EtcdAeroCache) -> None:
    body = pickle.dumps(Malicious())
    for cache in (signed, make_cache(SERIALIZER="json"), make_cache(SERIALIZER="msgpack")):
        for code in range(256):
            for signature in (None, bytes(16)):
                put_raw(cache, "k", Envelope(code, 0, 0.0, body, signature=signature).pack())
                assert cache.get("k") is None


def test_a_signed_pickle_of_this_project_is_read_by_all_of_its_caches(location: str, make_cache: MakeCache) -> None:
    make_cache().set("k", ("a", "tuple"))
    for serializer in ("json", "msgpack", "unsigned-pickle"):
        assert make_cache(SERIALIZER=serializer).get("k") == ("a", "tuple")
    make_cache(SERIALIZER="unsigned-pickle").set("k", "v")
    # What never leaves the process need not be signed.
    expected = "v" if location.startswith("mem:") else None
    for serializer in ("json", "msgpack", "pickle"):
        assert make_cache(SERIALIZER=serializer).get("k") == expected


def test_a_secret_key_can_be_rotated(signed: EtcdAeroCache) -> None:
    with override_settings(SECRET_KEY="old"):
        signed.set("k", "v")
        signed.set("large", "x" * 1_500_000)
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["older", "old"]):
        assert signed.get("k") == "v"
        assert signed.get("large") == "x" * 1_500_000
        signed.touch("k", 5.5)  # writes it anew
        signed.set("new", "v")
    with override_settings(SECRET_KEY="new"):
        assert signed.get_many(["k", "large", "new"]) == {"k": "v", "new": "v"}
    with override_settings(SECRET_KEY="another"):
        assert signed.get_many(["k", "large", "new"]) == {}


def test_processes_of_before_and_after_a_rotation_serve_together(signed: EtcdAeroCache) -> None:
    """Without the new key among the fallbacks of the old processes their entries are misses, and nothing worse."""
    old = override_settings(SECRET_KEY="old", SECRET_KEY_FALLBACKS=[])
    new = override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"])
    prepared = override_settings(SECRET_KEY="old", SECRET_KEY_FALLBACKS=["new"])
    for number in range(3):
        with new:
            assert signed.get_or_set("k", lambda number=number: f"new {number}", 60) == f"new {number}"  # type: ignore[misc]
            signed.set("n", number, tags=["t"])
        with prepared:
            assert signed.get("k") == f"new {number}"
            assert signed.incr("n") == number + 1
            assert signed.set("n", number, tags=["t"], get=True) == number + 1
        with old:
            assert signed.get("k") is None
            assert signed.get("n") == number
            assert signed.add("k", f"old {number}", 60) is True
        with new:
            assert signed.get("k") == f"old {number}"
            assert signed.incr("n") == number + 1
            signed.delete("k")


@pytest.mark.parametrize("secret", ["é", "x" * 500, b"bytes", "\ud800"])
def test_secret_keys_of_all_kinds(signed: EtcdAeroCache, secret: Any) -> None:
    with override_settings(SECRET_KEY=secret):
        signed.set("k", "v")
        assert signed.get("k") == "v"
