"""Rows become blocks that depend on nothing but the rows, and blocks become the same rows again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID
from zlib import crc32

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.datasets.blocks.compression import store_form
from django_etcdaero.datasets.blocks.digests import DamagedRecord, Kind, digest_of
from django_etcdaero.datasets.blocks.frozen import FrozenDict, FrozenList
from django_etcdaero.datasets.blocks.partition import (
    MAX_ROWS,
    MIN_ROWS,
    EncodedBlock,
    block_count,
    decode_block,
    partition,
)
from django_etcdaero.datasets.blocks.row_encoding import PART_BYTES
from django_etcdaero.exceptions import ConfigurationError, CorruptBlock, EncodeError, RecordTooBig

MIB = 1024 * 1024


def encoded(rows: Any, **options: Any) -> list[EncodedBlock]:
    return list(partition(rows, **{"max_value_bytes": MIB, **options}))


def digests(rows: Any, **options: Any) -> list[str]:
    return [block.digest.hex() for block in encoded(rows, **options)]


def read(blocks: list[EncodedBlock], **options: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for block in blocks:
        decoded = decode_block(block.digest, block.stored(), **options)
        assert len(decoded.keys) == len(decoded.rows) == block.rows
        found.update(zip(decoded.keys, decoded.rows, strict=True))
    return found


def product(number: int) -> dict[str, Any]:
    return {"id": number, "name": f"product {number}", "price": number / 7, "tags": {"a", "b", f"t{number}"}}


PRODUCTS = {number: product(number) for number in range(1000)}


def test_all_rows_come_back() -> None:
    assert read(encoded(PRODUCTS)) == PRODUCTS


def test_keys_of_all_kinds_come_back() -> None:
    keys = [None, True, 7, 7.5, Decimal("1.50"), "7", b"7", UUID(int=7), (1, "x"), "", "\ud800", 2**80]
    rows = dict(zip(keys, range(len(keys)), strict=True))
    assert {(type(key), key): row for key, row in read(encoded(rows)).items()} == {
        (type(key), key): row for key, row in rows.items()
    }


def test_text_with_lone_surrogates_among_ordinary_rows_comes_back() -> None:
    rows: dict[Any, Any] = {**PRODUCTS, "odd": {"text": "a\udcffb"}}
    assert read(encoded(rows)) == rows


def test_no_rows_make_one_block_without_a_record() -> None:
    empty = partition({}, max_value_bytes=MIB)
    assert (empty.count, empty.rows, list(empty)) == (1, 0, [])


def test_any_mapping_will_do() -> None:
    assert digests(MappingProxyType(PRODUCTS)) == digests(PRODUCTS)


# --- identity --------------------------------------------------------------------------------------------------------


def test_insertion_order_does_not_matter() -> None:
    shuffled = list(PRODUCTS.items())
    random.Random(7).shuffle(shuffled)
    assert digests(dict(shuffled)) == digests(PRODUCTS)


def test_the_order_of_a_row_s_fields_is_data() -> None:
    assert digests({1: {"a": 1, "b": 2}}) != digests({1: {"b": 2, "a": 1}})


GOLDEN_SCRIPT = """
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID
from zoneinfo import ZoneInfo
from django_etcdaero.datasets.blocks.partition import partition

rows = {
    key: {
        "n": n, "set": {"a", "b", f"t{n}", n}, "frozen": frozenset({(n, "x"), b"y"}), "list": [None, True, -0.5, 2**70],
        "when": datetime(2024, 5, 6, 7, 8, 9, n, ZoneInfo("Europe/Warsaw")), "utc": datetime(2024, 1, 1, tzinfo=UTC),
        "day": date(2024, 2, 29), "clock": time(1, 2, 3, n), "span": timedelta(days=-n, microseconds=1),
        "price": Decimal(n) / 100, "id": UUID(int=n), "text": chr(n + 200), "map": {n: 1, None: {}},
    }
    for n in range(100)
    for key in (n, str(n), (n, "x"), UUID(int=n))
}
"""


def golden(by_fields: bool) -> str:
    namespace: dict[str, Any] = {}
    exec(GOLDEN_SCRIPT, namespace)
    blocks = list(partition(namespace["rows"], max_value_bytes=MIB, by_fields=by_fields))
    return digest_of(Kind.BLOCK, b"".join(block.digest for block in blocks)).hex()


def test_digests_are_the_same_on_every_platform_and_python() -> None:
    assert golden(by_fields=False) == "120bedb5e8486b1079912eb69514e4fb3093c409"
    assert golden(by_fields=True) == "41d86ed041c5ea1f63828d67f5988698585a7f3a"


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_digests_do_not_depend_on_the_hash_seed(seed: str) -> None:
    script = GOLDEN_SCRIPT + "print(*[block.digest.hex() for block in partition(rows, max_value_bytes=2**20)])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    namespace: dict[str, Any] = {}
    exec(GOLDEN_SCRIPT, namespace)
    assert done.stdout.split() == digests(namespace["rows"])


def test_a_changed_row_changes_one_block() -> None:
    changed = {**PRODUCTS, 77: {**PRODUCTS[77], "price": 0.0}}
    before, after = digests(PRODUCTS), digests(changed)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_a_removed_row_changes_one_block() -> None:
    fewer = {key: row for key, row in PRODUCTS.items() if key != 77}
    assert sum(a != b for a, b in zip(digests(PRODUCTS), digests(fewer), strict=True)) == 1


# --- number of blocks ------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**9))
def test_a_new_number_of_blocks_is_a_power_of_two_with_24_to_48_rows_in_each(rows: int) -> None:
    count = block_count(rows)
    assert count & (count - 1) == 0
    assert count == 1 or 24 <= rows / count < 48


@given(st.integers(0, 10**9), st.integers(0, 25))
def test_the_number_of_blocks_stays_until_it_fits_badly(rows: int, power: int) -> None:
    previous = 1 << power
    count = block_count(rows, previous)
    if MIN_ROWS <= rows / previous <= MAX_ROWS:
        assert count == previous
    else:
        assert count == block_count(rows)


def test_a_partition_keeps_the_previous_number_of_blocks() -> None:
    assert partition(PRODUCTS, max_value_bytes=MIB).count == 32
    assert partition(PRODUCTS, max_value_bytes=MIB, previous_count=64).count == 64


@pytest.mark.parametrize(
    "key",
    [
        lambda n: n,
        lambda n: n * 4096,
        lambda n: -n,
        lambda n: n / 100,
        lambda n: f"sku-{n:06}",
        lambda n: (n // 90, n % 90),
        lambda n: UUID(int=n),
        lambda n: UUID(int=n << 64),
    ],
)
def test_keys_in_patterns_are_spread_evenly(key: Any) -> None:
    blocks = encoded({key(n): 0 for n in range(8192)})
    assert len(blocks) == 256
    assert max(block.rows for block in blocks) <= 64


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 5000])
def test_the_block_of_a_row_follows_from_its_key_alone_and_stays_the_same_in_later_releases(rows: int) -> None:
    keys = range(-5, rows - 5)
    blocks = partition(dict.fromkeys(keys), max_value_bytes=MIB)
    shift = 33 - blocks.count.bit_length()
    found = {key: block.index for block in blocks for key in decode_block(block.digest, block.stored()).keys}
    assert found == {key: (crc32(msgpack.packb(key)) * 0x9E3779B1 % 2**32) >> shift for key in keys}


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_a_row_that_no_record_can_hold_is_named() -> None:
    with pytest.raises(RecordTooBig, match=r"row 'winnie' takes 1,048,5\d\d bytes; .* at most 1,048,5\d\d"):
        partition({"piglet": "x", "winnie": "x" * MIB, "tigger": "x"}, max_value_bytes=MIB)


@pytest.mark.parametrize("max_value_bytes", [10_000, 200_000, MIB])
def test_big_blocks_are_stored_in_parts_that_fit(max_value_bytes: int) -> None:
    source = random.Random(3)
    rows = {n: source.randbytes(source.choice([10, 3000, 9000])) for n in range(200)}
    rows[1000] = source.randbytes(max_value_bytes - 100)
    blocks = encoded(rows, max_value_bytes=max_value_bytes)
    assert read(blocks) == rows
    assert [block.index for block in blocks] == sorted(block.index for block in blocks)
    assert len({block.index for block in blocks}) < len(blocks)
    for block in blocks:
        assert len(block.stored()) <= max_value_bytes
        assert block.rows == 1 or len(block.plain) <= min(PART_BYTES, max_value_bytes) + 5


def test_a_change_in_a_block_of_parts_leaves_other_blocks_alone() -> None:
    rows = {n: bytes([n % 256]) * 20_000 for n in range(200)}
    before, after = encoded(rows), encoded({**rows, 5: b"x" * 15_000})
    had = {block.digest for block in before}
    assert len({block.index for block in after if block.digest not in had}) == 1


def test_compression_is_used_only_where_it_helps() -> None:
    same, noise = encoded({1: "x" * 1000})[0], encoded({1: random.Random(1).randbytes(1000)})[0]
    assert len(same.stored()) < 100
    assert len(noise.stored()) == len(noise.plain) + 1


# --- streaming -------------------------------------------------------------------------------------------------------


def test_progress_counts_every_row_and_may_stop_the_work() -> None:
    seen: list[int] = []
    partition(PRODUCTS, max_value_bytes=MIB, progress=seen.append)
    assert sum(seen) == len(PRODUCTS)

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        partition(PRODUCTS, max_value_bytes=MIB, progress=stop)


def test_a_partition_can_be_iterated_over_once() -> None:
    once = partition(PRODUCTS, max_value_bytes=MIB)
    list(once)
    with pytest.raises(RuntimeError, match="once"):
        list(once)


def test_a_row_that_cannot_be_stored_is_named() -> None:
    with pytest.raises(EncodeError, match=r"row 500 at \['price'\]: complex cannot be stored"):
        partition({**PRODUCTS, 500: {"price": 1j}}, max_value_bytes=MIB)


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass
class Product:
    id: int
    name: str
    price: float
    tags: set[str]


class Point(NamedTuple):
    x: int
    y: int = 0


class Pair(NamedTuple):
    x: list[int]
    y: dict[str, int]


def test_frozen_rows_are_read_only() -> None:
    rows = read(encoded(PRODUCTS), rows="frozen")
    assert rows[3] == product(3)
    assert type(rows[3]) is FrozenDict
    assert type(rows[3]["tags"]) is frozenset


def test_a_dataclass_is_made_from_each_dict_by_keyword() -> None:
    assert read(encoded(PRODUCTS), row_type=Product)[3] == Product(**product(3))


def test_a_named_tuple_is_made_from_dicts_tuples_and_lists() -> None:
    rows = {1: {"y": 2, "x": 1}, 2: (3, 4), 3: [5]}
    assert read(encoded(rows), row_type=Point) == {1: Point(1, 2), 2: Point(3, 4), 3: Point(5, 0)}


@pytest.mark.parametrize("row", [{"y": 1, "z": 2}, {"x": "1"}, (1, 2, 3), {}, "text", 7, {1: 2}])
def test_a_row_that_does_not_fit_its_type_is_named(row: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"row 'winnie' does not fit the row type Point: "):
        read(encoded({"winnie": row}), row_type=Point)


@pytest.mark.parametrize("rows", ["frozen", "plain"])
def test_what_the_fields_of_an_instance_hold_is_as_rows_says(rows: Any) -> None:
    row = read(encoded({1: {"x": [1], "y": {"z": 2}}}), rows=rows, row_type=Pair)[1]
    assert row == Pair([1], {"z": 2})
    assert (type(row.x), type(row.y)) == ((FrozenList, FrozenDict) if rows == "frozen" else (list, dict))


@pytest.mark.parametrize("rows", ["frosen", dict, object, None, 7, []])
def test_an_unknown_form_of_rows_is_refused(rows: Any) -> None:
    block = encoded({1: 2})[0]
    with pytest.raises(ConfigurationError, match=r"^rows = .*, expected 'frozen' or 'plain'"):
        decode_block(block.digest, block.stored(), rows=rows)


@pytest.mark.parametrize("row_type", ["frozen", dict, object, 7, tuple])
def test_a_type_that_no_row_can_be_made_of_is_refused(row_type: Any) -> None:
    block = encoded({1: 2})[0]
    with pytest.raises(ConfigurationError, match=r"^row_type = .*, expected a dataclass, a NamedTuple, a TypedDict or"):
        decode_block(block.digest, block.stored(), row_type=row_type)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_is_always_noticed(at: int, flip: int) -> None:
    block = encoded({n: product(n) for n in range(5)})[0]
    damaged = bytearray(block.stored())
    damaged[at % len(damaged)] ^= flip
    try:
        decoded = decode_block(block.digest, bytes(damaged))
    except CorruptBlock as error:
        assert error.digest == block.digest  # type: ignore[attr-defined]  # noqa: PT017
    else:  # LZ4 has several ways to write the same bytes
        assert list(decoded.keys) == list(range(5))


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x10", b"\x11", b"\x11\x40\0\0\0"]))
def test_garbage_is_refused(garbage: bytes, header: bytes) -> None:
    with pytest.raises(DamagedRecord) as caught:
        decode_block(b"d" * 20, header + garbage)
    assert caught.value.digest == b"d" * 20


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 65 * MIB, 30_000])
def test_a_length_that_cannot_be_true_allocates_nothing(length: int) -> None:
    with pytest.raises(DamagedRecord, match=f"claims to hold {length} bytes"):
        decode_block(b"d" * 20, b"\x11" + length.to_bytes(4, "little") + bytes(100))


def test_a_newer_stored_form_is_told_from_its_header() -> None:
    with pytest.raises(DamagedRecord, match=r"0x21.*newer version"):
        decode_block(b"d" * 20, b"\x21abc")


@pytest.mark.parametrize(
    "plain", [b"\x01", b"\x91\x01", b"\x80", b"\x93\x01\x02\x03", b"\x92\x01\x02\x00", b"\x92\x01"]
)
def test_content_that_is_no_list_of_keys_and_rows_is_refused(plain: bytes) -> None:
    digest = digest_of(Kind.BLOCK, plain)
    with pytest.raises(DamagedRecord, match=digest.hex()):
        decode_block(digest, store_form(plain))


def test_a_page_is_never_taken_for_a_block() -> None:
    plain = encoded({1: 2})[0].plain
    with pytest.raises(DamagedRecord, match="another digest"):
        decode_block(digest_of(Kind.PAGE, plain), store_form(plain))
