"""Objects as they are stored: what goes in comes out."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any, ClassVar, TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.exceptions import EncodeError, InvalidObject
from django_etcdaero.keyvalue.objects.codec import codec_for
from tests.keyvalue.objects.classes import EXAMPLE, Color, Everything, Inner, Node, made, round_trip

T = TypeVar("T")


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
    st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23))
    .filter(lambda offset: not offset or abs(offset) >= timedelta(seconds=1))
    .map(timezone),
)


@given(st.datetimes(timezones=ZONES))
def test_moments_keep_instant_clock_and_zone(moment: datetime) -> None:
    back = round_trip(dataclasses.replace(EXAMPLE, moment=moment)).moment
    assert back.replace(tzinfo=None) == moment.replace(tzinfo=None)
    assert back.utcoffset() == moment.utcoffset()
    if isinstance(moment.tzinfo, ZoneInfo):
        assert back.tzinfo is moment.tzinfo


@pytest.mark.parametrize("microseconds", [1, -1, 999_999])
def test_an_offset_that_python_does_not_read_is_refused(microseconds: int) -> None:
    moment = datetime(2000, 1, 1, tzinfo=timezone(timedelta(microseconds=microseconds)))
    with pytest.raises(EncodeError, match="offset"):
        round_trip(dataclasses.replace(EXAMPLE, moment=moment))


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
