"""A manifest names every record of a version, and believes nothing that it has not verified."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.datasets.blocks.compression import store_form
from django_etcdaero.datasets.blocks.digests import DIGEST_BYTES, DamagedRecord, Kind, MissingRecords, digest_of
from django_etcdaero.datasets.blocks.manifest import Entry, Manifest
from django_etcdaero.datasets.blocks.manifest_records import PAGE_BLOCKS
from django_etcdaero.datasets.blocks.partition import decode_block, partition
from django_etcdaero.exceptions import CorruptBlock, ResponseError

MIB = 1024 * 1024


def publish(rows: Mapping[Any, Any], store: dict[bytes, bytes], previous: Manifest | None = None) -> Manifest:
    """Write what is missing and return the manifest, as a publisher does."""
    known = dict(zip(previous.blocks, previous.sizes, strict=True)) if previous else {}
    parts = partition(rows, max_value_bytes=MIB, previous_count=previous.count if previous else None)
    entries = []
    for block in parts:
        size = known.get(block.digest)
        if size is None:
            store[block.digest] = stored = block.stored()
            size = len(stored)
        entries.append(block.entry(size))
    manifest = Manifest.build(entries, name="products", schema=1, count=parts.count)
    store.update(manifest.records())
    return manifest


def load(store: dict[bytes, bytes], digest: bytes) -> Manifest:
    return Manifest.load(lambda names: {name: store[name] for name in names if name in store}, digest)


def product(number: int) -> dict[str, Any]:
    name = random.Random(number).randbytes(24).hex()
    return {"id": number, "name": name, "price": number / 7, "category": f"category {number % 9}"}


PRODUCTS = {number: product(number) for number in range(30_000)}


@pytest.fixture(scope="module")
def published() -> tuple[dict[bytes, bytes], Manifest]:
    store: dict[bytes, bytes] = {}
    return store, publish(PRODUCTS, store)


def entry(index: int, seed: int = 0, size: int = 1000) -> Entry:
    return Entry(index, digest_of(Kind.BLOCK, f"{index} {seed}".encode()), 30, 3000, size)


def test_a_manifest_that_is_loaded_equals_the_one_that_was_built(published: Any) -> None:
    store, manifest = published
    assert load(store, manifest.root_digest) == manifest


def test_it_leads_to_all_rows_and_its_totals_are_true(published: Any) -> None:
    store, manifest = published
    rows: dict[int, Any] = {}
    for digest in manifest.blocks:
        rows.update(zip(*decode_block(digest, store[digest]), strict=True))
    assert rows == PRODUCTS
    assert manifest.rows == len(PRODUCTS)
    assert manifest.stored_bytes == sum(len(store[digest]) for digest in manifest.blocks) == sum(manifest.sizes)
    assert manifest.count == len(manifest.blocks) == 1024
    assert manifest.indices == tuple(range(1024))
    assert len(manifest.pages) == 1024 // PAGE_BLOCKS


def test_it_names_every_record_of_the_version(published: Any) -> None:
    store, manifest = published
    assert set(manifest.digests()) == set(store)


def test_equal_rows_have_equal_roots() -> None:
    store: dict[bytes, bytes] = {}
    one, other = publish(PRODUCTS, store), publish(dict(reversed(PRODUCTS.items())), store)
    assert one == other


def test_the_digest_of_a_root_is_the_same_on_every_platform_and_python() -> None:
    entries = [entry(index) for index in range(2000) if index % 7] + [entry(2000), entry(2000, seed=1)]
    manifest = Manifest.build(entries, name="products", schema=3, count=2048)
    assert manifest.root_digest.hex() == "0b9954276246cffb36a9f6e28e42524b6dd394ed"


def test_name_and_schema_are_part_of_the_identity() -> None:
    def root(**changed: Any) -> bytes:
        return Manifest.build([entry(0)], **{"name": "a", "schema": 1, "count": 1, **changed}).root_digest

    assert len({root(), root(name="b"), root(schema=2), root(count=2)}) == 4


def test_an_empty_dataset_has_a_manifest() -> None:
    store: dict[bytes, bytes] = {}
    manifest = publish({}, store)
    assert (manifest.rows, manifest.blocks, manifest.count) == (0, (), 1)
    assert load(store, manifest.root_digest) == manifest


def test_blocks_in_parts_and_empty_blocks_are_listed() -> None:
    store: dict[bytes, bytes] = {}
    rows = {number: random.Random(number).randbytes(50_000) for number in range(60)}
    manifest = publish(rows, store)
    assert manifest.count == 2
    assert len(manifest.blocks) > 2
    assert load(store, manifest.root_digest) == manifest
    entries = [entry(3), entry(9), entry(9, seed=1), entry(600)]
    sparse = Manifest.build(entries, name="sparse", schema=1, count=1024)
    assert load(sparse.records(), sparse.root_digest) == sparse
    assert sparse.indices == (3, 9, 9, 600)


def test_pages_stay_small_when_blocks_have_very_many_parts() -> None:
    entries = [entry(index, seed=part) for index in range(1024) for part in range(100 if index < 100 else 1)]
    manifest = Manifest.build(entries, name="parts", schema=1, count=1024)
    records = manifest.records()
    assert load(records, manifest.root_digest) == manifest
    assert len(manifest.pages) > 2
    assert max(map(len, records.values())) < 100_000
    changed = [*entries[:500], entry(5, seed=999), *entries[501:]]
    other = Manifest.build(changed, name="parts", schema=1, count=1024)
    assert len(set(other.pages) - set(manifest.pages)) == 1


@pytest.mark.parametrize("indices", [[1, 0], [0, 4], [-1]])
def test_entries_out_of_order_or_beyond_the_count_are_refused(indices: list[int]) -> None:
    with pytest.raises(ValueError, match="one partition, in its order"):
        Manifest.build([entry(index) for index in indices], name="x", schema=1, count=4)


# --- differences -----------------------------------------------------------------------------------------------------


def test_a_small_change_writes_few_bytes(published: Any) -> None:
    store, before = published
    changed = dict(PRODUCTS)
    for number in random.Random(1).sample(range(len(PRODUCTS)), len(PRODUCTS) // 1000):
        changed[number] = {**changed[number], "price": 0.5}
    later = dict(store)
    after = publish(changed, later, before)
    written = sum(len(later[digest]) for digest in later.keys() - store.keys())
    assert written < 0.05 * sum(map(len, store.values()))
    assert after.count == before.count


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_missing_root_is_named(published: Any) -> None:
    store, manifest = published
    with pytest.raises(MissingRecords, match=manifest.root_digest.hex()) as caught:
        load({name: store[name] for name in store if name != manifest.root_digest}, manifest.root_digest)
    assert caught.value.missing == (manifest.root_digest,)


def test_all_missing_pages_are_named(published: Any) -> None:
    store, manifest = published
    with pytest.raises(MissingRecords, match="2 of 2 page records") as caught:
        load({name: store[name] for name in store if name not in manifest.pages}, manifest.root_digest)
    assert caught.value.missing == manifest.pages


@given(st.integers(0, 10**6), st.integers(1, 255), st.sampled_from(["root", "page"]))
def test_a_changed_byte_is_always_noticed(published: Any, at: int, flip: int, what: str) -> None:
    store, manifest = published
    digest = manifest.root_digest if what == "root" else manifest.pages[1]
    damaged = bytearray(store[digest])
    damaged[at % len(damaged)] ^= flip
    try:
        loaded = load({**store, digest: bytes(damaged)}, manifest.root_digest)
    except DamagedRecord as error:
        assert error.digest == digest  # noqa: PT017
    else:  # LZ4 has several ways to write the same bytes
        assert loaded == manifest


def forged(plain_pages: list[Any], **changes: Any) -> tuple[dict[bytes, bytes], bytes]:
    """Return a store with a root and pages that have right digests and any content."""
    pages = [msgpack.packb(page) for page in plain_pages]
    root = {
        "format": 1,
        "codec": 1,
        "name": "x",
        "schema": 1,
        "rows": 30,
        "count": 1,
        "plain_bytes": 3000,
        "stored_bytes": 1000,
        "pages": b"".join(digest_of(Kind.PAGE, page) for page in pages),
    }
    plain = msgpack.packb({key: value for key, value in {**root, **changes}.items() if value is not None})
    digest = digest_of(Kind.ROOT, plain)
    records = {digest_of(Kind.PAGE, page): store_form(page) for page in pages}
    return {**records, digest: store_form(plain)}, digest


DIGEST = b"d" * DIGEST_BYTES
PAGE = [0, 1, {}, DIGEST, [1000]]


def test_the_forger_of_these_tests_can_make_a_right_manifest() -> None:
    assert load(*forged([PAGE])).blocks == (DIGEST,)


@pytest.mark.parametrize(("field", "version"), [("format", 5), ("format", 99), ("codec", 5), ("codec", 99)])
def test_a_newer_version_is_refused_with_advice(field: str, version: int) -> None:
    with pytest.raises(ResponseError, match=f"{field} version {version} .*newer.*upgrade") as caught:
        load(*forged([PAGE], **{field: version}))
    assert not isinstance(caught.value, CorruptBlock)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"schema": "1"},
        {"count": 2},
        {"count": 0},
        {"count": -1},
        {"count": 1.0},
        {"rows": True},
        {"stored_bytes": "many"},
        {"pages": b""},
        {"pages": "text"},
        {"format": None},
        {"format": "1"},
        {"codec": 0},
        {"extra": 1},
        {"order": b""},
        {"order": b"", "format": 2},
        {"order": 1, "format": 2},
        {"format": 2},
    ],
    ids=repr,
)
def test_a_root_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    store, digest = forged([PAGE], **changes)
    with pytest.raises(DamagedRecord) as caught:
        load(store, digest)
    assert caught.value.digest == digest


@pytest.mark.parametrize(
    "page",
    [
        None,
        [],
        {},
        [0, 1, {}, DIGEST],
        [0, 2, {}, DIGEST, [1000]],
        [0, 10**12, {}, DIGEST, [1000]],
        [0, 0, {}, b"", []],
        [1, 1, {}, DIGEST, [1000]],
        [0, 1, {0: 1}, DIGEST, [1000]],
        [0, 1, {0: 2}, DIGEST, [1000]],
        [0, 1, {0: 10**12}, DIGEST, [1000]],
        [0, 1, {0: 10**12, 7: 1 - 10**12}, DIGEST, [1000]],
        [0, 1, {0: "x"}, DIGEST, [1000]],
        [0, 1, [], DIGEST, [1000]],
        [0, 1, {}, DIGEST[:-1], [1000]],
        [0, 1, {}, DIGEST, []],
        [0, 1, {}, DIGEST, 1000],
        [0, 1, {}, DIGEST, ["x"]],
        [0, 1, {}, [DIGEST], [1000]],
        [0, 1, {}, "d" * DIGEST_BYTES, [1000]],
        ["x", 1, {}, DIGEST, [1000]],
        [0, 2, {0: 2, 1: 0}, DIGEST + DIGEST, [1, 2]],
        "text",
        7,
    ],
    ids=lambda page: repr(page)[:50],
)
def test_a_page_that_makes_no_sense_is_refused(page: Any) -> None:
    with pytest.raises(DamagedRecord) as caught:
        load(*forged([page]))
    assert len(caught.value.digest) == DIGEST_BYTES


def test_what_is_no_manifest_at_all_is_refused() -> None:
    plain = msgpack.packb([1, 2])
    digest = digest_of(Kind.ROOT, plain)
    with pytest.raises(DamagedRecord, match="not a map"):
        load({digest: store_form(plain)}, digest)
