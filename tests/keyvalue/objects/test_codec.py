"""Objects as they are stored: what goes in comes out, and what does not fit is named."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from typing import Any, ClassVar, Generic, Literal, NewType, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.exceptions import ConfigurationError, EncodeError, InvalidObject
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.objects import Collection
from django_etcdaero.keyvalue.objects.codec import codec_for
from tests.keyvalue.objects.samples import ADA, Cat, Dog, Order

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Name(enum.StrEnum):
    FIRST = "first"


Sku = NewType("Sku", str)


@dataclass(frozen=True)
class Inner:
    number: int


@dataclass(frozen=True)
class Everything:
    text: str
    number: int
    real: float
    flag: bool
    nothing: None
    raw: bytes
    money: Decimal
    id: UUID
    day: date
    moment: datetime
    clock: time
    length: timedelta
    color: Color
    level: Level
    right: Right
    choice: Literal["a", 1, True]
    sku: Sku
    maybe: int | None
    either: int | str | float | list[int] | None
    many: list[Decimal]
    fixed: tuple[int, str]
    several: tuple[date, ...]
    unordered: set[int]
    frozen: frozenset[Color]
    texts: dict[str, Inner]
    numbers: dict[int, float]
    ids: dict[UUID, list[bytes]]
    colors: dict[Color, int]
    inner: Inner
    inners: Sequence[Inner]
    mapped: Mapping[str, int]
    free: Any
    loose: list  # type: ignore[type-arg]
    open: dict  # type: ignore[type-arg]


EXAMPLE = Everything(
    text="gr\xfc\xdfe \ud800 \0 \U0001f600",
    number=-(2**80),
    real=0.1,
    flag=True,
    nothing=None,
    raw=b"\0\xff",
    money=Decimal("1E+3"),
    id=UUID(int=7),
    day=date(1, 1, 1),
    moment=datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=ZoneInfo("Europe/Vienna")),
    clock=time(23, 59, tzinfo=UTC),
    length=timedelta(days=-1, microseconds=5),
    color=Color.BLUE,
    level=Level.HIGH,
    right=Right.READ | Right.WRITE,
    choice=True,
    sku=Sku("A1"),
    maybe=None,
    either=[1],
    many=[Decimal("0.10"), Decimal("-0")],
    fixed=(1, "x"),
    several=(date(2026, 1, 1),),
    unordered={3, 1, 2},
    frozen=frozenset(Color),
    texts={"b": Inner(1), "a": Inner(2)},
    numbers={-1: 1.5, 10: 2.0},
    ids={UUID(int=1): [b"x"]},
    colors={Color.RED: 1},
    inner=Inner(3),
    inners=[Inner(4)],
    mapped={"x": 1},
    free={"a": [1, 2.5, None, True, {"b": "c"}]},
    loose=[1, "a"],
    open={"a": {}},
)


def round_trip(value: T, *types: type) -> T:
    codec = codec_for(types or type(value), unknown="ignore")
    return codec.decode(codec.encode(value, label="x"), label="x")


def made(kind: type, name: str = "field") -> type:
    """A dataclass with one field."""
    return dataclasses.make_dataclass("Made", [(name, kind)], frozen=True)


def test_every_type_comes_back() -> None:
    back = round_trip(EXAMPLE)
    assert back == EXAMPLE
    for each in dataclasses.fields(Everything):
        assert type(getattr(back, each.name)) is type(getattr(EXAMPLE, each.name)), each.name
    assert str(back.many[1]) == "-0"
    assert back.moment.tzinfo is ZoneInfo("Europe/Vienna")


@pytest.mark.parametrize("either", [3, "x", 2.0, [1, 2], None])
def test_the_members_of_a_union_come_back(either: Any) -> None:
    back = round_trip(dataclasses.replace(EXAMPLE, either=either)).either
    assert (back, type(back)) == (either, type(either))


def test_how_it_is_written() -> None:
    data = json.loads(codec_for(Everything, unknown="ignore").encode(EXAMPLE, label="x"))
    assert data["moment"] == "2026-03-01T12:00:00.000001+01:00[Europe/Vienna]"
    assert data["length"] == "-PT86399.999995S"
    assert (data["raw"], data["money"], data["unordered"]) == ("AP8=", "1E+3", [1, 2, 3])
    assert (data["frozen"], data["right"], data["choice"]) == (["blue", "red"], 3, True)
    assert data["numbers"] == {"-1": 1.5, "10": 2.0}


@given(
    st.decimals().filter(lambda number: not number.is_snan()),
    st.timedeltas(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.binary(),
)
def test_scalars_lose_nothing(money: Decimal, length: timedelta, real: float, text: str, raw: bytes) -> None:
    value = dataclasses.replace(EXAMPLE, money=money, length=length, real=real, text=text, raw=raw)
    back = round_trip(value)
    assert str(back.money) == str(money)
    assert (back.length, back.real, back.text, back.raw) == (length, real, text, raw)
    assert math.copysign(1, back.real) == math.copysign(1, real)


ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    st.sampled_from(["Europe/Vienna", "America/New_York", "Asia/Kolkata", "UTC"]).map(ZoneInfo),
    st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23)).map(timezone),
)


@given(st.datetimes(timezones=ZONES))
def test_moments_keep_instant_clock_and_zone(moment: datetime) -> None:
    back = round_trip(dataclasses.replace(EXAMPLE, moment=moment)).moment
    assert back.replace(tzinfo=None) == moment.replace(tzinfo=None)
    assert back.utcoffset() == moment.utcoffset()
    if isinstance(moment.tzinfo, ZoneInfo):
        assert back.tzinfo is moment.tzinfo


@given(st.times(timezones=ZONES))
def test_times_keep_clock_and_zone(clock: time) -> None:
    back = round_trip(dataclasses.replace(EXAMPLE, clock=clock)).clock
    assert back.replace(tzinfo=None) == clock.replace(tzinfo=None)
    assert back.utcoffset() == clock.utcoffset()


def test_the_second_reading_of_a_clock_put_back_is_kept() -> None:
    moment = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Vienna"))
    back = round_trip(dataclasses.replace(EXAMPLE, moment=moment)).moment
    assert (back.fold, back.utcoffset()) == (1, timedelta(hours=1))


def test_an_instant_is_kept_when_the_rules_of_its_zone_have_changed() -> None:
    codec = codec_for(made(datetime), unknown="ignore")
    back = codec.decode(b'{"field":"2026-07-01T12:00:00+05:00[Europe/Vienna]"}', label="x").field
    assert back == datetime(2026, 7, 1, 7, tzinfo=UTC)
    assert back.tzinfo is ZoneInfo("Europe/Vienna")


def test_equal_objects_are_written_alike() -> None:
    codec = codec_for(Everything, unknown="ignore")
    first = codec.encode(EXAMPLE, label="x")
    with localcontext() as context:
        context.capitals = 0
        other = dataclasses.replace(EXAMPLE, unordered={2, 3, 1}, frozen=frozenset(reversed(Color)))
        assert codec.encode(other, label="x") == first


# --- what does not fit -----------------------------------------------------------------------------------------------


class Text(str):
    pass


class OddZone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(0)


@dataclass(frozen=True)
class Deep:
    rows: list[dict[str, Inner]]


@dataclass
class Node:
    next: Node | None = None


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


# --- fields ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Account:
    shared: ClassVar[int] = 1
    name: str
    tags: list[str] = field(default_factory=list)
    active: bool = True
    shout: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("the name is empty")
        object.__setattr__(self, "shout", self.name.upper())


def test_fields_that_are_missing_get_their_defaults() -> None:
    codec = codec_for(Account, unknown="ignore")
    assert codec.decode(b'{"name":"ada"}', label="x") == Account(name="ada")
    with pytest.raises(InvalidObject, match=r"x: Account\.name: it is missing"):
        codec.decode(b"{}", label="x")
    assert json.loads(codec.encode(Account(name="ada"), label="x")) == {"name": "ada", "tags": [], "active": True}


def test_the_class_checks_what_is_read() -> None:
    with pytest.raises(InvalidObject, match=r"x: Account: Account refused its fields: ValueError\('the name is empty'"):
        codec_for(Account, unknown="ignore").decode(b'{"name":""}', label="x")


def test_unknown_fields_are_ignored_or_refused() -> None:
    data = b'{"number":1,"surplus":2}'
    assert codec_for(Inner, unknown="ignore").decode(data, label="x") == Inner(1)
    with pytest.raises(InvalidObject, match="x: Inner: Inner has no field 'surplus'"):
        codec_for(Inner, unknown="refuse").decode(data, label="x")


def test_recursive_classes() -> None:
    chain = Node(Node(Node()))
    assert round_trip(chain) == chain


# --- kinds -----------------------------------------------------------------------------------------------------------


def test_several_classes_are_told_apart_by_kind(kv: KV) -> None:
    pets = Collection(kv, (Cat, Dog), "pets")
    pets.create("1", Cat("Tom"))
    pets.create("2", Dog("Rex", ("sit",)))
    found = kv.get("pets/2")
    assert found is not None
    assert found.value == b'{"kind":"Dog","name":"Rex","tricks":["sit"]}'
    assert [each.object for each in pets.list()] == [Cat("Tom"), Dog("Rex", ("sit",))]


def test_kinds_are_compared_without_regard_to_case(kv: KV) -> None:
    pets = Collection(kv, (Cat, Dog), "pets")
    kv.put("pets/1", '{"kind":"DOG","name":"Rex"}')
    assert pets.get("1").object == Dog("Rex")


def test_kinds_can_be_given_names(kv: KV) -> None:
    pets = Collection(kv, {"feline": Cat, "canine": Dog}, "pets")
    pets.create("1", Cat("Tom"))
    found = kv.get("pets/1")
    assert found is not None
    assert found.value == b'{"kind":"feline","name":"Tom","lives":9}'


@pytest.mark.parametrize("data", ['{"kind":"Bird","name":"x"}', '{"kind":7,"name":"x"}'])
def test_an_unknown_kind_is_named(kv: KV, data: str) -> None:
    kv.put("pets/1", data)
    with pytest.raises(InvalidObject, match=r"pets/1: .*unknown kind '(Bird|7)'; known are Cat, Dog"):
        Collection(kv, (Cat, Dog), "pets").get("1")


def test_a_class_can_be_added_to_a_collection_of_one(kv: KV) -> None:
    Collection(kv, Cat, "pets").create("1", Cat("Tom"))
    assert Collection(kv, (Cat, Dog), "pets").get("1").object == Cat("Tom")
    Collection(kv, (Cat, Dog), "pets").create("2", Cat("Leo"))
    Collection(kv, (Cat, Dog), "pets").create("3", Dog("Rex"))
    assert Collection(kv, Cat, "pets", unknown="refuse").get("2").object == Cat("Leo")
    with pytest.raises(InvalidObject, match="unknown kind 'Dog'; known are Cat"):
        Collection(kv, Cat, "pets").get("3")


@dataclass(frozen=True)
class Sorted:
    kind: str


def test_a_class_alone_may_have_a_field_kind() -> None:
    assert round_trip(Sorted("a")) == Sorted("a")
    with pytest.raises(ConfigurationError, match="Sorted has a field 'kind'"):
        codec_for((Sorted, Cat), unknown="ignore")


def test_kinds_must_be_distinct() -> None:
    with pytest.raises(ConfigurationError, match="the kinds cat, CAT are not distinct"):
        codec_for({"cat": Cat, "CAT": Dog}, unknown="ignore")
    with pytest.raises(ConfigurationError, match="the kinds cat, dog are not distinct"):
        codec_for({"cat": Cat, "dog": Cat}, unknown="ignore")


@dataclass(frozen=True)
class Owner:
    pet: Cat | Dog | None = None
    others: tuple[Cat | Dog, ...] = ()


def test_unions_of_classes_inside_an_object() -> None:
    owner = Owner(Dog("Rex"), (Cat("Tom"), Dog("Ace")))
    assert round_trip(owner) == owner
    assert round_trip(Owner()) == Owner()
    with pytest.raises(EncodeError, match=r"Owner\.pet: expected one of Cat, Dog \| NoneType|Owner\.pet: expected"):
        codec_for(Owner, unknown="ignore").encode(Owner(Inner(1)), label="x")  # type: ignore[arg-type]


# --- hooks -----------------------------------------------------------------------------------------------------------


class Point:
    """It writes itself."""

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    def __hash__(self) -> int:
        return hash((self.x, self.y))

    def to_json(self) -> Any:
        return {"at": f"{self.x},{self.y}"}

    @classmethod
    def from_json(cls, data: Any) -> Point:
        x, y = data["at"].split(",")
        return cls(int(x), int(y))


@dataclass(frozen=True)
class Line:
    start: Point
    end: Point | None


class Half:
    def to_json(self) -> Any:
        return {}


class Careless(Point):
    def to_json(self) -> Any:
        return {"at": {1, 2}}


def test_classes_may_write_themselves(kv: KV) -> None:
    points = Collection(kv, Point, "points")
    points.create("1", Point(1, 2))
    found = kv.get("points/1")
    assert found is not None
    assert found.value == b'{"at":"1,2"}'
    assert points.get("1").object == Point(1, 2)
    line = Line(Point(1, 2), Point(3, 4))
    assert round_trip(line) == line
    assert round_trip(Point(5, 6), Cat, Point) == Point(5, 6)


def test_errors_of_hooks_are_named() -> None:
    with pytest.raises(InvalidObject, match=r"x: Line\.start: Point\.from_json\(\) failed: KeyError\('at'\)"):
        codec_for(Line, unknown="ignore").decode(b'{"start":{},"end":null}', label="x")
    with pytest.raises(EncodeError, match=r"x: Careless\['at'\]: set is not plain JSON"):
        codec_for(Careless, unknown="ignore").encode(Careless(1, 2), label="x")
    with pytest.raises(ConfigurationError, match=r"Half must have both to_json\(\) and from_json\(\)"):
        codec_for(Half, unknown="ignore")


# --- declarations ----------------------------------------------------------------------------------------------------


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
