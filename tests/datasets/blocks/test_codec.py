"""What a row may hold comes back as it was; everything else is refused by name."""

from __future__ import annotations

import contextlib
import enum
import math
import struct
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from django.core.files.base import ContentFile
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.datasets.blocks.codec import MAX_LEVELS, Encoder, decode, split
from django_etcdaero.datasets.blocks.digests import DamagedRecord
from django_etcdaero.datasets.blocks.frozen import FrozenDict, FrozenList
from django_etcdaero.exceptions import EncodeError, ResponseError


def encode(value: Any) -> bytes:
    return Encoder().encode(["key"], [value])[1][0]


def identity(value: Any) -> Any:
    """Return something that differs whenever a type, a sign, an order or a zone differs."""
    kind = type(value)
    if kind is dict:
        return kind, [(identity(key), identity(item)) for key, item in value.items()]
    if kind in (list, tuple):
        return kind, [identity(item) for item in value]
    if kind in (set, frozenset):
        return kind, sorted(map(repr, map(identity, value)))
    if kind is float:
        return kind, struct.pack(">d", value)
    if kind is Decimal:
        return kind, value.as_tuple()
    if kind in (datetime, time):
        zone = value.tzinfo
        key = (type(zone), getattr(zone, "key", None), zone and zone.utcoffset(None), zone and zone.tzname(None))
        return kind, repr(value.replace(tzinfo=None)), value.fold, key
    return kind, value


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(allow_nan=False),
    st.text(st.characters(codec=None)),
    st.binary(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.datetimes(timezones=st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))),
    st.timedeltas(),
)
hashables = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashables, inner, max_size=4),
        st.sets(hashables, max_size=4),
        st.frozensets(hashables, max_size=4),
    ),
    max_leaves=20,
)


@given(values)
def test_any_value_comes_back_with_its_type_and_order(value: Any) -> None:
    assert identity(decode(encode(value))) == identity(value)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        math.inf,
        -math.inf,
        2**63,
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        10**5000,
        "\0",
        "a\ud800\0",
        Decimal("1E+400"),
        Decimal("-0.00"),
        Decimal("0E-27"),
        Decimal("NaN"),
        Decimal("-sNaN123"),
        Decimal("-Infinity"),
        timedelta.min,
        timedelta.max,
        date.min,
        datetime.max,  # noqa: DTZ901
        time(23, 59, 59, 999_999, fold=1),
        time(1, tzinfo=timezone(timedelta(seconds=-1))),
        time(1, tzinfo=ZoneInfo("Asia/Tokyo")),
        datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Warsaw"), fold=1),
        datetime(2024, 10, 27, 2, 30, fold=1),  # noqa: DTZ001
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "")),
        datetime(2024, 1, 1, tzinfo=UTC),
        {None: 1, True: 2, 2.5: 3, Decimal("7.0"): 4, b"": 5, (1, ("x",)): 6, date(2024, 1, 1): 7, frozenset({1}): 8},
        {"b": 1, "a": 2},
        [set(), frozenset(), (), [], {}],
    ],
    ids=lambda value: type(value).__name__,
)
def test_edge_values_come_back_exactly(value: Any) -> None:
    assert identity(decode(encode(value))) == identity(value)


def test_nan_comes_back_as_nan() -> None:
    assert math.isnan(decode(encode(math.nan)))


def test_a_set_is_written_in_the_order_of_its_encoded_elements() -> None:
    elements = {f"text {n}" for n in range(50)}  # their order in the set depends on PYTHONHASHSEED
    header, payload = encode(elements)[:4], encode(elements)[4:]
    assert header[-1:] == b"\x09"
    assert payload == encode(sorted(elements, key=encode))


def test_the_thread_s_decimal_context_does_not_change_the_encoding() -> None:
    expected = encode(Decimal("1E+50"))
    with localcontext() as context:
        context.capitals = 0
        context.prec = 1
        assert encode(Decimal("1E+50")) == expected
        assert decode(encode(Decimal("1.2345"))) == Decimal("1.2345")


def test_frozen_values_are_read_only_all_the_way_down() -> None:
    plain = {"a": [1, {"b": {2}}, (3, [4])], "c": [[5]]}
    value = decode(encode(plain), frozen=True)
    assert value == plain
    assert types_in(value) == (
        FrozenDict,
        [
            (FrozenList, [int, (FrozenDict, [frozenset]), (tuple, [int, (FrozenList, [int])])]),
            (FrozenList, [(FrozenList, [int])]),
        ],
    )


def types_in(value: Any) -> Any:
    """Return the types of a value and of all that dicts, lists and tuples in it hold."""
    if isinstance(value, dict | list | tuple):
        return type(value), [types_in(item) for item in (value.values() if isinstance(value, dict) else value)]
    return type(value)


@given(values)
def test_what_is_read_frozen_is_stored_as_what_it_was(value: Any) -> None:
    if not holds_a_set(value):
        assert encode(decode(encode(value), frozen=True)) == encode(value)


def holds_a_set(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(holds_a_set, value.values()))
    return isinstance(value, set) or (isinstance(value, list | tuple) and any(map(holds_a_set, value)))


class Marked(str):
    """Text that says it is HTML, as Django's ``SafeString`` does."""

    def __html__(self) -> str:
        return self


def test_text_that_is_marked_as_html_is_stored_as_text() -> None:
    value = decode(encode({"html": Marked("<b>"), Marked("key"): [Marked("x")]}))
    assert value == {"html": "<b>", "key": ["x"]}
    assert {type(text) for text in (*value, value["html"], *value["key"])} == {str}
    assert encode(Marked("<b>")) == encode("<b>")


# --- refusals --------------------------------------------------------------------------------------------------------


class Text(str):
    pass


class Colour(enum.IntEnum):
    RED = 1


class Pair(NamedTuple):
    a: int


class Manager:
    pass


class Model:
    _meta = object()
    pk = 1


class LocalZone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(0)


@dataclass
class Instance:
    x: int


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("repr runs a query")


Proxy = type("__proxy__", (), {"__module__": "django.utils.functional"})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Text("x"), ["Text", "subclass of str"]),
        (OrderedDict(a=1), ["collections.OrderedDict", "subclass of dict", "dict()"]),
        (defaultdict(list), ["collections.defaultdict", "subclass of dict"]),
        (Pair(1), ["Pair", "subclass of tuple", "tuple()", "row_type"]),
        (Instance(1), ["Instance", "dataclasses.asdict()", "row_type"]),
        (MappingProxyType({"a": 1}), ["mappingproxy", "dict()"]),
        (Colour.RED, ["Colour", "enum member's value"]),
        (bytearray(b"x"), ["bytearray", "bytes()"]),
        (memoryview(b"x"), ["memoryview", "bytes()"]),
        ((n for n in ()), ["generator", "list()"]),
        (range(3), ["range", "list()"]),
        (MappingProxyType({}), ["mappingproxy", "dict()"]),
        (ContentFile(b""), ["ContentFile", "its name or its URL"]),
        (Model(), ["Model", "QuerySet.values()"]),
        (Proxy(), ["django.utils.functional.__proxy__", "lazy"]),
        (Manager(), ["Manager"]),
        (Hostile(), ["Hostile"]),
        (datetime(2024, 1, 1, tzinfo=LocalZone()), ["LocalZone", "zoneinfo.ZoneInfo"]),
        (1j, ["complex", "such as str"]),
        (msgpack.ExtType(2, b"1"), ["msgpack.ext.ExtType"]),
        (msgpack.Timestamp(1), ["msgpack.ext.Timestamp"]),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda value: {"id": 1, "price": [0, 1, value]}, "['price'][2]"),
        (lambda value: {"price": (0, {"x": (value,)})}, "['price'][1]['x'][0]"),
        (lambda value: [[[value]]], "[0][0][0]"),
    ],
    ids=["list", "tuple", "lists"],
)
def test_a_refused_value_is_named_with_row_place_type_and_a_hint(
    value: Any, words: list[str], wrap: Any, path: str
) -> None:
    with pytest.raises(EncodeError) as caught:
        Encoder().encode(["tigger", "winnie", "piglet"], [1, wrap(value), 2])
    message = str(caught.value)
    assert message.startswith(f"row 'winnie' at {path}: ")
    for word in words:
        assert word in message


def test_a_refused_row_is_named_without_a_place() -> None:
    with pytest.raises(EncodeError, match=r"^row 7: .*Model cannot be stored; store plain values"):
        Encoder().encode([7], [Model()])


@pytest.mark.parametrize("key", [memoryview(b"x"), msgpack.ExtType(2, b"1"), Colour.RED, Text("x"), Manager()])
def test_a_refused_key_of_a_dict_is_named(key: Any) -> None:
    with pytest.raises(EncodeError, match=r"row 'winnie' at \['a'\]<key <.*>>: "):
        Encoder().encode(["winnie"], [{"a": {"b": 1, key: 2}}])


@pytest.mark.parametrize("key", [Colour.RED, Text("x"), Manager(), memoryview(b"x"), (1, Pair(1)), Hostile()])
def test_a_refused_row_key_is_named(key: Any) -> None:
    with pytest.raises(EncodeError, match=r"^row .*, the row's key.*: .*cannot be stored"):
        Encoder().encode([1, key], [1, 2])


def test_circular_structures_are_refused() -> None:
    circular: list[Any] = [1]
    circular.append({"again": circular})
    with pytest.raises(EncodeError, match=r"row 1 at \['x'\]\[1\]\['again'\]: the list contains itself"):
        Encoder().encode([1], [{"x": circular}])


def test_a_circle_through_a_tuple_is_refused() -> None:
    inner: list[Any] = []
    inner.append((inner,))
    with pytest.raises(EncodeError, match="contains itself"):
        Encoder().encode([1], [inner])


def test_tuples_nest_as_deep_as_promised_and_no_deeper() -> None:
    value: Any = 1
    for _ in range(MAX_LEVELS):
        value = (value,)
    assert decode(encode(value)) == value
    with pytest.raises(EncodeError, match=f"row 'key': .*{MAX_LEVELS} deep"):
        encode((value,))


def test_lists_nest_500_deep_and_not_without_end() -> None:
    value: Any = 1
    for _ in range(500):
        value = [value]
    assert decode(encode(value)) == value
    for deeper in ([value], {1: value}, ([value],)):
        with pytest.raises(EncodeError, match="deep"):
            encode(deeper)


def test_an_encoder_goes_on_after_a_refusal() -> None:
    encoder = Encoder()
    with pytest.raises(EncodeError):
        encoder.encode([1], [{"a": (1, object())}])
    assert encoder.encode([1], [{"a": (1, 2)}]) == Encoder().encode([1], [{"a": (1, 2)}])


@dataclass
class Product:
    name: str


def test_a_dataclass_instance_is_refused() -> None:
    with pytest.raises(EncodeError, match="Product"):
        encode(Product("x"))


# --- damaged data ----------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_decodes_to_known_types(data: bytes) -> None:
    for frozen in (False, True):
        try:
            value = decode(data, frozen=frozen)
        except ResponseError:
            continue
        assert not isinstance(value, (msgpack.Timestamp, msgpack.ExtType))


@given(values, st.data())
def test_changed_encodings_raise_nothing_but_the_named_error(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ResponseError):
        decode(bytes(encoded))


@given(values)
def test_truncated_and_trailing_bytes_are_refused(value: Any) -> None:
    encoded = encode(value)
    for damaged in (encoded[:-1], encoded + b"\0"):
        with pytest.raises(DamagedRecord):
            decode(damaged)


@pytest.mark.parametrize(
    "data",
    [
        b"\xd4\x63\x00",  # unknown extension type 99
        b"\xd6\xff\x00\x00\x00\x01",  # MessagePack timestamps of all three lengths, and inside a map's key
        b"\xd7\xff" + bytes(8),
        b"\xc7\x0c\xff" + bytes(12),
        b"\x81\xd6\xff\x00\x00\x00\x01\x01",
        b"\x81\x90\x01",  # a list as a key
        b"\xdd\xff\xff\xff\xff",  # an array of 2**32 - 1 elements
        b"\xc6\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x08",
        b"\xd4\x08\x01",  # a tuple that is no array
        b"\xc7\x03\x0a\x91\x90\x00",  # trailing bytes inside a frozenset
        b"\xd5\x0a\x91\x90",  # a frozenset with a list in it
        b"\xd4\x03\x00",  # a UUID of one byte
        b"\xd6\x04\x00\x00\x00\x00",  # the day before the first
        b"\xc7\x03\x02abc",  # no Decimal
        b"\xc7\x09\x06" + bytes(8) + b"?",  # no such kind of zone
        b"\xc7\x0b\x06" + bytes(8) + b"Z..",
        b"",
    ],
    ids=lambda data: data.hex()[:24],
)
def test_what_is_never_written_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedRecord):
        decode(data)


def test_tuples_nested_too_deep_are_refused_without_harm() -> None:
    data = b"\x01"
    for _ in range(1000):
        data = msgpack.packb(msgpack.ExtType(8, b"\x91" + data))
    with pytest.raises(DamagedRecord, match="deep"):
        decode(data)


def test_a_zone_that_this_machine_lacks_is_named() -> None:
    with pytest.raises(ResponseError, match="'Moon/Tycho'"):
        decode(msgpack.packb(msgpack.ExtType(6, bytes(8) + b"ZMoon/Tycho")))


def test_uuid_and_uuid_text_are_different_values() -> None:
    uuid = UUID(int=7)
    assert decode(encode([uuid, str(uuid), uuid.bytes])) == [uuid, str(uuid), uuid.bytes]


def test_elements_are_cut_apart_without_being_decoded() -> None:
    values = [1, "text", {"a": [1, {2}]}, (1, 2), Decimal("1.50"), float("nan")]
    assert split(encode(values)) == [encode(each) for each in values]
    row = {"name": "Pot", 7: [1], (1, 2): {"x": 1}} | {str(number): number for number in range(20)}
    parts = split(encode(row))
    assert dict(zip(map(decode, parts[::2]), map(decode, parts[1::2]), strict=True)) == row
    assert split(encode([])) == split(encode({})) == []
    for damaged in (b"", encode("text"), encode([1, 2])[:-1], b"\x92\xc1\xc1"):
        with pytest.raises(DamagedRecord):
            split(damaged)
