"""The order of rows is stored in chunks that a small change leaves alone, and believed only if it fits the rows."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable
from typing import Any

import msgpack
import pytest

from django_etcdaero.datasets.blocks.compression import store_form
from django_etcdaero.datasets.blocks.digests import DamagedRecord, Kind, MissingRecords, digest_of
from django_etcdaero.datasets.blocks.manifest import Entry, Manifest
from django_etcdaero.datasets.blocks.manifest_records import pages_of, sizes_of
from django_etcdaero.datasets.blocks.order import MOST_KEYS, PAGE_CHUNKS, Order, in_order
from django_etcdaero.datasets.blocks.partition import partition
from django_etcdaero.datasets.blocks.row_encoding import PART_BYTES
from django_etcdaero.exceptions import CorruptBlock

MIB = 1 << 20


class Store(dict[bytes, bytes]):
    """Records by digest."""

    def fetch(self, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        return {digest: self[digest] for digest in digests if digest in self}


def publish(keys: Iterable[Any], store: Store) -> Manifest:
    """Store the order of rows with these keys, and return a manifest with it."""
    parts = partition(dict.fromkeys(keys, 0), max_value_bytes=MIB, ordered=True)
    blocks = list(parts)
    records = {block.digest: block.stored() for block in (*parts.order, *blocks)}
    store.update(records)
    manifest = Manifest.build(
        [block.entry(len(records[block.digest])) for block in blocks],
        name="x",
        schema=1,
        count=parts.count,
        order=[chunk.entry(len(records[chunk.digest])) for chunk in parts.order],
    )
    store.update(manifest.records())
    return manifest


def names(count: int) -> list[str]:
    made = [f"sku-{number:06}" for number in range(count)]
    random.Random(7).shuffle(made)
    return made


NAMES = names(20_000)


@pytest.fixture(scope="module")
def published() -> tuple[Store, Manifest]:
    store = Store()
    return store, publish(NAMES, store)


def read(store: Store, manifest: Manifest, **known: Any) -> list[Any]:
    return list(in_order(dict.fromkeys(sorted(NAMES), 0), manifest.order, store.fetch, **known))


def test_rows_come_back_in_their_order(published: Any) -> None:
    store, manifest = published
    assert read(store, manifest) == NAMES
    assert sum(manifest.order.counts) == manifest.rows == len(NAMES)


def test_a_manifest_with_an_order_can_be_loaded_and_names_all_records(published: Any) -> None:
    store, manifest = published
    assert Manifest.load(store.fetch, manifest.root_digest) == manifest
    assert set(manifest.digests()) == set(store)
    pages = pages_of(manifest.root_digest, store[manifest.root_digest])
    sizes = {digest: size for page in pages for digest, size in sizes_of(page, store[page]).items()}
    assert sizes == {digest: len(store[digest]) for digest in manifest.kinds()}
    assert manifest.stored_bytes == sum(sizes.values())


def test_chunks_have_the_meant_size_for_keys_of_any_pattern() -> None:
    patterns: list[Iterable[Any]] = [
        range(30_000),
        range(0, 30_000 << 16, 1 << 16),
        (f"{number}" for number in range(30_000)),
        (uuid.UUID(int=number << 64) for number in range(30_000)),
        ((number % 7, number) for number in range(30_000)),
    ]
    for keys in patterns:
        counts = publish(keys, Store()).order.counts
        assert 10 < len(counts) < 90
        assert max(counts) <= MOST_KEYS


def test_a_chunk_is_never_large() -> None:
    keys = [f"{number:04}" + "x" * 500 for number in range(2000)]
    parts = partition(dict.fromkeys(keys, 0), max_value_bytes=MIB, ordered=True)
    assert len(parts.order) > 7
    assert max(len(chunk.plain) for chunk in parts.order) <= PART_BYTES + 5


@pytest.mark.parametrize("at", [0, 9_999, 20_000])
def test_a_row_that_comes_in_or_goes_changes_a_chunk(published: Any, at: int) -> None:
    _, before = published
    with_one_more = publish([*NAMES[:at], "new", *NAMES[at:]], Store())
    with_one_less = publish([*NAMES[:at], *NAMES[at + 1 :]], Store())
    for after in (with_one_more, with_one_less):
        assert len(set(after.order.chunks) - set(before.order.chunks)) <= 2


def test_many_chunks_take_several_pages() -> None:
    chunks = tuple(digest_of(Kind.ORDER, bytes(number)) for number in range(PAGE_CHUNKS + 1))
    order = Order(chunks, tuple(range(len(chunks))), (1,) * len(chunks))
    pages = [msgpack.unpackb(page) for page in order.plain_pages()]
    assert len(pages) == 2
    assert Order.joined(Order.read_page(page) for page in pages) == order


def test_only_chunks_that_changed_are_fetched(published: Any) -> None:
    store, before = published
    later = Store(store)
    after = publish([*NAMES[1:], NAMES[0]], later)
    asked: list[bytes] = []

    def fetch(digests: list[bytes]) -> dict[bytes, bytes]:
        asked.extend(digests)
        return later.fetch(digests)

    rows = dict.fromkeys(sorted(NAMES), 0)
    found = in_order(rows, after.order, fetch, before=before.order, ordered=NAMES)
    assert list(found) == [*NAMES[1:], NAMES[0]]
    assert 0 < len(asked) <= 4


def test_the_keys_are_those_of_the_rows_and_take_no_memory_of_their_own(published: Any) -> None:
    store, manifest = published
    rows = dict.fromkeys(sorted(NAMES), 0)
    assert {id(key) for key in in_order(rows, manifest.order, store.fetch)} == {id(key) for key in rows}


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_missing_chunk_is_named(published: Any) -> None:
    store, manifest = published
    lost = manifest.order.chunks[2]
    with pytest.raises(MissingRecords) as caught:
        read(Store({name: value for name, value in store.items() if name != lost}), manifest)
    assert caught.value.missing == (lost,)


def test_a_damaged_chunk_is_named(published: Any) -> None:
    store, manifest = published
    damaged = manifest.order.chunks[2]
    with pytest.raises(DamagedRecord, match=f"order {damaged.hex()}") as caught:
        read(Store({**store, damaged: store[damaged][:-1]}), manifest)
    assert caught.value.digest == damaged


@pytest.mark.parametrize("keys", [["a"], ["a", "a"], ["a", "c"], ["a", []], {"a": 1, "b": 2}, "ab"], ids=repr)
def test_an_order_of_other_rows_is_refused(keys: Any) -> None:
    plain = msgpack.packb(keys)
    digest = digest_of(Kind.ORDER, plain)
    with pytest.raises(CorruptBlock):
        in_order({"a": 1, "b": 2}, Order((digest,), (1,), (2,)), Store({digest: store_form(plain)}).fetch)


def test_a_root_whose_order_has_another_number_of_rows_is_refused() -> None:
    store = Store()
    manifest = publish(range(10), store)
    chunks = zip(*manifest.order, strict=True)
    entries = [Entry(index, digest, keys, 10, size) for index, (digest, size, keys) in enumerate(chunks)]
    other = Manifest.build([], name="x", schema=1, count=1, order=entries)
    store.update(other.records())
    with pytest.raises(DamagedRecord, match="do not fit together"):
        Manifest.load(store.fetch, other.root_digest)


@pytest.mark.parametrize(
    "page",
    [[b"d" * 19, [1], [1]], [b"d" * 20, [1], [1, 2]], [b"d" * 20, ["x"], [1]], ["d" * 20, [1], [1]]],
    ids=repr,
)
def test_a_page_of_an_order_that_makes_no_sense_is_refused(page: Any) -> None:
    plain = msgpack.packb(page)
    digest = digest_of(Kind.PAGE, plain)
    with pytest.raises(DamagedRecord):
        sizes_of(digest, store_form(plain))


def test_equal_rows_in_another_order_are_another_version() -> None:
    assert publish(range(5), Store()).root_digest != publish(reversed(range(5)), Store()).root_digest
    assert publish(range(5), Store()).root_digest == publish(list(range(5)), Store()).root_digest


def test_the_digest_of_a_root_with_an_order_is_the_same_everywhere() -> None:
    assert publish(NAMES[:100], Store()).root_digest.hex() == "b0ea73314ea692ae07e1a30bd273cf33bdd70130"
