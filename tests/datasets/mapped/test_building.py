"""Making a file from what the record store has, and from another file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.delta import cut, encode_change
from django_etcdaero.datasets.blocks.digests import MissingRecords
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.partition import partition
from django_etcdaero.datasets.mapped.building import Plan, blocks_of, build
from django_etcdaero.datasets.mapped.rows import MappedRows
from django_etcdaero.exceptions import CorruptBlock

from .making import mapped

LIMIT = 1 << 20


class Store:
    """Records in a dictionary, and what was fetched of them."""

    def __init__(self, *, by_fields: bool = False) -> None:
        self.by_fields = by_fields
        self.records: dict[bytes, bytes] = {}
        self.fetched: list[bytes] = []

    def publish(self, rows: Mapping[Any, Any], *, ordered: bool = False, count: int | None = None) -> Manifest:
        parted = partition(rows, max_value_bytes=LIMIT, ordered=ordered, previous_count=count, by_fields=self.by_fields)
        entries, order = [], []
        for into, blocks in ((entries, parted), (order, parted.order)):
            for block in blocks:
                self.records[block.digest] = block.stored()
                into.append(block.entry(len(self.records[block.digest])))
        return Manifest.build(entries, name="prices", schema=1, count=parted.count, order=order)

    def change(self, manifest: Manifest, upserts: Mapping[Any, Any], deletions: Iterable[Any], rows: int) -> Manifest:
        change = encode_change(upserts, list(deletions), max_value_bytes=LIMIT)
        deltas = cut(change, upserts if self.by_fields else None, max_value_bytes=LIMIT)
        self.records.update((delta.digest, delta.stored()) for delta in deltas)
        return manifest.changed([(delta.digest, 1) for delta in deltas], rows=rows, content=bytes(32))

    def fetch(self, digests: list[bytes]) -> dict[bytes, bytes]:
        self.fetched += digests
        return {digest: self.records[digest] for digest in digests if digest in self.records}

    def made(self, path: Path, manifest: Manifest, base: MappedRows[Any, Any] | None = None) -> MappedRows[Any, Any]:
        """Make the file of a version and map it."""
        with path.open("w+b") as file:
            blocks = blocks_of(manifest, self.fetch)
            build(file, manifest, Plan.of(blocks, base and base.stack.base), self.fetch)
        return mapped(path)


@pytest.fixture(params=[False, True], ids=["by rows", "by fields"])
def store(request: pytest.FixtureRequest) -> Store:
    return Store(by_fields=request.param)


ROWS = {f"key-{number}": {"id": number, "text": "x" * (number % 50)} for number in range(2000)}


def test_a_file_has_the_rows_of_the_store(store: Store, tmp_path: Path) -> None:
    made = store.made(tmp_path / "rows", store.publish(ROWS))
    assert made == ROWS
    assert all(made[key] == row for key, row in ROWS.items())


@pytest.mark.parametrize(
    "rows", [{}, {1: 2}, {b"k" * 70_000: b"x" * 100_000, "other": 1, **ROWS}], ids=["0", "1", "large"]
)
def test_blocks_of_all_sizes_are_written(rows: dict[Any, Any], store: Store, tmp_path: Path) -> None:
    assert store.made(tmp_path / "rows", store.publish(rows)) == rows


def test_a_block_may_have_many_parts(store: Store, tmp_path: Path) -> None:
    rows = {number: b"%d" % number * 20_000 for number in range(60)}
    manifest = store.publish(rows)
    assert len(manifest.blocks) > manifest.count
    base = store.made(tmp_path / "rows", manifest)
    assert base == rows
    store.fetched.clear()
    changed = {**rows, 7: b"changed"}
    new = store.publish(changed, count=manifest.count)
    assert store.made(tmp_path / "new", new, base) == changed
    assert set(store.fetched) < set(new.blocks)


def test_what_did_not_change_is_copied_and_gives_the_same_file(store: Store, tmp_path: Path) -> None:
    base = store.made(tmp_path / "base", store.publish(ROWS))
    changed = {**ROWS, "key-5": 5, "another": 1, "one more": {1.5, 2}}
    del changed["key-6"], changed["key-1999"]
    new = store.publish(changed)
    store.fetched.clear()
    made = store.made(tmp_path / "new", new, base)
    assert made == changed
    assert 1 <= len(store.fetched) <= 5
    store.made(tmp_path / "whole", new)
    assert (tmp_path / "new").read_bytes() == (tmp_path / "whole").read_bytes()


def test_keys_in_another_form_are_found_in_a_copy_too(store: Store, tmp_path: Path) -> None:
    rows: dict[Any, Any] = {number / 4: number for number in range(1, 2000)}
    base = store.made(tmp_path / "base", store.publish(rows))
    changed = {**rows, 0.25: "changed", 7777.5: "new"}
    made = store.made(tmp_path / "new", store.publish(changed), base)
    assert all(made[key] == row for key, row in changed.items())
    assert made[100] == 400  # of 100.0
    assert 0.125 not in made


def test_another_number_of_blocks_is_made_anew(store: Store, tmp_path: Path) -> None:
    base = store.made(tmp_path / "base", store.publish(ROWS))
    more = {**ROWS, **{number: number for number in range(10_000)}}
    assert store.made(tmp_path / "new", store.publish(more), base) == more


def test_deltas_are_applied(store: Store, tmp_path: Path) -> None:
    first = store.publish(ROWS)
    second = store.change(first, {"key-5": 5, "new": 1}, ["key-6", "never there"], len(ROWS))
    rows = {**ROWS, "key-5": 5, "new": 1}
    del rows["key-6"]
    one = store.made(tmp_path / "one", second)
    assert one == rows
    third = store.change(second, {"key-6": 6}, ["new", "key-7"], len(ROWS) - 1)
    rows["key-6"] = 6
    del rows["new"], rows["key-7"]
    store.fetched.clear()
    two = store.made(tmp_path / "two", third, one)
    assert two == rows
    assert len(store.fetched) <= 2 + 3  # the deltas, and the blocks of the second one's keys
    folded = store.publish(rows, count=first.count)
    assert store.made(tmp_path / "three", folded, two) == rows
    assert store.made(tmp_path / "back", first, two) == ROWS


def test_a_version_in_another_form_of_blocks_gives_the_same_rows(tmp_path: Path) -> None:
    by_rows, by_columns = Store(), Store(by_fields=True)
    one = by_rows.made(tmp_path / "rows", by_rows.publish(ROWS))
    other = by_columns.made(tmp_path / "by_fields", by_columns.publish(ROWS), one)
    assert other == one == ROWS
    assert [other[key] for key in ROWS] == [one[key] for key in ROWS]


def test_an_order_is_kept(store: Store, tmp_path: Path) -> None:
    rows = dict(reversed(ROWS.items()))
    base = store.made(tmp_path / "base", store.publish(rows, ordered=True))
    assert list(base.items()) == list(rows.items())
    changed = {"first": 1, **rows}
    assert list(store.made(tmp_path / "new", store.publish(changed, ordered=True), base)) == list(changed)


def test_what_is_missing_or_damaged_in_the_store_is_told(store: Store, tmp_path: Path) -> None:
    manifest = store.publish(ROWS, ordered=True)
    for digest in (manifest.blocks[3], manifest.order.chunks[0]):
        good = store.records.pop(digest)
        with pytest.raises(MissingRecords, match="missing"):
            store.made(tmp_path / "rows", manifest)
        store.records[digest] = good[:-1]
        with pytest.raises(CorruptBlock, match=digest.hex()):
            store.made(tmp_path / "rows", manifest)
        store.records[digest] = good
    store.made(tmp_path / "rows", manifest)


def test_a_version_of_more_rows_than_its_root_says_is_refused(store: Store, tmp_path: Path) -> None:
    manifest = store.change(store.publish(ROWS), {"new": 1}, [], len(ROWS) + 2)
    with pytest.raises(CorruptBlock, match="the version has 2,001 different keys, and its root says 2,002"):
        store.made(tmp_path / "rows", manifest)
