"""A version is put together from what is held, whatever that is, and costs what is not held."""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from django_etcdaero.datasets.blocks import held_making
from django_etcdaero.datasets.blocks.assembly import Assembled, assemble, missing_bytes
from django_etcdaero.datasets.blocks.digests import DamagedRecord, MissingRecords
from django_etcdaero.datasets.blocks.held import SMALL, Sharded
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.field_index import FieldIndex, build_index, change_index
from tests.datasets.blocks.test_delta import ROWS, Store, change, product, publish, read


@pytest.fixture(params=["few rows", "many rows"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "many rows":
        monkeypatch.setattr(held_making, "SMALL", 100)
    return str(request.param)


def contents(index: FieldIndex[Any]) -> dict[Any, list[int]]:
    return {value: sorted(map(id, rows)) for value, rows in index.items()}


def after(held: Assembled, made: Assembled, field: str) -> FieldIndex[Any] | None:
    """Return the index of ``made`` as a reader makes it that holds another version."""
    before = build_index("x", field, held.rows)
    if made.difference is None:
        return None
    return change_index(before, "x", field, held.rows, *made.difference, ordered=False)


@pytest.mark.parametrize("seed", range(4))
def test_every_version_is_read_after_every_other_one(size: str, seed: int) -> None:
    """By blocks, by deltas, folded, rolled back, and jumped over."""
    chance, store = random.Random(seed), Store()
    rows = {number: product(number) | {"kind": number % 7} for number in range(1500)}
    versions: list[tuple[Manifest, dict[Any, Any]]] = [(publish(rows, store), dict(rows))]
    for step in range(8):
        manifest, rows = versions[-1][0], dict(versions[-1][1])
        upserts = {
            key: product(key) | {"kind": chance.randrange(9), "step": step} for key in chance.sample(range(2000), 9)
        }
        gone = [key for key in chance.sample(range(2000), 5) if key not in upserts]
        if chance.random() < 0.7:
            manifest = change(manifest, store, rows, upserts, gone)
        else:  # folded, with what came new
            rows = {key: row for key, row in rows.items() if key not in gone} | upserts
            manifest = publish(rows, store)
        versions.append((manifest, rows))
    held = None
    for manifest, expected in [*versions, *(chance.choice(versions) for _ in range(25))]:
        made = read(manifest, store, held)
        assert made.rows == expected
        assert isinstance(made.rows, Sharded) == (size == "many rows")
        if held is not None:
            same = [key for key, row in expected.items() if held.rows.get(key) == row]
            assert all(made.rows[key] is held.rows[key] for key in same)
            index = after(held, made, "kind")
            assert index is None or contents(index) == contents(build_index("x", "kind", made.rows))
        held = made


def test_a_version_that_goes_on_from_the_one_held_fetches_the_new_deltas_only(size: str) -> None:
    store, rows = Store(), dict(ROWS)
    first = publish(rows, store)
    second = change(first, store, rows, {1: product(-1)})
    third = change(second, store, rows, {2: product(-2), 5000: product(0)}, [3])
    held = read(second, store)
    store.fetched = 0
    assert missing_bytes(held, third) == len(store[third.deltas[-1]])
    made = read(third, store, held)
    assert store.fetched == 1
    assert made.keys is held.keys
    assert made.difference is not None
    assert set(made.difference.upserts) == {2, 5000}
    assert set(made.difference.deletions) == {3}
    assert held.rows[3] == product(3)  # it stays what it was


def test_a_rollback_fetches_the_blocks_of_the_rows_that_deltas_had_replaced(size: str) -> None:
    store, rows = Store(), dict(ROWS)
    first = publish(rows, store)
    second = change(first, store, rows, {1: product(-1)}, [2])
    held = read(second, store, read(first, store))
    store.fetched = 0
    made = read(first, store, held)
    assert made.rows == ROWS
    assert store.fetched == 2
    assert made.difference is not None
    assert set(made.difference.upserts) == {1, 2}
    assert all(made.rows[key] is held.rows[key] for key in ROWS if key not in (1, 2))


def test_deltas_that_are_folded_into_blocks_change_no_row(size: str) -> None:
    store, rows = Store(), dict(ROWS)
    second = change(publish(rows, store), store, rows, {1: product(-1)}, [2])
    held = read(second, store)
    made = read(publish(rows, store), store, held)
    assert made.rows == rows
    assert all(made.rows[key] is held.rows[key] for key in rows)
    assert made.difference == ({}, {})


def test_rows_that_stay_in_a_changed_block_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_making, "SMALL", 100)
    store = Store()
    held = read(publish(ROWS, store), store)
    made = read(publish(ROWS | {1: product(-1), 700: product(-2)}, store), store, held)
    assert isinstance(made.rows, Sharded)
    assert isinstance(held.rows, Sharded)
    assert made.rows.shards_not_in(held.rows) == 2
    assert made.difference is not None
    assert set(made.difference.upserts) == {1, 700}
    assert made.difference.deletions == {}


def test_a_version_by_blocks_and_a_delta_says_what_the_delta_deleted(size: str) -> None:
    store, rows = Store(), dict(ROWS)
    held = read(publish(rows, store), store)
    rows[1] = product(-1)
    made = read(change(publish(rows, store), store, rows, {}, [2]), store, held)
    assert made.difference is not None
    assert set(made.difference.upserts) == {1}
    assert set(made.difference.deletions) == {2}


@pytest.mark.parametrize(("old", "new"), [(1, True), (True, 1), (2, 2.0), (Decimal("1.0"), Decimal("1.00"))])
def test_a_key_that_is_equal_and_another_one_takes_the_place_of_the_old_one(size: str, old: Any, new: Any) -> None:
    store = Store()
    rows = {number: product(number) for number in range(3, 500)}
    held = read(publish({old: product(1), **rows}, store), store)
    made = read(publish({new: product(1), **rows}, store), store, held)
    (found,) = (key for key in made.rows if key == new)
    assert (type(found), str(found)) == (type(new), str(new))
    assert made.difference is None or set(made.difference.upserts) <= {new}


def test_deltas_that_are_missing_or_damaged_leave_what_is_held(size: str) -> None:
    store, rows = Store(), dict(ROWS)
    held = read(publish(rows, store), store)
    second = change(held.manifest, store, rows, {1: product(-1)})
    (delta,) = second.deltas
    stored = store.pop(delta)
    with pytest.raises(MissingRecords, match=f"1 deltas are missing, among them {delta.hex()}"):
        read(second, store, held)
    store[delta] = stored[:-1]
    with pytest.raises(DamagedRecord, match=f"delta {delta.hex()}"):
        read(second, store, held)
    assert held.rows == ROWS
    store[delta] = stored
    assert read(second, store, held).rows == rows


def test_no_step_has_to_do_with_many_rows() -> None:
    """With more rows than one dictionary is for: all that is held is in small parts, and a change touches some."""
    store, rows = Store(), dict.fromkeys((f"sku-{number}" for number in range(SMALL + 1)), 0)
    held = read(publish(rows, store), store)
    made = read(change(held.manifest, store, rows, {"sku-7": 1, "new": 2}, ["sku-8"]), store, held)
    assert largest(held.rows) < 1000
    assert largest(made.rows) < 1000
    assert [sorted(keys) for keys in made.by_deltas] == [["new", "sku-7", "sku-8"]]
    assert isinstance(held.rows, Sharded)
    assert isinstance(made.rows, Sharded)
    made.rows.settle()
    assert made.rows.shards_not_in(held.rows) == 3
    folded = read(publish(rows, store), store, made)
    assert isinstance(folded.rows, Sharded)
    assert folded.rows.shards_not_in(made.rows) < SMALL / 28 / 4  # those of the blocks that are new
    assert folded.rows == rows


def largest(rows: Mapping[Any, Any]) -> int:
    assert isinstance(rows, Sharded)
    return rows.largest


def test_rows_in_their_order_are_read_in_small_parts_too() -> None:
    from tests.datasets.blocks.test_order import Store as OrderStore
    from tests.datasets.blocks.test_order import publish as publish_in_order

    keys = [f"sku-{number}" for number in range(SMALL + 10)]
    random.Random(1).shuffle(keys)
    store = OrderStore()
    held = None
    for some in (keys, ["first", *keys[:100], *keys[200:]], keys[::-1]):
        held = assemble(1, publish_in_order(some, store), store.fetch, rows="plain", before=held)
        assert list(held.rows) == list(held.rows.keys()) == some
        assert largest(held.rows) < 1000
