"""What cannot be stored or read is named, and so are types that cannot be declared."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import sys
import typing
from dataclasses import InitVar, dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar

import pytest

from django_etcdaero.exceptions import ConfigurationError, EncodeError, InvalidObject
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.objects import Collection
from django_etcdaero.keyvalue.objects.codec import codec_for
from tests.keyvalue.objects.classes import EXAMPLE, Everything, Inner, Name, Node, Point, made, round_trip
from tests.keyvalue.objects.samples import ADA, Cat, Dog, Order

T = TypeVar("T")


class Text(str):
    pass


class OddZone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(0)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "other class": ({"number": "1"}, r"number: expected int, got str"),
    "bool for int": ({"number": True}, r"number: expected int, got bool"),
    "int for bool": ({"flag": 1}, r"flag: expected bool, got int"),
    "datetime for date": ({"day": datetime(2026, 1, 1)}, r"day: expected date, got datetime"),  # noqa: DTZ001
    "subclass": ({"text": Text("a")}, r"text: expected str, got Text"),
    "enum for its value": ({"text": Name.FIRST}, r"text: expected str, got Name"),
    "value for enum": ({"color": "red"}, r"color: expected Color, got str"),
    "infinity": ({"real": math.inf}, r"real: inf cannot be written as JSON"),
    "nan": ({"real": math.nan}, r"real: nan cannot be written as JSON"),
    "zone": ({"moment": datetime(2026, 1, 1, tzinfo=OddZone())}, r"moment: the time zone is a OddZone"),
    "literal": ({"choice": 2}, r"choice: expected Literal\['a', 1, True\], got '2'"),
    "union": ({"either": b"x"}, r"either: expected int \| str \| float \| list of int \| NoneType, got bytes"),
    "list item": ({"many": [Decimal(1), 2]}, r"many\[1\]: expected Decimal, got int"),
    "tuple for list": ({"many": ()}, r"many: expected list of Decimal, got tuple"),
    "length": ({"fixed": (1,)}, r"fixed: expected tuple\[int, str\], got 1 values"),
    "tuple item": ({"fixed": (1, 2)}, r"fixed\[1\]: expected str, got int"),
    "set item": ({"unordered": {"a"}}, r"unordered\[0\]: expected int, got str"),
    "list for set": ({"unordered": [1]}, r"unordered: expected set of int, got list"),
    "dict item": ({"texts": {"a": Inner("x")}}, r"texts\['a'\]\.number: expected int, got str"),  # type: ignore[arg-type]
    "dict key": ({"numbers": {"1": 1.0}}, r"numbers's keys: expected int, got str"),
    "list for dict": ({"texts": []}, r"texts: expected dict of str to Inner, got list"),
    "free": ({"free": {"a": [Decimal(1)]}}, r"free\['a'\]\[0\]: Decimal is not plain JSON"),
    "free key": ({"free": {1: 2}}, r"free's keys: expected str as a key of plain JSON, got int"),
    "signalling NaN": ({"money": Decimal("sNaN")}, "money: a signalling NaN"),
    "nested": ({"inner": {"number": 1}}, r"inner: expected Inner, got dict"),
}


# --- what does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", REFUSED)
def test_a_value_that_does_not_fit_is_named(case: str) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(EncodeError, match=rf"^orders/7: Everything\.{message}"):
        codec_for(Everything, unknown="ignore").encode(dataclasses.replace(EXAMPLE, **changes), label="orders/7")


def test_an_object_that_holds_itself_is_refused() -> None:
    node = Node()
    node.next = node
    with pytest.raises(EncodeError, match="x: Node"):
        codec_for(Node, unknown="ignore").encode(node, label="x")


UNREADABLE: dict[str, tuple[str, Any, str]] = {
    "other type": ("number", "1", r"number: expected int, got str"),
    "real for int": ("number", 1.0, r"number: expected int, got float"),
    "huge": ("real", 10**400, r"real: the number is too large for a float"),
    "base64": ("raw", "*", r"raw: '\*' is not a bytes"),
    "decimal": ("money", "one", r"money: 'one' is not a Decimal"),
    "uuid": ("id", "7", r"id: '7' is not a UUID"),
    "date": ("day", "2026-02-30", r"day: '2026-02-30' is not a date"),
    "datetime": ("moment", "now", r"moment: 'now' is not a datetime"),
    "brackets": ("moment", "2026-01-01[", r"moment: '2026-01-01\[' is not a datetime"),
    "zone": ("moment", "2026-01-01T00:00+00:00[Mars/Base]", r"moment: this machine has no time zone 'Mars/Base'"),
    "time": ("clock", "25:00", r"clock: '25:00' is not a time"),
    "timedelta": ("length", "5", r"length: '5' is not a timedelta"),
    "number for text": ("day", 5, r"day: expected date as text, got int"),
    "enum": ("color", "green", r"color: 'green' is not a value of Color"),
    "enum type": ("level", "1", r"level: expected Level, got str"),
    "literal": ("choice", "b", r"choice: expected Literal"),
    "union": ("either", {}, r"either: expected int"),
    "list": ("many", {}, r"many: expected list of Decimal, got dict"),
    "list item": ("many", ["1", 2], r"many\[1\]: expected Decimal as text, got int"),
    "tuple": ("fixed", [1, "a", 2], r"fixed: expected tuple\[int, str\], got 3 values"),
    "set": ("unordered", 1, r"unordered: expected set of int, got int"),
    "dict": ("texts", [], r"texts: expected dict of str to Inner, got list"),
    "dict item": ("texts", {"a": {}}, r"texts\['a'\]\.number: it is missing"),
    "dict key": ("numbers", {"x": 1}, r"numbers's keys: the key 'x' is not a number"),
    "nested": ("inner", 5, r"inner: expected Inner, got int"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_stored_and_does_not_fit_is_named(case: str) -> None:
    name, data, message = UNREADABLE[case]
    codec = codec_for(Everything, unknown="ignore")
    stored = json.loads(codec.encode(EXAMPLE, label="x"))
    with pytest.raises(InvalidObject, match=rf"^orders/7: .*\.{message}"):
        codec.decode(json.dumps(stored | {name: data}).encode(), label="orders/7")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[NaN]", b'{"number":Infinity}', b"[" * 100_000])
def test_what_is_no_json_is_not_read(data: bytes) -> None:
    with pytest.raises(InvalidObject, match="x: "):
        codec_for(Inner, unknown="ignore").decode(data, label="x")


class Strange(enum.Enum):
    LIST = [1]


@dataclass
class Box(Generic[T]):
    content: T


@dataclass
class Unresolved:
    other: Missing  # type: ignore[name-defined]  # noqa: F821


DECLARATIONS: dict[str, tuple[Any, str]] = {
    "complex": (complex, r"Made\.field: complex cannot be stored: it is neither a dataclass"),
    "enum": (Strange, r"Strange\.LIST has a list as its value"),
    "keys": (dict[float, int], r"keys must be int or something that is written as text"),
    "optional keys": (dict[int | None, int], r"keys must be int"),
    "ambiguous": (str | Decimal, r"the members of str \| Decimal cannot be told apart in JSON"),
    "two lists": (list[int] | tuple[int, ...], r"cannot be told apart"),
    "literal": (Literal[b"a"], r"Literal\[b'a'\] may hold values of str, int and bool only"),
    "type variable": (T, r"~T stands for no particular type"),  # type: ignore[valid-type,misc]
    "generic": (Box[int], r"Box\[int\] cannot be stored"),
    "deep": (list[dict[str, complex]], r"complex cannot be stored"),
    "callable": (type[int], r"cannot be stored"),
}


# --- declarations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", DECLARATIONS)
def test_a_type_that_cannot_be_stored_is_refused_when_it_is_declared(case: str) -> None:
    annotation, message = DECLARATIONS[case]
    with pytest.raises(ConfigurationError, match=message):
        codec_for(made(annotation), unknown="ignore")


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    with pytest.raises(ConfigurationError, match="an annotation of Unresolved cannot be resolved: name 'Missing'"):
        codec_for(Unresolved, unknown="ignore")


@dataclass
class Derived:
    number: int
    factor: InitVar[int] = 1


def test_what_an_object_does_not_keep_cannot_be_stored() -> None:
    with pytest.raises(ConfigurationError, match=r"Derived\.factor is an InitVar"):
        codec_for(Derived, unknown="ignore")


class Alias:
    """What ``type Price = Decimal`` makes, for Python 3.11, which has no such statement."""

    __value__ = Decimal


def test_aliases_of_types() -> None:
    alias: Any = typing.TypeAliasType("Price", Decimal) if sys.version_info >= (3, 12) else Alias()
    kind: Any = made(list[alias])
    assert round_trip(kind([Decimal("1.10")])).field == [Decimal("1.10")]


def test_a_codec_is_made_once() -> None:
    assert codec_for(Order, unknown="ignore") is codec_for(Order, unknown="ignore")
    assert round_trip(ADA) == ADA


def test_only_the_classes_of_a_collection_fit(kv: KV) -> None:
    pets = Collection(kv, (Cat, Dog), "pets")
    with pytest.raises(EncodeError, match="pets/1: Order: expected one of Cat, Dog, got Order"):
        pets.create("1", ADA)  # type: ignore[arg-type]
    kv.put("pets/1", "[]")
    with pytest.raises(InvalidObject, match="pets/1: one of Cat, Dog: expected one of Cat, Dog, got list"):
        pets.get("1")


class Bare(Point):
    def to_json(self) -> Any:
        return [self.x, self.y]


def test_what_writes_itself_must_have_room_for_its_kind() -> None:
    with pytest.raises(EncodeError, match=r"x: Bare: expected a dict from to_json\(\) of Bare, got list"):
        codec_for((Bare, Cat), unknown="ignore").encode(Bare(1, 2), label="x")


def test_whole_numbers_fit_a_float_and_other_things_do_not() -> None:
    assert round_trip(dataclasses.replace(EXAMPLE, real=3)).real == 3.0
    with pytest.raises(EncodeError, match="real: expected float, got str"):
        codec_for(Everything, unknown="ignore").encode(dataclasses.replace(EXAMPLE, real="3"), label="x")  # type: ignore[arg-type]
    with pytest.raises(InvalidObject, match="field: expected float, got str"):
        codec_for(made(float), unknown="ignore").decode(b'{"field":"3"}', label="x")


def test_a_set_of_what_cannot_be_in_a_set_is_not_read() -> None:
    with pytest.raises(InvalidObject, match="field: an element of the set is not hashable"):
        codec_for(made(set[Any]), unknown="ignore").decode(b'{"field":[[]]}', label="x")


def test_fields_of_what_writes_itself_are_not_checked(kv: KV) -> None:
    points = Collection(kv, Point, "points")
    points.create("1", Point(1, 2))
    assert len(points.list(fields={"x": 1})) == 1
    assert len(points.list(fields={"z": 1})) == 0
