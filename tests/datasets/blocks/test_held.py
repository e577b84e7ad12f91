"""Many rows in memory are read like a dict, and a newer version stands beside the old one without a long step."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import random
import weakref
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from django_etcdaero.datasets.blocks import held_making, often_read
from django_etcdaero.datasets.blocks.frozen import freeze, frozen_dict, thaw
from django_etcdaero.datasets.blocks.held import MOST, SMALL, InSequence, Sharded, per_shard, read_only
from django_etcdaero.datasets.blocks.held_freeing import free_rows
from django_etcdaero.datasets.blocks.held_making import Making, changed
from django_etcdaero.datasets.blocks.often_read import EVERY, quickly_read
from django_etcdaero.datasets.blocks.same_rows import same, with_old_objects
from django_etcdaero.system.native_types import untrack

LARGE = SMALL + 1


def making(size: int) -> Making:
    return Making(None, size)


def _large(rows: Mapping[Any, Any]) -> Mapping[Any, Any]:
    made = making(len(rows))
    made.put(list(rows), list(rows.values()))
    return made.done()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are many rows."""
    monkeypatch.setattr(held_making, "SMALL", 40)
    monkeypatch.setattr(held_making, "per_shard", lambda size: 4)
    monkeypatch.setattr(held_making, "FEWEST", 1 / 2)
    monkeypatch.setattr(held_making, "MOST", 3)


ROWS = {f"k{number}": {"n": number} for number in range(100)} | {7: "seven", (1, "a"): [], None: 0}


@pytest.fixture
def rows(small: None) -> Mapping[Any, Any]:
    made = _large(ROWS)
    assert isinstance(made, Sharded)
    return made


def test_it_is_read_as_the_dict_is(rows: Mapping[Any, Any]) -> None:
    assert rows == ROWS
    assert len(rows) == len(ROWS)
    assert all(rows[key] is row and rows.get(key) is row and key in rows for key, row in ROWS.items())
    assert (rows.get("x"), rows.get("x", 5), "x" in rows) == (None, 5, False)
    assert dict(rows) == dict(rows.items()) == {**rows} == thaw(rows) == ROWS
    assert list(rows) == list(rows.keys()) == [key for key, _ in rows.items()]
    assert list(rows.values()) == [rows[key] for key in rows]
    for view in (rows.keys(), rows.values(), rows.items()):
        assert list(reversed(view)) == list(view)[::-1]  # type: ignore[call-overload]
        assert len(view) == len(ROWS)
    assert rows.keys() == ROWS.keys()
    assert rows.items() >= {(7, "seven")}
    assert "seven" in rows.values()
    assert rows.keys() & {7, "x"} == {7}
    with pytest.raises(KeyError, match="'x'"):
        rows["x"]
    for read in (rows.__getitem__, rows.get, rows.__contains__):
        with pytest.raises(TypeError, match="unhashable"):
            read([])


def test_it_is_what_the_read_only_view_of_a_dict_is(rows: Any) -> None:
    assert read_only(rows) is rows
    assert rows.copy() == ROWS
    assert rows | {7: 8} == ROWS | {7: 8}
    assert {7: 8} | rows == ROWS
    assert not hasattr(rows, "__setitem__")
    assert copy.copy(rows) is copy.deepcopy(rows) is rows
    read = pickle.loads(pickle.dumps(rows))
    assert type(read) is dict
    assert read == ROWS
    assert repr(rows) == "<103 entries>"
    assert json.loads(json.dumps({key: rows[key] for key in rows if type(key) is str}))["k1"] == {"n": 1}


@pytest.mark.parametrize("seed", range(6))
def test_versions_stand_beside_each_other_whatever_changes(small: None, seed: int) -> None:
    chance = random.Random(seed)
    expected: dict[Any, Any] = {}
    versions: list[tuple[Mapping[Any, Any], dict[Any, Any]]] = [(making(0).done(), {})]
    for _ in range(40):
        keys = chance.sample(range(400), chance.choice((0, 1, 3, 30, 150)))
        upserts = {key: (key, chance.random()) for key in keys}
        gone = chance.sample(range(400), chance.choice((0, 1, 5, 200)))
        expected = {key: row for key, row in expected.items() if key not in gone} | upserts
        versions.append((changed(versions[-1][0], upserts, gone), expected))
    for made, rows in versions:
        assert made == rows
        assert len(made) == len(rows)
        assert dict(made.items()) == rows
    assert {type(made) for made, _ in versions} == {dict, Sharded}
    for (old, _), (new, _) in pairwise(versions):
        assert all(new[key] is old[key] for key in old if key in new and new[key] == old[key])


# --- rows that are read again and again ------------------------------------------------------------------------------


def test_rows_that_are_read_again_and_again_are_found_sooner_and_are_the_same(rows: Mapping[Any, Any]) -> None:
    reads = quickly_read(rows)
    for _ in range(3 * EVERY):
        assert all(reads[key] is row for key, row in rows.items())
    assert set(reads) <= set(rows)
    assert len(reads) > len(rows) / 2
    with pytest.raises(KeyError, match="'x'"):
        reads["x"]
    with pytest.raises(TypeError, match="unhashable"):
        reads[[]]
    assert "x" not in set(reads)
    few = {1: 2}
    assert quickly_read(few) is few


def test_what_is_read_again_and_again_is_bounded(rows: Mapping[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(often_read, "MOST", 10)
    reads = quickly_read(rows)
    for key in [*rows] * EVERY:
        assert reads[key] is rows[key]
        assert len(reads) <= 10


def test_a_key_that_only_equals_one_is_not_kept(rows: Mapping[Any, Any]) -> None:
    class Text(str):  # it can refer to anything
        pass

    reads, key = quickly_read(rows), Text("k1")
    for _ in range(2 * EVERY):
        assert reads[key] is rows["k1"]
    gone = weakref.ref(key)
    del key
    assert gone() is None


# --- no long steps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        str,
        int,
        lambda n: n << 22,
        lambda n: n * 1000,
        lambda n: -n,
        lambda n: (n, "x"),
        lambda n: n / 4,
        lambda n: n.to_bytes(4),
    ],
    ids=["texts", "numbers", "snowflakes", "thousands", "negative", "tuples", "floats", "bytes"],
)
def test_no_shard_has_many_rows_whatever_pattern_the_keys_follow(key: Callable[[Any], Any]) -> None:
    keys = [key(number) for number in range(LARGE)]
    rows = _large(dict.fromkeys(keys))
    assert isinstance(rows, Sharded)
    assert len(rows) == LARGE
    assert rows.largest <= 4 * per_shard(LARGE)


def test_rows_that_become_more_are_spread_anew_before_shards_are_large() -> None:
    rows = _large(dict.fromkeys(range(LARGE)))
    for end in (3 * LARGE, 12 * LARGE):
        rows = changed(rows, dict.fromkeys(range(end)), ())
        assert isinstance(rows, Sharded)
        assert rows.largest <= 2 * MOST * per_shard(end)
    assert len(rows) == 12 * LARGE


def test_a_change_copies_the_shards_of_its_rows_and_no_others() -> None:
    before = _large(dict.fromkeys(range(LARGE)))
    after = changed(before, {1: "x", 2: "y", LARGE: "z"}, [3, "none"])
    assert isinstance(before, Sharded)
    assert isinstance(after, Sharded)
    assert before.shards_not_in(after) == after.shards_not_in(before) == 4


def test_few_rows_are_in_a_dict() -> None:
    few = dict.fromkeys(range(SMALL))
    assert type(changed(few, {"x": 1}, [0])) is dict
    many = changed(few, {"x": 1}, ())
    assert isinstance(many, Sharded)
    assert isinstance(changed(many, {}, range(SMALL // 2)), Sharded)  # not there and back again at each change
    assert type(changed(many, {}, range(SMALL // 2 + 1))) is dict


def test_freeing_lets_go_of_what_no_other_version_has() -> None:
    class Row:
        pass

    old = _large({number: Row() for number in range(LARGE)})
    new = changed(old, {0: Row()}, ())
    gone, kept = weakref.ref(old[0]), weakref.ref(old[1])
    holder = [old]
    free_rows(old)
    assert gone() is not None  # somebody holds it
    holder.clear()
    free_rows(old)
    assert gone() is None
    assert kept() is new[1]
    assert len(list(new)) == len(new) == LARGE


# --- what the garbage collector has to walk through ------------------------------------------------------------------


def known_to_the_collector(rows: Mapping[Any, Any]) -> int:
    ids = {id(row) for row in gc.get_referents(*gc.get_referents(rows))}
    return sum(id(each) in ids for each in gc.get_objects())


@pytest.mark.skipif(untrack.__class__.__name__ == "function", reason="nothing is taken from the collector here")
def test_frozen_rows_leave_nothing_to_the_garbage_collector() -> None:
    rows = _large({number: frozen_dict({"n": number}) for number in range(LARGE)})
    assert known_to_the_collector(rows) == 0
    after = changed(rows, {1: frozen_dict({"n": 0})}, [2])
    assert known_to_the_collector(after) == 0


def test_rows_that_hold_users_objects_are_collected_with_their_cycles() -> None:
    class Row:
        rows: Any

    first, last = freeze({"n": 1}), Row()
    rows: Any = _large(dict.fromkeys(range(LARGE), first))
    rows = changed(rows, {1: last}, ())
    last.rows = rows
    gone = weakref.ref(last)
    del rows, last
    gc.collect()
    assert gone() is None


def test_plain_rows_are_collected_with_the_cycles_that_somebody_makes() -> None:
    class Marker:
        pass

    row: dict[str, Any] = {"n": 1}
    rows: Any = _large(dict.fromkeys(range(LARGE), row))
    row["rows"], row["marker"] = rows, Marker()
    gone = weakref.ref(row["marker"])
    del rows, row
    gc.collect()
    assert gone() is None


# --- rows that came anew and are the same ----------------------------------------------------------------------------


def test_a_sequence_is_gone_through_in_its_order(rows: Any) -> None:
    keys = sorted(ROWS, key=str)
    ordered = InSequence(rows, [keys[:50], keys[50:]])
    assert list(ordered) == list(ordered.keys()) == keys
    assert list(ordered.values()) == [ROWS[key] for key in keys]
    assert list(ordered.items()) == [(key, ROWS[key]) for key in keys]
    assert list(reversed(ordered.items())) == [(key, ROWS[key]) for key in keys[::-1]]  # type: ignore[call-overload]
    assert list(pickle.loads(pickle.dumps(ordered))) == keys


def test_only_what_cannot_be_told_apart_is_the_same() -> None:
    from datetime import UTC, datetime, timedelta, timezone
    from decimal import Decimal

    at = datetime(2026, 1, 1, tzinfo=UTC)
    values = [1, 1.0, True, Decimal(1), Decimal("1.0"), 0.0, -0.0, "1", b"1", None, at, [1], (1,), [True], {"a": 1}]
    values += [at.astimezone(timezone(timedelta(hours=1))), at.replace(fold=1), {"a": 1.0}, {"a": 1, "b": 2}]
    values += [{"b": 2, "a": 1}, float("nan"), frozenset((1,))]
    for number, one in enumerate(values):
        for other, two in enumerate(values):
            assert same(one, two) == (number == other and one == one)
    assert same(freeze({"a": [1, {"b": at}]}), freeze({"a": [1, {"b": at}]}))


def test_rows_that_are_the_same_stay_the_objects_that_they_were() -> None:
    held = {"a": {"n": 1}, "b": {"n": 2}}
    found = with_old_objects(["a", "b", "c"], [{"n": 1}, {"n": 2.0}, {"n": 1}], held)
    assert found == [{"n": 1}, {"n": 2.0}, {"n": 1}]
    assert [row is held.get(key) for key, row in zip("abc", found, strict=True)] == [True, False, False]
