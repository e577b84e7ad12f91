"""A version with the rows of the one held is taken over without a look at its blocks, and later ones go on from it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from django_etcdaero.datasets.blocks import held_making
from django_etcdaero.datasets.blocks.assembly import Assembled
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.taking_over import taken_over
from tests.datasets.blocks.test_delta import ROWS, Store, change, product, publish, read


@pytest.fixture(params=["few rows", "many rows"], autouse=True)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "many rows":
        monkeypatch.setattr(held_making, "SMALL", 100)
    return str(request.param)


def taken(held: Assembled, manifest: Manifest) -> Assembled:
    made = taken_over(held, manifest)
    assert made is not None
    assert made.rows is held.rows
    assert made.difference == ({}, {})
    return made


def step_of(step: int) -> tuple[dict[Any, Any], list[Any]]:
    """Return what one of the deltas puts and deletes."""
    upserts = {1: product(-step), 2 + step: product(-9), -1 - step: product(1)}
    return upserts, [40 + step, *([-step] if step else [])]


def with_deltas(store: Store, rows: dict[Any, Any]) -> tuple[Assembled, Manifest]:
    """Return a version with three deltas as it is held, and its manifest."""
    first = publish(rows, store)
    held = read(first, store)
    manifest = first
    for step in range(3):
        gone = [40 + step, -1 - step + 1] if step else [40]
        manifest = change(
            manifest, store, rows, {1: product(-step), 2 + step: product(-9), -1 - step: product(1)}, gone
        )
        held = read(manifest, store, held)
    return held, manifest


@pytest.mark.parametrize("seed", range(4))
def test_a_fold_is_taken_over_and_whatever_comes_after_it_is_read(seed: int) -> None:
    chance, store, rows = random.Random(seed), Store(), dict(ROWS)
    held, manifest = with_deltas(store, rows)
    folded = publish(rows, store)
    store.fetched = 0
    made = taken(held, folded)
    assert store.fetched == 0
    assert made.manifest is folded
    anew = read(folded, store)
    assert {digest: set(keys) for digest, keys in made.keys.items()} == {
        digest: set(keys) for digest, keys in anew.keys.items()
    }
    for _ in range(4):
        upserts = {key: product(key) | {"step": chance.random()} for key in chance.sample(range(3000), 7)}
        gone = [key for key in chance.sample(range(3000), 9) if key not in upserts]
        folded = change(folded, store, rows, upserts, gone)
        if chance.random() < 0.5:
            folded = publish(rows, store)
        made = read(folded, store, made)
        assert made.rows == rows
    assert read(manifest, store, made).rows == read(manifest, store).rows


def test_deltas_that_came_while_the_others_were_folded_stay() -> None:
    store, rows = Store(), dict(ROWS)
    held, manifest = with_deltas(store, rows)
    early = dict(ROWS)
    first = publish(early, store)
    for step in range(2):  # those before the last one
        change(first, store, early, *step_of(step))
    folded = publish(early, store)
    stays = folded.changed([(manifest.deltas[-1], manifest.delta_sizes[-1])], rows=len(rows), content=manifest.content)
    store[stays.root_digest] = stays.root_record()
    made = taken(held, stays)
    assert made.by_deltas == held.by_deltas[-1:]
    assert read(stays, store).rows == rows
    assert read(publish(ROWS, store), store, made).rows == ROWS
    rows[7] = product(-7)
    assert read(publish(rows, store), store, made).rows == rows


def test_what_it_cannot_be_told_of_is_read() -> None:
    store, rows = Store(), dict(ROWS)
    held, _ = with_deltas(store, rows)
    more = rows | {number: product(number) for number in range(5000, 5000 + 4 * len(rows))}
    assert taken_over(held, publish(more, store)) is None  # other blocks
    other = change(publish(rows, store), store, dict(rows), {1: product(5)})
    assert taken_over(held, other) is None  # a delta that is not held


def test_blocks_in_parts_are_read() -> None:
    store, rows = Store(), {number: {"text": f"{number}" * 60_000} for number in range(5)}
    first = publish(rows, store)
    assert first.count == 1 < len(first.blocks)
    held = read(change(first, store, rows, {1: {"text": "another"}}), store)
    folded = publish(rows, store)
    assert taken_over(held, folded) is None
    assert read(folded, store, held).rows == rows
