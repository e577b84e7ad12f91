"""Rows that are streamed give the blocks that the same rows give in a dict."""

from __future__ import annotations

import datetime as dt
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from django_etcdaero.datasets.blocks import row_ranges, row_stream
from django_etcdaero.datasets.blocks.difference import differences, encoded_side
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.partition import Partition, partition
from django_etcdaero.datasets.blocks.row_digests import RowDigests
from django_etcdaero.datasets.blocks.row_stream import EqualKeys, RowStream, StreamedPartition, StreamedRows
from django_etcdaero.exceptions import ConfigurationError, EncodeError, RecordTooBig, StoreFull
from django_etcdaero.system.temporary_bytes import TemporaryBytes, TemporaryValues
from tests.full_disk import limit_files, small_disk, unlimit_files

LIMIT = 1 << 20


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is buffered go to the file often."""
    monkeypatch.setattr(row_stream, "RowRanges", lambda file: row_ranges.RowRanges(file, buffer=10_000))


@pytest.fixture
def file() -> Iterator[TemporaryBytes]:
    made = TemporaryBytes(setting="TEMPORARY_DIR")
    yield made
    made.close()


@dataclass(frozen=True, slots=True)
class Product:
    name: str
    price: Decimal
    changed: dt.datetime


NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def dicts(count: int) -> dict[Any, Any]:
    return {f"k{number}": {"name": f"n{number}", "price": number / 4} for number in range(count)}


def mixed(count: int) -> dict[Any, Any]:
    rng = random.Random(1)
    kinds: list[Any] = [
        lambda n: {"a": n},
        lambda n: {"b": n, "a": None},
        lambda n: (n, "x"),
        lambda n: [n, {n: (1, {2})}],
        lambda n: "x" * (n % 70) * 100,
    ]
    return {(number if number % 3 else UUID(int=number)): rng.choice(kinds)(number) for number in range(count)}


def products(count: int) -> dict[Any, Any]:
    return {
        number: Product(f"n{number}", Decimal(number) / 4, NOW + dt.timedelta(number)) for number in range(-9, count)
    }


FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "by fields": (dicts(3000), {}),
    "by rows": (dicts(3000), {"by_fields": False}),
    "mixed": (mixed(2000), {}),
    "ordered": (dicts(9000), {"ordered": True}),
    "with content": (mixed(500), {"contents": True, "ordered": True}),
    "typed": (products(2000), {"row_type": Product, "contents": True}),
    "in parts": ({n: "x" * 40_000 + str(n) for n in range(60)}, {}),
    "few": ({"a": 1}, {"ordered": True}),
    "none": ({}, {"ordered": True}),
}


def streamed(rows: dict[Any, Any] | list[tuple[Any, Any]], file: TemporaryBytes, **options: Any) -> StreamedRows:
    digests = RowDigests() if options.pop("contents", False) else None
    stream = RowStream(file, max_value_bytes=LIMIT, digests=digests, **options)
    pairs = list(rows.items() if isinstance(rows, dict) else rows)
    while pairs:
        some, pairs = pairs[: stream.at_once], pairs[stream.at_once :]
        stream.add([key for key, _ in some], [row for _, row in some])
    return stream.done()


def content_of(parts: Partition | StreamedPartition) -> bytes | None:
    return None if parts.digests is None else parts.digests.content


def manifest(parts: Partition | StreamedPartition) -> Manifest:
    order = [chunk.entry(len(chunk.stored())) for chunk in parts.order]
    entries = [block.entry(len(block.stored())) for block in parts]
    return Manifest.build(entries, name="n", schema=1, count=parts.count, order=order)


@pytest.mark.parametrize("previous", [None, 4, 64])
@pytest.mark.parametrize("form", FORMS)
def test_the_version_is_the_same(file: TemporaryBytes, form: str, previous: int | None) -> None:
    rows, options = FORMS[form]
    whole = partition(rows, max_value_bytes=LIMIT, previous_count=previous, **options)
    found = streamed(rows, file, **options)
    parts = found.partition(previous)
    assert (parts.count, parts.rows, content_of(parts)) == (whole.count, len(rows), content_of(whole))
    assert manifest(parts) == manifest(whole)
    assert manifest(found.partition(previous)).root_digest, "it can be gone through again"


def test_more_blocks_than_ranges_and_fewer_are_cut_alike(file: TemporaryBytes, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = dicts(4000)
    for ranges in (2, 128, 1024):
        monkeypatch.setattr(row_ranges, "RANGES", ranges)
        monkeypatch.setattr(row_ranges, "_SHIFT", 33 - ranges.bit_length())
        monkeypatch.setattr(row_stream, "RANGES", ranges)
        found = streamed(rows, file)
        assert manifest(found.partition(None)) == manifest(partition(rows, max_value_bytes=LIMIT))
        assert dict(found) == rows


@pytest.mark.parametrize("form", ["by fields", "mixed", "typed"])
def test_columns_may_be_taken_back_when_the_rows_are_there(file: TemporaryBytes, form: str) -> None:
    rows, options = FORMS[form]
    found = streamed(rows, file, **options)
    by_rows = partition(rows, max_value_bytes=LIMIT, **options | {"by_fields": False})
    assert manifest(found.partition(None, by_fields=False)) == manifest(by_rows)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "none"])
def test_it_is_a_mapping_of_the_same_rows(file: TemporaryBytes, form: str) -> None:
    rows, options = FORMS[form]
    found = streamed(rows, file, **options)
    assert len(found) == len(rows)
    assert dict(found.items()) == dict(found) == rows
    assert list(found) == [key for key, _ in found.items()]
    some = [*rows][:: max(1, len(rows) // 50)]
    assert [found[key] for key in some] == [rows[key] for key in some]
    assert [found.get(key) for key in ("nothing", object(), ("x",))] == [None, None, None]


def test_its_rows_cannot_be_changed(file: TemporaryBytes) -> None:
    found = streamed(dicts(5), file)
    with pytest.raises(TypeError):
        found["k1"]["name"] = "other"
    assert type(streamed(products(3), file, row_type=Product)[1]) is Product


def test_rows_that_are_no_instances_are_not_made_ones(file: TemporaryBytes) -> None:
    given = {1: {"name": "a", "price": Decimal(1), "changed": NOW}}
    assert dict(streamed(given, file, row_type=Product)) == given


@pytest.mark.parametrize("previous", [4, 64, 2048])
def test_what_differs_is_what_differs_in_memory(file: TemporaryBytes, previous: int) -> None:
    old = dicts(3000)
    new = {key: row for key, row in old.items() if not key.endswith("77")} | {"k5": {}, "new": 1}
    before = partition(old, max_value_bytes=LIMIT, previous_count=previous)
    side = encoded_side(before, before.count, ())
    pairs = list(differences(side, streamed(new, file).side(before.count)))
    assert len(pairs) == len(old) - len(new) + 3
    assert sum(pair.new is None for pair in pairs) == sum(key.endswith("77") for key in old)


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("k7", "k7"),
        (1, True),
        (1.0, 1),
        (Decimal("1.0"), Decimal("1.00")),
        ((1, "a"), (Decimal(1), "a")),
        (NOW, NOW.astimezone(dt.timezone(dt.timedelta(hours=2)))),
        (frozenset({1}), frozenset({1.0})),
    ],
)
def test_keys_that_are_equal_are_found(file: TemporaryBytes, first: Any, second: Any) -> None:
    others = {key: row for key, row in dicts(2000).items() if key != first}
    with pytest.raises(EqualKeys) as found:
        streamed([(first, 1), *others.items(), (second, 2)], file)
    assert sorted(map(repr, (found.value.first, found.value.second))) == sorted(map(repr, (first, second)))


def test_keys_that_only_have_equal_hashes_are_not_equal(file: TemporaryBytes) -> None:
    rows = dict.fromkeys([-1, -2, 3, 3 + (1 << 61) - 1], 1)
    assert dict(streamed(rows, file)) == rows


def test_keys_that_have_other_hashes_when_they_are_read_are_found(
    file: TemporaryBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = iter([5, 7, 7])
    monkeypatch.setattr(row_stream, "hash", lambda key: next(others, 0), raising=False)
    with pytest.raises(EqualKeys, match="the keys 'b' and 'b' are equal"):
        streamed([("a", 1), ("b", 2), ("b", 3)], file)


def test_what_cannot_be_stored_is_refused_as_it_comes(file: TemporaryBytes) -> None:
    with pytest.raises(EncodeError, match="row 'b' at \\['x'\\]: object cannot be stored"):
        streamed({"a": 1, "b": {"x": object()}}, file)
    with pytest.raises(RecordTooBig, match="row 'b' takes"):
        streamed({"a": 1, "b": "x" * LIMIT}, file)
    with pytest.raises(EncodeError, match="not the keys"):
        streamed({"a": 1}, file, check=refuse)


def refuse(keys: Any) -> None:
    raise EncodeError("not the keys")


def test_big_rows_are_not_encoded_many_at_a_time(file: TemporaryBytes) -> None:
    stream = RowStream(file, max_value_bytes=LIMIT)
    stream.add(range(5), ["x" * 900_000] * 5)
    assert stream.at_once <= 5
    stream.add(range(5, 10), ["x"] * 5)
    assert stream.at_once > 200


# --- the file --------------------------------------------------------------------------------------------------------


def test_nobody_else_can_open_the_file_and_it_is_gone_when_closed(tmp_path: Path) -> None:
    file = TemporaryBytes(str(tmp_path), setting="TEMPORARY_DIR")
    found = streamed(dicts(3000), file)
    assert file.size > 10_000
    assert list(tmp_path.iterdir()) == []
    assert dict(found) == dicts(3000)
    found.close()
    assert open_files(tmp_path) == []
    file.close()


def test_the_file_is_gone_with_the_last_reference(tmp_path: Path) -> None:
    file = TemporaryBytes(str(tmp_path), setting="TEMPORARY_DIR")
    file.add(b"abc")
    values = TemporaryValues(file.another())
    values[b"a"] = b"abc"
    values.update({b"b": b"de"})
    assert dict(values) == {b"a": b"abc", b"b": b"de"}
    del values[b"a"]
    assert (len(values), len(open_files(tmp_path))) == (1, 2)
    del file, values
    assert open_files(tmp_path) == []


def open_files(directory: Path) -> list[str]:
    links = [os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
    return [
        target for link in links if os.path.lexists(link) and (target := os.readlink(link)).startswith(f"{directory}/")
    ]


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"TEMPORARY_DIR: .*/nowhere: No such file or directory"):
        TemporaryBytes(str(tmp_path / "nowhere"), setting="TEMPORARY_DIR").add(b"a")


def test_a_disk_that_is_full_is_told_with_what_is_free(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "1m") as disk:
        file = TemporaryBytes(str(disk.directory), setting="TEMPORARY_DIR")
        with pytest.raises(
            StoreFull, match=r"TEMPORARY_DIR: .*/small: No space left on device \([\d,]+ bytes are free"
        ):
            file.add(os.urandom(3_000_000))
        file.close()


def test_a_file_that_may_not_grow_is_told() -> None:
    file = TemporaryBytes(setting="TEMPORARY_DIR")
    limit_files()
    try:
        with pytest.raises(StoreFull, match=r"TEMPORARY_DIR: .*File too large"):
            file.add(bytes(1 << 20))
    finally:
        unlimit_files()
    file.close()


def test_nothing_is_left_by_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from django_etcdaero.system.temporary_bytes import TemporaryBytes\n"
        "file = TemporaryBytes(sys.argv[1], setting='TEMPORARY_DIR')\n"
        "file.add(bytes(1 << 20))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert list(tmp_path.iterdir()) == []
