"""What differs between two versions: right whatever the numbers of blocks, and no more is fetched than differs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_etcdaero.datasets.blocks.difference import Pair, Side, differences, encoded_side
from django_etcdaero.datasets.blocks.partition import partition
from django_etcdaero.exceptions import CorruptBlock, KeyNotFound
from tests.datasets.hosting import FakeHost, many, publish


def kinds(diff: Any) -> dict[Any, str]:
    return {change.key: change.kind for change in diff}


def test_rows_that_were_added_removed_and_changed(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": 1, "b": 2, "c": 3})
    publish(prices)
    publish(prices, {"a": 1, "b": 20, "d": 4})
    diff = prices.diff()
    assert (diff.old.version, diff.new.version, repr(diff)) == (1, 2, "<Diff of versions 1 and 2>")
    assert tuple(diff.counts) == (1, 1, 1)
    assert [(each.key, each.old, each.new) for each in diff.added] == [("d", None, 4)]
    assert [(each.key, each.old, each.new) for each in diff.removed] == [("c", 3, None)]
    assert [(each.key, each.old, each.new) for each in diff.changed] == [("b", 2, 20)]
    assert kinds(diff) == {"b": "changed", "c": "removed", "d": "added"}
    assert kinds(prices.diff(2, 1)) == {"b": "changed", "c": "added", "d": "removed"}
    assert kinds(prices.diff(2, 2)) == {}


def test_a_row_that_is_none_is_no_missing_row(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": None, "b": 1})
    publish(prices)
    publish(prices, {"a": 1, "b": None, "c": None})
    assert kinds(prices.diff()) == {"a": "changed", "b": "changed", "c": "added"}


def test_what_is_equal_and_of_another_type_has_changed_and_nan_has_not(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": 1, "b": float("nan"), "c": Decimal("1.0"), 1: "x"})
    publish(prices)
    publish(prices, {"a": 1.0, "b": float("nan"), "c": Decimal("1.00"), True: "x"})
    changes = list(prices.diff())
    assert sorted((str(each.key), each.kind) for each in changes) == [
        ("1", "removed"), ("True", "added"), ("a", "changed"), ("c", "changed")
    ]  # fmt: skip


def test_fields_of_a_changed_row(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": {"name": "Pot", "price": 1, "old": True, "same": [1]}})
    publish(prices)
    publish(prices, {"a": {"name": "Pot", "price": 2, "new": None, "same": [1]}})
    (change,) = prices.diff().changed
    assert [(each.key, each.kind, each.old, each.new) for each in change.fields] == [
        ("price", "changed", 1, 2),
        ("old", "removed", True, None),
        ("new", "added", None, None),
    ]
    publish(prices, {"a": {"price": 2, "name": "Pot", "new": None, "same": [1]}})
    (reordered,) = prices.diff()
    assert (reordered.kind, reordered.fields) == ("changed", ())


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Named:
    name: str
    price: int = 0


@pytest.mark.parametrize(
    ("row_type", "before", "after", "old", "fields"),
    [
        (Point, (1, 2), (1, 3), Point(1, 2), []),
        (Point, {"x": 1, "y": 2}, {"x": 1, "y": 3}, Point(1, 2), [("y", 2, 3)]),
        (Named, {"name": "A"}, {"name": "A", "price": 3}, Named("A"), [("price", None, 3)]),
    ],
)
def test_rows_are_in_the_form_of_the_dataset(
    host: FakeHost, declare: Any, row_type: Any, before: Any, after: Any, old: Any, fields: Any
) -> None:
    points = declare()
    type(points).row_type = row_type
    publish(points, {"a": before})
    publish(points, {"a": after})
    (change,) = points.diff()
    assert change.old == old
    assert type(change.new) is row_type
    assert [(each.key, each.old, each.new) for each in change.fields] == fields


def test_only_blocks_that_differ_are_fetched(host: FakeHost, declare: Any) -> None:
    prices = declare(many(2000))
    publish(prices)
    publish(prices, many(2000, k7={"n": -7}))
    fetched: list[int] = []
    diff = prices.diff()
    host.records.before["get_many"] = lambda keys, **options: fetched.append(len(keys))
    assert [(each.key, each.old, each.new) for each in diff] == [("k7", {"n": 7}, {"n": -7})]
    assert sum(fetched) == 2
    del fetched[:]
    assert diff.counts.changed == diff.counts.changed == 1
    assert sum(fetched) == 2


def test_iterating_goes_only_as_far_as_it_is_followed(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_etcdaero.datasets.blocks.difference.FETCH", 4)
    monkeypatch.setattr("django_etcdaero.datasets.publish.diff.CHUNK", 10)
    prices = declare(many(2000))
    publish(prices)
    publish(prices, {key: {"n": row["n"] + 1} for key, row in many(2000).items()})
    fetched: list[int] = []
    host.records.before["get_many"] = lambda keys, **options: fetched.append(len(keys))
    diff = prices.diff()
    del fetched[:]
    assert next(iter(diff)).kind == "changed"
    assert sum(fetched) == 4


@pytest.mark.parametrize(("before", "after"), [(10, 3000), (3000, 10), (0, 500), (500, 0), (100, 900)])
def test_versions_with_different_numbers_of_blocks(host: FakeHost, declare: Any, before: int, after: int) -> None:
    prices = declare(many(before, a=1, b=1))
    publish(prices)
    publish(prices, many(after, b=2, c=1))
    diff, fewer, more = prices.diff(), min(before, after), max(before, after)
    found = kinds(diff)
    assert found == dict.fromkeys(
        [f"k{number}" for number in range(fewer, more)], "added" if before < after else "removed"
    ) | {"a": "removed", "b": "changed", "c": "added"}
    assert sum(diff.counts) == len(found)


def side(rows: dict[Any, Any], count: int) -> Side:
    parts = partition(rows, max_value_bytes=1_000_000, previous_count=count)
    return encoded_side(parts, parts.count, ())


@settings(max_examples=40)
@given(st.data())
def test_differences_are_those_of_two_dicts(data: st.DataObject) -> None:
    keys, rows, counts = st.integers(0, 300), st.integers(0, 2), st.sampled_from([1, 2, 8, 64])
    before = data.draw(st.dictionaries(keys, rows, max_size=100))
    after = {key: (row + key) % 3 for key, row in before.items() if key % 5} | data.draw(st.dictionaries(keys, rows))
    with pytest.MonkeyPatch.context() as patch:  # any number of blocks, however many rows there are
        patch.setattr("django_etcdaero.datasets.blocks.partition.MIN_ROWS", 0)
        patch.setattr("django_etcdaero.datasets.blocks.partition.MAX_ROWS", 1000)
        pairs: list[Pair] = list(differences(side(before, data.draw(counts)), side(after, data.draw(counts))))
    added = sum(pair.old is None for pair in pairs)
    removed = sum(pair.new is None for pair in pairs)
    assert len({pair.key for pair in pairs}) == len(pairs)
    assert added == len(after.keys() - before.keys())
    assert removed == len(before.keys() - after.keys())
    assert len(pairs) - added - removed == sum(after.get(key, row) != row for key, row in before.items())


def test_large_rows_in_several_parts(host: FakeHost, declare: Any) -> None:
    prices = declare({f"k{number}": "x" * 50_000 for number in range(20)})
    publish(prices)
    publish(prices, prices.source.rows | {"k3": "y" * 60_000, "k99": "z" * 70_000})
    assert kinds(prices.diff()) == {"k3": "changed", "k99": "added"}


def test_a_version_that_is_not_kept_cannot_be_compared(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=2)
    with pytest.raises(KeyNotFound, match="nothing has been published yet"):
        prices.diff()
    publish(prices)
    with pytest.raises(KeyNotFound, match="no version before 1 is kept"):
        prices.diff()
    publish(prices, {"a": 2})
    publish(prices, {"a": 3})
    with pytest.raises(KeyNotFound, match="dataset 'prices' has no kept version 1; kept: 3, 2"):
        prices.diff(1)


def test_what_is_gone_or_damaged_is_told(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices)
    publish(prices, {"a": 2})
    diff = prices.diff()
    host.records.inner.truncate()
    with pytest.raises(CorruptBlock, match="1 blocks are missing"):
        list(diff)
    with pytest.raises(CorruptBlock):
        prices.diff()
