"""Read-only rows: no method changes them, everybody can read them, and every copy is an ordinary one."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import random
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from django_etcdaero import thaw
from django_etcdaero.datasets.blocks.frozen import FrozenDict, FrozenList, freeze
from django_etcdaero.system import native_types

PLAIN: dict[str, Any] = {"name": "Teapot", "tags": ["b", "a"], "size": {"w": 1}, "pair": (1, [2]), "empty": [{}]}

DICT_CHANGES: dict[str, Callable[[Any], object]] = {
    "d[k] = v": lambda d: d.__setitem__("name", 1),
    "del d[k]": lambda d: d.__delitem__("name"),
    "d |= e": lambda d: d.__ior__({"x": 1}),
    "clear": lambda d: d.clear(),
    "pop": lambda d: d.pop("name", None),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("name", 1),
    "update": lambda d: d.update(x=1),
    "init": lambda d: d.__init__(x=1),
    "attribute": lambda d: setattr(d, "x", 1),
}
LIST_CHANGES: dict[str, Callable[[Any], object]] = {
    "l[i] = v": lambda row: row.__setitem__(0, "x"),
    "l[:] = v": lambda row: row.__setitem__(slice(None), []),
    "del l[i]": lambda row: row.__delitem__(0),
    "l += m": lambda row: row.__iadd__(["x"]),
    "l *= 2": lambda row: row.__imul__(2),
    "append": lambda row: row.append("x"),
    "clear": lambda row: row.clear(),
    "extend": lambda row: row.extend("x"),
    "insert": lambda row: row.insert(0, "x"),
    "pop": lambda row: row.pop(),
    "remove": lambda row: row.remove("a"),
    "reverse": lambda row: row.reverse(),
    "sort": lambda row: row.sort(),
    "shuffle": lambda row: random.shuffle(row),
    "init": lambda row: row.__init__("x"),
    "attribute": lambda row: setattr(row, "x", 1),
}


@pytest.fixture
def row() -> Any:
    made = freeze(PLAIN)
    assert made == PLAIN
    return made


@pytest.mark.parametrize("change", DICT_CHANGES.values(), ids=DICT_CHANGES)
def test_no_method_changes_a_dict(row: Any, change: Callable[[Any], object]) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught:
        change(row)
    if caught.type is TypeError:
        assert "thaw(row)" in str(caught.value)
    assert row == PLAIN
    assert not hasattr(row, "x")


@pytest.mark.parametrize("change", LIST_CHANGES.values(), ids=LIST_CHANGES)
def test_no_method_changes_a_list(row: Any, change: Callable[[Any], object]) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught:
        change(row["tags"])
    if caught.type is TypeError:
        assert "thaw(row)" in str(caught.value)
    assert row == PLAIN


def test_every_method_that_changes_a_container_is_refused() -> None:
    """A method that a later Python adds to dict or list must not be forgotten."""
    reading = {"get", "items", "keys", "values", "copy", "fromkeys", "count", "index"}
    for base, frozen in ((dict, FrozenDict), (list, FrozenList)):
        inherited = {name for name in dir(base) if getattr(frozen, name) is getattr(base, name, None)}
        named = {name for name in inherited if not name.startswith("__")}
        assert named <= reading
        in_place = {
            name for name in dir(base) if name.startswith("__i") and name not in ("__iter__", "__init_subclass__")
        }
        assert not in_place & inherited


def test_a_copy_is_an_ordinary_one(row: Any) -> None:
    for made in (copy.copy(row), row.copy(), dict(row), row | {}, {} | row, {**row}, type(row)(row)):
        assert made == row
        assert type(made) is dict
        assert type(made["tags"]) is FrozenList
    for made in (
        copy.copy(row["tags"]),
        row["tags"].copy(),
        row["tags"][:],
        row["tags"] + [],
        type(row["tags"])(iter(row["tags"])),
    ):
        assert made == row["tags"]
        assert type(made) is list


def test_what_makes_another_of_the_same_class_gets_an_ordinary_one(row: Any) -> None:
    """So do Django's filters, ``dataclasses.asdict`` and many others, for every list and dict that they are given."""
    assert type(row)(row) == type(row)(row.items()) == type(row)(**row) == row
    assert type(type(row)(row)) is type(type(row)()) is dict
    tags = row["tags"]
    assert type(tags)(tag for tag in tags) == tags
    assert type(type(tags)(tags)) is type(type(tags)()) is list
    price = Price(row)
    made = asdict(price)["steps"]
    assert (made, astuple(price)) == (PLAIN, (PLAIN,))
    made["size"]["w"] = made["tags"].append("z")
    assert row == PLAIN


def test_the_class_of_a_row_is_that_of_an_ordinary_one_when_it_is_called() -> None:
    made = FrozenDict({"a": 1}, b=2), FrozenDict(), FrozenList("ab"), FrozenList()
    assert made == ({"a": 1, "b": 2}, {}, ["a", "b"], [])
    assert set(map(type, made)) == {dict, list}
    with pytest.raises(TypeError, match="exp"):
        FrozenList(1, 2)


@pytest.mark.parametrize(
    "deep",
    [thaw, copy.deepcopy, *(lambda row, n=n: pickle.loads(pickle.dumps(row, n)) for n in range(6))],
    ids=["thaw", "deepcopy", *(f"pickle {n}" for n in range(6))],
)
def test_a_deep_copy_is_ordinary_all_the_way_down(row: Any, deep: Callable[[Any], Any]) -> None:
    made = deep(row)
    assert made == PLAIN
    assert list(made) == list(PLAIN)
    made["size"]["w"] = made["pair"][1][0] = made["empty"][0]["x"] = 5
    made["tags"].sort()
    assert row == PLAIN
    assert b"django_etcdaero" not in pickle.dumps(row)  # so that whoever loads it need not have the package


def test_it_is_a_dict_and_a_list_for_who_reads(row: Any) -> None:
    assert json.loads(json.dumps(row)) == json.loads(json.dumps(PLAIN))
    assert json.dumps(row, indent=1) == json.dumps(PLAIN, indent=1)
    assert (repr(row), str(row), f"{row}") == (repr(PLAIN), str(PLAIN), f"{PLAIN}")
    assert isinstance(row, dict)
    assert isinstance(row["tags"], list)
    assert (row == PLAIN, PLAIN == row, row != PLAIN) == (True, True, False)  # noqa: SIM300
    assert row["tags"] < ["z"]
    match row:
        case {"tags": [first, *_], "size": {"w": width}}:
            assert (first, width) == ("b", 1)
        case _:
            pytest.fail("no match")
    with pytest.raises(KeyError):
        row["none"]


def test_it_is_not_hashable_like_a_dict_and_a_list(row: Any) -> None:
    for value in (row, row["tags"]):
        with pytest.raises(TypeError, match="unhashable"):
            hash(value)


def test_what_is_frozen_is_a_copy_and_frozen_once() -> None:
    source = {"a": [1], "set": {1}}
    row = freeze(source)
    source["a"].append(2)  # type: ignore[attr-defined]
    assert row == {"a": [1], "set": {1}}
    assert type(row["set"]) is frozenset
    assert freeze(row) is row


class Point(NamedTuple):
    x: Any


@dataclass
class Price:
    steps: Any


def test_thaw_copies_instances_and_leaves_single_values() -> None:
    point, price = Point(freeze([1])), Price(freeze([{"a": 1}]))
    thaw(point).x.append(2)
    made = thaw(price)
    made.steps[0]["a"] = made.steps.append(2)
    assert (point, price) == (Point([1]), Price([{"a": 1}]))
    for value in (None, 1, "a", Decimal(1), datetime(2024, 1, 1, tzinfo=UTC), frozenset({1})):
        assert thaw(value) is value


@pytest.mark.skipif(not hasattr(gc, "is_tracked"), reason="another interpreter")
def test_rows_that_are_read_cost_the_garbage_collector_nothing() -> None:
    from django_etcdaero.datasets.blocks.codec import Encoder, decode

    row = decode(Encoder().encode(["key"], [PLAIN])[1][0], frozen=True)
    assert row == PLAIN
    assert not gc.is_tracked(row)
    assert not gc.is_tracked(row["tags"])
    assert sorted(map(str, gc.get_referents(row["tags"]))) == ["a", "b"]


def test_without_ctypes_they_are_ordinary_subclasses(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, base: type) -> type:
        raise ImportError("no ctypes")

    monkeypatch.setattr(native_types, "_from_spec", missing)
    made = native_types.subclass("Made", list, {"__module__": __name__, "clear": lambda self: "refused"})
    value: Any = made([1])
    assert (value, value.clear(), made.__qualname__, made.__module__) == ([1], "refused", "Made", __name__)
    assert not hasattr(value, "__dict__")
