"""Rows of a declared class: checked when they are published, instances when they are read."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, FrozenInstanceError, InitVar, dataclass, field, make_dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from django.utils.safestring import mark_safe

from django_etcdaero.datasets.blocks.frozen import FrozenDict, FrozenList
from django_etcdaero.datasets.blocks.row_types import check_form
from django_etcdaero.datasets.blocks.short_rows import is_by_fields
from django_etcdaero.exceptions import ConfigurationError, EncodeError
from django_etcdaero.system.native_types import untrack

from .test_short_rows import digests, encoded, read

T = TypeVar("T")
Sku = NewType("Sku", str)


@dataclass(frozen=True, slots=True)
class Slotted:
    id: int
    name: str
    price: Decimal | None
    tags: list[str]
    note: str = ""


@dataclass(frozen=True)
class Plain:
    id: int
    name: str
    price: Decimal | None
    tags: list[str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class WithKeywords:
    id: int
    _: KW_ONLY
    name: str
    price: Decimal | None
    tags: list[str]
    note: str = ""


@dataclass(frozen=True)
class Own:
    id: int
    name: str
    price: Decimal | None
    tags: list[str]
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", f"{self.id} {self.name}")


class Tuple(NamedTuple):
    id: int
    name: str
    price: Decimal | None
    tags: list[str]
    note: str = ""


class Dict(TypedDict):
    id: int
    name: str
    price: Decimal | None
    tags: list[str]
    note: NotRequired[str]


class Struct(msgspec.Struct, frozen=True):  # type: ignore[misc, name-defined]
    id: int
    name: str
    price: Optional[Decimal]  # noqa: UP045
    tags: list[str]
    note: str = ""


class Untracked(msgspec.Struct, frozen=True, gc=False):  # type: ignore[misc, name-defined]
    id: int
    name: str
    price: Decimal | None
    tags: list[str]
    note: str = ""


class StructWithKeywords(msgspec.Struct, frozen=True, kw_only=True):  # type: ignore[misc, name-defined]
    id: int
    name: str
    price: Decimal | None
    tags: list[str]
    note: str = ""


CLASSES: list[Any] = [Slotted, Plain, WithKeywords, Own, Tuple, Dict, Struct, StructWithKeywords, Untracked]
BY_POSITION = [each for each in CLASSES if each not in (Dict, WithKeywords, StructWithKeywords)]


def fields(number: int) -> dict[str, Any]:
    return {"id": number, "name": f"n{number}", "price": Decimal(number) if number % 2 else None, "tags": ["a"]}


DICTS = {number: fields(number) for number in range(100)}


def shown(row: Any) -> dict[str, Any]:
    """Return the fields of a row, whatever its class."""
    return dict(row) if isinstance(row, dict) else {name: getattr(row, name) for name in Tuple._fields}


@pytest.mark.parametrize("few", [False, True], ids=["by fields", "by rows"])
@pytest.mark.parametrize("form", ["frozen", "plain"])
@pytest.mark.parametrize("row_type", CLASSES)
def test_instances_come_back_as_they_were_published(row_type: Any, form: Any, few: bool) -> None:
    rows = {key: row_type(**row) for key, row in DICTS.items() if not few or key < 3}
    blocks = encoded(rows, row_type=row_type)
    assert all(is_by_fields(block.plain) for block in blocks) is not few
    found = read(blocks, rows=form, row_type=row_type)
    assert found == rows
    row = found[1]
    assert type(row) is (row_type if row_type is not Dict else FrozenDict if form == "frozen" else dict)
    assert type(shown(row)["tags"]) is (FrozenList if form == "frozen" else list)
    assert not hasattr(row, "label") or row.label == "1 n1"


@pytest.mark.parametrize("row_type", CLASSES)
def test_dicts_become_instances_and_defaults_fill_what_they_lack(row_type: Any) -> None:
    found = read(encoded(DICTS, row_type=row_type), rows="frozen", row_type=row_type)
    assert found == {key: row_type(**row) for key, row in DICTS.items()}


@pytest.mark.parametrize("row_type", BY_POSITION)
@pytest.mark.parametrize("kind", [tuple, list])
def test_tuples_and_lists_become_instances_by_position(row_type: Any, kind: Any) -> None:
    rows = {key: kind(row.values()) for key, row in DICTS.items()}
    found = read(encoded(rows, row_type=row_type), row_type=row_type)
    assert found == {key: row_type(*row.values()) for key, row in DICTS.items()}


def test_rows_of_all_shapes_may_stand_side_by_side() -> None:
    shapes: list[Any] = [
        dict,
        lambda row: tuple(row.values()),
        lambda row: Slotted(**row),
        lambda row: {**row, "note": "x"},
    ]
    rows = {key: shapes[key % 4](row) for key, row in DICTS.items()}
    found = read(encoded(rows, row_type=Slotted), row_type=Slotted)
    assert found == {key: Slotted(**row, note="x" if key % 4 == 3 else "") for key, row in DICTS.items()}


def test_instances_are_stored_by_the_names_of_their_fields() -> None:
    rows = {key: Tuple(**row) for key, row in DICTS.items()}
    as_dicts = {key: {**row, "note": ""} for key, row in DICTS.items()}
    assert [b.digest.hex() for b in encoded(rows, row_type=Tuple)] == digests(as_dicts)
    assert read(encoded(rows, row_type=Tuple)) == as_dicts


@pytest.mark.parametrize("row_type", [Slotted, Tuple, Struct, Untracked])
def test_instances_cost_the_garbage_collector_nothing(row_type: Any) -> None:
    probe = [1]
    untrack(probe)
    if gc.is_tracked(probe):
        pytest.skip("not in this version of Python")
    blocks = encoded(DICTS, row_type=row_type)
    assert not any(map(gc.is_tracked, read(blocks, rows="frozen", row_type=row_type).values()))
    # What can be changed can become part of a cycle.
    assert row_type is Untracked or all(map(gc.is_tracked, read(blocks, rows="plain", row_type=row_type).values()))


# --- checked when published ------------------------------------------------------------------------------------------


class Inner(TypedDict):
    x: int


def one(annotation: Any) -> Any:
    return make_dataclass("One", [("a", annotation)], frozen=True, slots=True)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (None, [None], [0, ""]),
        (bool, [True], [1, None]),
        (int, [1, 2**70], [True, 1.0, None, "1"]),
        (float, [1.5, 1], [True, "1.5", Decimal(1)]),
        (str, ["a", mark_safe("a")], [b"a", None]),
        (bytes, [b"a"], ["a"]),
        (Decimal, [Decimal(1)], [1, 1.0]),
        (UUID, [UUID(int=1)], [str(UUID(int=1))]),
        (date, [date(2026, 1, 1)], [datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01"]),
        (datetime, [datetime(2026, 1, 1, tzinfo=UTC)], [date(2026, 1, 1)]),
        (time, [time(1)], [timedelta(1)]),
        (timedelta, [timedelta(1)], [time(1), 1]),
        (list, [[], [1, "a"], FrozenList([1])], [(), None]),
        (list[int], [[], [1]], [["a"], [True], [None], (1,)]),
        (list[list[int] | None], [[[1], None]], [[["a"]], [1]]),
        (Sequence[int], [[1], (1,)], [["a"], {1: 1}]),
        (tuple[int, ...], [(), (1, 2)], [("a",), [1]]),
        (tuple[int, str], [(1, "a")], [(1,), (1, 2), ("a", 1), (1, "a", 2)]),
        (dict[str, int], [{}, {"a": 1}, FrozenDict({"a": 1})], [{"a": "b"}, {1: 1}, []]),
        (Mapping[str, list[int]], [{"a": [1]}], [{"a": [None]}]),
        (set[int], [{1}, frozenset({1})], [{"a"}, [1]]),
        (frozenset[str], [frozenset({"a"})], [{"a"}, frozenset({1})]),
        (int | None, [1, None], ["a", True]),
        (Optional[list[int]], [None, [1]], [["a"], 1]),  # noqa: UP045
        (list[int] | list[str], [[1], ["a"]], [[1, "a"]]),
        (Literal["a", 1, None], ["a", 1, None, mark_safe("a")], ["b", True, 2, 1.0]),
        (Annotated[int, "of something"], [1], ["a"]),
        (Sku, ["a"], [1]),
        (Inner, [{"x": 1}], [{"x": "a"}, {}, {"x": 1, "y": 2}, 1]),
        (list[Inner], [[{"x": 1}]], [[{"x": None}]]),
        (Any, [1, "a", None, [1]], []),
        (object, [1, "a", None, [1]], []),
        (T, [1, "a"], []),
        (list[T], [[1], ["a"]], [1]),
        (int | Any, ["a"], []),
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 40])
def test_values_are_checked_by_the_annotation_of_their_field(annotation: Any, good: Any, bad: Any, count: int) -> None:
    row_type = one(annotation)
    for value in good:
        rows = {number: {"a": value} for number in range(count)}
        assert len(encoded(rows, row_type=row_type)) > 0
        for form in ("frozen", "plain"):
            assert len(read(encoded(rows, row_type=row_type), rows=form, row_type=row_type)) == count
    for value in bad:
        rows = {number: {"a": good[0]} for number in range(count)} | {"wrong": {"a": value}}  # type: ignore[dict-item]
        with pytest.raises(EncodeError, match=r"row 'wrong' does not fit .* One: its field 'a' is .*, expected"):
            encoded(rows, row_type=row_type)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"id": 1}, "it has no field 'name'"),
        ({**fields(1), "color": "red"}, "it has a field 'color', which the class does not have"),
        ({**fields(1), "name": 7}, "its field 'name' is int, expected str"),
        ({**fields(1), "price": 1.5}, "its field 'price' is float, expected Decimal or None"),
        ({**fields(1), "tags": ["a", 1]}, r"its field 'tags' is list \['a', 1\], expected list\[str\]"),
        ((1, "n", None, [], "", 6), "it has 6 fields without names, the class 5"),
        ({1: 2}, "its fields are not named by text"),
        ("text", "a str has no fields; it takes a dict, list or tuple"),
    ],
)
@pytest.mark.parametrize("row_type", [Slotted, Tuple, Struct])
def test_a_row_that_does_not_fit_is_named_with_its_field(row_type: Any, row: Any, error: str) -> None:
    with pytest.raises(EncodeError, match=f"row 17 does not fit the row type {row_type.__name__}: {error}"):
        encoded({**DICTS, 17: row}, row_type=row_type)


def test_an_instance_with_a_wrong_value_is_named() -> None:
    rows = {key: Slotted(**row) for key, row in DICTS.items()} | {17: Slotted(**{**fields(17), "id": "17"})}
    with pytest.raises(EncodeError, match=r"row 17 does not fit .* Slotted: its field 'id' is str, expected int"):
        encoded(rows, row_type=Slotted)


def test_instances_of_another_class_are_refused() -> None:
    with pytest.raises(EncodeError, match=r"row 5 .*: a Plain has no fields"):
        encoded({**DICTS, 5: Plain(**fields(5))}, row_type=Slotted)


def test_a_typed_dict_is_checked_too() -> None:
    with pytest.raises(EncodeError, match=r"row 1 .* Dict: its field 'note' is None, expected str"):
        encoded({1: {**fields(1), "note": None}}, row_type=Dict)


def test_a_class_that_makes_itself_checks_itself() -> None:
    @dataclass(frozen=True)
    class Upper:
        name: str

        def __post_init__(self) -> None:
            object.__setattr__(self, "name", str(self.name).upper())

    assert read(encoded({1: {"name": 7}}, row_type=Upper), row_type=Upper) == {1: Upper("7")}


def test_annotations_that_cannot_be_resolved_are_not_checked() -> None:
    row_type = one("Unknown")
    assert read(encoded({1: {"a": 1}}, row_type=row_type), row_type=row_type) == {1: row_type(1)}


# --- evolution -------------------------------------------------------------------------------------------------------


def evolved(row_type: Any, rows: dict[Any, Any]) -> dict[Any, Any]:
    return read(encoded(rows), rows="frozen", row_type=row_type)


def test_a_field_that_was_added_has_its_default_in_rows_of_before() -> None:
    made: list[int] = []

    def factory() -> int:
        made.append(1)
        return len(made)

    later = make_dataclass(
        "Later",
        [("id", int), ("color", str, "red"), ("at", int, field(default_factory=factory))],
        frozen=True,
        slots=True,
    )
    rows = {number: {"id": number} for number in range(50)}
    found = evolved(later, rows)
    assert {(row.color, row.id) for row in found.values()} == {("red", number) for number in rows}
    assert sorted(row.at for row in found.values()) == list(range(1, 51))


@pytest.mark.parametrize("row_type", [Slotted, Plain, Tuple, Dict, Struct])
def test_a_field_that_was_removed_is_left_out(row_type: Any) -> None:
    found = evolved(row_type, {key: {"gone": 1, **row} for key, row in DICTS.items()})
    assert found == {key: row_type(**row) for key, row in DICTS.items()}


@pytest.mark.parametrize("row_type", [Slotted, Plain, Tuple, Dict, Struct])
@pytest.mark.parametrize("count", [2, 50])
def test_a_field_that_rows_of_before_lack_is_named_with_what_to_do(row_type: Any, count: int) -> None:
    rows = {number: {"id": number, "name": "n", "tags": []} for number in range(count)}
    with pytest.raises(ConfigurationError, match=rf"{row_type.__name__}: it has no field 'price': give it a default"):
        evolved(row_type, rows)


@pytest.mark.parametrize("row_type", [Slotted, Plain, Tuple, Dict, Struct])
@pytest.mark.parametrize("count", [2, 50])
def test_a_field_whose_type_was_changed_is_named_with_what_to_do(row_type: Any, count: int) -> None:
    rows = {number: {**fields(number), "price": 1.5} for number in range(count)}
    with pytest.raises(ConfigurationError, match=r"'price' is float, expected Decimal or None: if .* raise schema"):
        evolved(row_type, rows)


def test_a_class_that_refuses_a_row_says_which() -> None:
    @dataclass(frozen=True)
    class Positive:
        id: int

        def __post_init__(self) -> None:
            if self.id == 7:
                raise ValueError("not seven")

    with pytest.raises(ConfigurationError, match=r"row 7 does not fit the row type .*Positive: not seven"):
        evolved(Positive, {number: {"id": number} for number in range(20)})


def test_what_a_generated_init_does_beside_setting_fields_is_done() -> None:
    @dataclass(frozen=True, slots=True)
    class Odd:
        id: int
        doubled: int = field(init=False, default=2)

    @dataclass(frozen=True, slots=True)
    class Given:
        id: int
        scale: InitVar[int] = 3

    rows = {number: {"id": number} for number in range(20)}
    assert evolved(Odd, rows)[3].doubled == 2
    assert evolved(Given, rows)[3].id == 3


def test_an_instance_with_slots_is_one_like_any_other() -> None:
    @dataclass(frozen=True, slots=True, weakref_slot=True)
    class Weak:
        a: int
        b: str

    made = read(encoded({n: Weak(n, "x") for n in range(20)}, row_type=Weak), rows="frozen", row_type=Weak)
    assert made[3] == Weak(3, "x")
    assert type(made[3]) is Weak
    assert weakref.ref(made[3])() is made[3]
    assert replace(made[3], b="y") == Weak(3, "y")
    assert hash(made[3]) == hash(Weak(3, "x"))
    with pytest.raises(FrozenInstanceError):
        made[3].a = 4


def test_generic_and_inherited_classes() -> None:
    @dataclass(frozen=True, slots=True)
    class Box(Generic[T]):
        item: T

    @dataclass(frozen=True, slots=True)
    class More(Box[int]):
        name: str = "x"

    class Pair(NamedTuple):
        x: int

    class Checked(Pair):
        def __new__(cls, x: int) -> Any:
            return super().__new__(cls, x * 2)

    rows = {number: {"item": number} for number in range(20)}
    assert evolved(Box, rows)[3] == Box(3)
    assert evolved(More, rows)[3] == More(3)
    assert evolved(Checked, {number: {"x": number} for number in range(20)})[3].x == 6


# --- declared --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row_type", CLASSES)
def test_all_these_classes_can_be_declared(row_type: Any) -> None:
    check_form("frozen", row_type)


def test_a_struct_whose_fields_can_be_set_is_a_choice() -> None:
    class Loose(msgspec.Struct):  # type: ignore[misc, name-defined]
        id: int

    with pytest.raises(ConfigurationError, match=r"attributes that can be set.*Struct, frozen=True"):
        check_form("frozen", Loose)
    check_form("plain", Loose)
