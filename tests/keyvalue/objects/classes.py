"""Classes with fields of every type, and one that writes itself."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, NewType, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from django_etcdaero.keyvalue.objects.codec import codec_for

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


@dataclass
class Node:
    next: Node | None = None


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


def round_trip(value: T, *types: type) -> T:
    codec = codec_for(types or type(value), unknown="ignore")
    return codec.decode(codec.encode(value, label="x"), label="x")


def made(kind: type, name: str = "field") -> type:
    """A dataclass with one field."""
    return dataclasses.make_dataclass("Made", [(name, kind)], frozen=True)
