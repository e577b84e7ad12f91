"""``OPTIONS``: what is wrong is named at the first use, before anything is asked of a store."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_etcdaero.cache import EtcdAeroCache, bound
from django_etcdaero.cache.faults import faults
from django_etcdaero.cache.options import CacheOptions

NUMBERS = {
    "COMPRESS_MIN_LENGTH": [-1, 1.5, "1", True],
    "MAX_VALUE_BYTES": [0, 1023, 2**40, 5000.5],
    "CALL_TIMEOUT": [0, -1, 601, "5", True],
    "JITTER": [-0.1, 1, "0.5"],
    "STALE": [-1, "60"],
    "STALE_RETRY": [0, -5],
    "LOAD_TIMEOUT": [0, 0.5, 10**6],
    "LOAD_WAIT": [-1, 601],
    "STAMP_MAX_AGE": [-1, 3601],
    "SWEEP_INTERVAL": [-1, "never"],
    "RETRY_INTERVAL": [0, 3601],
}
OTHERS: dict[str, list[Any]] = {
    "USING": [5, None],
    "SERIALIZER": ["yaml", 5, None, Ellipsis],
    "COMPRESSOR": ["brotli", 5],
    "COMPRESS_LEVEL": [5],
    "IGNORE_EXCEPTIONS": ["yes", 1, None],
    "NEAR": [5, {"max_entries": 0}, {"entries": 5}],
    "REVERSE_KEY_FUNCTION": ["no.such.function", "nodots", 5],
}
WRONG = [(name, value) for table in (NUMBERS, OTHERS) for name, values in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda each: repr(each)[:30])
def test_a_wrong_value_is_refused_and_named(name: str, value: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        EtcdAeroCache("mem:options", {"OPTIONS": {name: value}}).get("k")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [float("nan"), None, [1]])
def test_what_is_no_number_is_refused_and_named(name: str, value: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        EtcdAeroCache("mem:options", {"OPTIONS": {name: value}}).get("k")


def test_every_option_is_tried_here() -> None:
    assert {field.name for field in fields(CacheOptions)} <= {*NUMBERS, *OTHERS}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"SERIALISER": "json"}, "SERIALISER.*did you mean 'SERIALIZER'"),
        ({"CLIENT_CLASS": "x"}, "CLIENT_CLASS"),
        ({5: 5}, "5"),
        ({"COMPRESSOR": "zlib", "COMPRESS_LEVEL": 10}, "COMPRESS_LEVEL.*zlib"),
        ({"COMPRESSOR": "zlib", "COMPRESS_LEVEL": True}, "COMPRESS_LEVEL"),
        ({"COMPRESSOR": "zlib", "COMPRESS_LEVEL": "9"}, "COMPRESS_LEVEL"),
        (["SERIALIZER"], "OPTIONS must be a dict"),
    ],
    ids=str,
)
def test_what_else_is_wrong_is_named(options: Any, text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=text):
        EtcdAeroCache("mem:options", {"OPTIONS": options}).get("k")


@pytest.mark.parametrize(
    ("option", "name", "package"),
    [("SERIALIZER", "msgpack", "msgpack"), ("COMPRESSOR", "zstd", "zstandard"), ("COMPRESSOR", "lz4", "lz4")],
)
def test_a_package_that_is_not_there_is_named(
    option: str, name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = importlib.import_module

    def absent(wanted: str, *arguments: Any) -> Any:
        if wanted.partition(".")[0] == package:
            raise ImportError(wanted)
        return original(wanted, *arguments)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ImproperlyConfigured, match=rf"{option}.*{re.escape(package)}"):
        EtcdAeroCache("mem:options", {"OPTIONS": {option: name}}).get("k")


def test_options_of_djangos_own_base_class_are_taken() -> None:
    cache = EtcdAeroCache("mem:bound", {"OPTIONS": {"MAX_ENTRIES": 5, "CULL_FREQUENCY": 2}})
    for number in range(50):
        cache.set(str(number), "v", tags=["t"])
        assert cache.get(str(number)) == "v"
    assert 2 <= len(cache.keys()) <= 5
    cache.set("large", b"x" * 2_500_000)
    for number in range(50):
        cache.set(str(number), 5)
    assert not [key for key, _ in cache.get_client().scan() if key.startswith((b"cache:p", b"cache:q"))]
    other = EtcdAeroCache("mem:bound", {"KEY_PREFIX": "other"})
    other.set_many({str(number): "v" for number in range(100)})
    cache.set_many({str(number): "v" for number in range(20)})
    assert len(cache.keys()) <= 5
    assert len(other.keys()) == 100
    cache.get_client().truncate()


@pytest.mark.filterwarnings("ignore::django.core.cache.backends.base.CacheKeyWarning")
def test_the_bound_of_memory_is_one_for_keys_of_all_lengths() -> None:
    cache = EtcdAeroCache("mem:bound", {"OPTIONS": {"MAX_ENTRIES": 10, "CULL_FREQUENCY": 3}})
    for number in range(40):
        cache.set(f"{number}", "v")
        cache.set(f"{number}{'x' * 2000}", "v")
        assert len(cache.keys()) <= 10
    assert {key.strip("x") for key in cache.keys()} >= {"39", "38"}  # those used last  # noqa: SIM118
    cache.get_client().truncate()


def test_the_stamps_of_tags_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "FEWEST_STAMPS", 50)
    cache = EtcdAeroCache("mem:bound", {"OPTIONS": {"MAX_ENTRIES": 5, "STAMP_MAX_AGE": 0}})
    for number in range(300):
        cache.set("k", number, None, tags=[f"t{number}", "always"])
        assert cache.get("k") == number  # an entry that is used keeps its tags
    assert len([key for key, _ in cache.get_client().scan() if key.startswith(b"cache:t")]) <= 52
    cache.set("old", "v", None, tags=["old"])
    assert cache.get("old") == "v"
    for number in range(300):
        cache.set("k", number, None, tags=[f"u{number}"])
    assert cache.get("old") is None  # a stamp that is gone makes it invalid, never valid
    cache.get_client().truncate()


def test_none_of_the_options_is_needed() -> None:
    for params in ({}, {"OPTIONS": None}, {"OPTIONS": {}}):
        EtcdAeroCache("mem:options", params).get("k")


class NeedsAnArgument:
    def __init__(self, argument: object) -> None: ...


ODD = [[], {}, [1], {"a": 1}, object(), 5, 5.5, b"x", float("nan"), {1}, NeedsAnArgument, "", "x", "a.b", True, 10**400]
PARAMS = ("TIMEOUT", "KEY_PREFIX", "VERSION", "KEY_FUNCTION", "OPTIONS")


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:20])
def test_whatever_is_written_in_the_settings_is_read_or_told(value: object) -> None:
    for name in (*(field.name for field in fields(CacheOptions)), "MAX_ENTRIES", "CULL_FREQUENCY"):
        assert all(isinstance(wrong, str) for wrong in faults("mem:", {"OPTIONS": {name: value}}))
    for name in PARAMS:
        assert all(isinstance(wrong, str) for wrong in faults("mem:", {name: value}))
    assert len(list(faults(value, {}))) == 1


@pytest.mark.parametrize("value", [5, b"x", ["a.b"], "no.such.function", "nodots", ".x", "..x"], ids=repr)
def test_a_key_function_that_is_none_is_named(value: object) -> None:
    with pytest.raises(ImproperlyConfigured, match="KEY_FUNCTION"):
        EtcdAeroCache("mem:options", {"KEY_FUNCTION": value}).get("k")
