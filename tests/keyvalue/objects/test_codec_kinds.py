"""Classes of several kinds in one collection, and classes that write themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from django_etcdaero.exceptions import ConfigurationError, EncodeError, InvalidObject
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.objects import Collection
from django_etcdaero.keyvalue.objects.codec import codec_for
from tests.keyvalue.objects.classes import Inner, Point, round_trip
from tests.keyvalue.objects.samples import Cat, Dog

T = TypeVar("T")


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


# --- hooks -----------------------------------------------------------------------------------------------------------


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
