"""Rows in a mapped file are found like those of a dictionary, and nothing damaged is ever given for one."""

from __future__ import annotations

import enum
import random
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.utils.safestring import SafeString

from django_etcdaero.datasets.mapped.form import HEADER_BYTES, DamagedFile
from django_etcdaero.exceptions import CorruptBlock

from .making import mapped, write


class Colour(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    SEVEN = 7


class Pair(NamedTuple):
    one: Any
    other: Any


BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).replace(tzinfo=None)

KEYS: list[Any] = [
    True, 7, -1, 2**70, -(2**64), 2.5, float("inf"), 1e300, Decimal("1.10"), Decimal("3.0"), Decimal("1E+500"),
    "", "red", "x" * 300, "\ud800", "ä", b"", b"y", None, UUID(int=5), date(2026, 1, 1), timedelta(days=-3),
    time(1, tzinfo=UTC), time(1), NOON, datetime(2026, 1, 1, 12, tzinfo=BERLIN),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=3))),
    (1.0, "a"), (2, "b"), (), ((1,), True), frozenset((1.0, 2)), frozenset(),
]  # fmt: skip

LOOKED_UP: list[Any] = [
    *KEYS, 1, 1.0, Decimal(1), 0, False, Decimal("2.5"), Decimal("2.50"), Decimal("1.1"), 1.1, 3, 3.0,
    Decimal("10E+499"), 2.0**70, Decimal(2) ** 70, 7.0, Number.SEVEN, Colour.RED, SafeString("red"),
    "blue", SafeString(""),
    Decimal("Infinity"), float("-inf"), float("nan"), Decimal("nan"), 10**300, Decimal("1E+300"), bytearray,
    datetime(2026, 1, 1, 11, tzinfo=UTC), datetime(2026, 1, 1, 12, tzinfo=UTC), NOON.replace(fold=1),
    datetime(2026, 1, 1, 12, tzinfo=BERLIN, fold=1), time(2, tzinfo=timezone(timedelta(hours=1))), time(1, fold=1),
    (1, "a"), (True, "a"), Pair(1, "a"), Pair(2.0, "b"), ((True,), 1), (object(),), object(), frozenset((1, 2)),
    frozenset((True, 2.0)), -1.0, ..., date(2026, 1, 2),
]  # fmt: skip


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[Any, Any]]:
    rows = {key: index for index, key in enumerate(KEYS)}
    path = tmp_path_factory.mktemp("mapped") / "odd"
    write(path, rows)
    return mapped(path), rows


@pytest.mark.parametrize("key", LOOKED_UP)
def test_keys_are_equal_when_they_are_in_a_dictionary(key: Any, odd: tuple[Any, dict[Any, Any]]) -> None:
    found, rows = odd
    nothing = "nothing"
    assert found.get(key, nothing) == rows.get(key, nothing) or found.get(key, nothing) is nothing is rows.get(
        key, nothing
    )
    assert (key in found) == (key in rows)


@pytest.mark.parametrize("key", [[], {}, set(), ([],), (1, {})])
def test_what_cannot_be_a_key_is_refused_as_by_a_dictionary(key: Any, odd: tuple[Any, dict[Any, Any]]) -> None:
    for look_up in (odd[0].__getitem__, odd[0].get, odd[0].__contains__):
        with pytest.raises(TypeError, match="unhashable"):
            look_up(key)


def test_all_rows_are_there(odd: tuple[Any, dict[Any, Any]]) -> None:
    found, rows = odd
    assert dict(found) == dict(found.items()) == rows
    assert sorted(found.values()) == sorted(rows.values())
    assert found == rows
    assert len(found) == len(rows)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 23, 48, 500])
def test_any_number_of_rows_can_be_in_a_file(count: int, tmp_path: Path) -> None:
    rows = {number * 7: [number] for number in range(count)}
    write(tmp_path / "rows", rows)
    found = mapped(tmp_path / "rows")
    assert found == rows
    assert all(found[key] == row for key, row in rows.items())
    assert not any(key in found for key in range(7 * count) if key not in rows)
    assert -5 not in found


def test_hashes_that_collide_are_told_apart(tmp_path: Path) -> None:
    # CRC-32 is linear: what is put onto the one text without changing it does not change that of the other either.
    one, other = "plumless", "buckeroo"
    rows = {one: 1, other: 2, one[::-1]: 3}
    write(tmp_path / "rows", rows)
    assert mapped(tmp_path / "rows") == rows


# --- damage -----------------------------------------------------------------------------------------------------------


Whole = tuple[Path, dict[Any, Any]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Any, Any]]:
    rows = {f"key-{number}": {"id": number, "tags": ["a", number % 7]} for number in range(200)}
    path = tmp_path_factory.mktemp("mapped") / "rows"
    write(path, rows)
    return path, rows


@pytest.mark.parametrize("seed", range(10))
def test_bytes_that_changed_are_noticed(seed: int, whole: Whole, tmp_path: Path) -> None:
    path, rows = whole
    data, chance = path.read_bytes(), random.Random(seed)
    for _ in range(30):
        changed = bytearray(data)
        # Half of them near the beginning, where the header is.
        for _ in range(chance.choice((1, 1, 4, 40))):
            at = chance.randrange(len(data) if chance.random() < 0.5 else HEADER_BYTES)
            changed[at] ^= chance.randrange(1, 256)
        self_made = tmp_path / "changed"
        self_made.write_bytes(changed)
        check_nothing_wrong_is_given(self_made, rows)


@pytest.mark.parametrize("seed", range(4))
def test_files_that_are_cut_or_longer_are_refused(seed: int, whole: Whole, tmp_path: Path) -> None:
    data, chance = whole[0].read_bytes(), random.Random(seed)
    lengths = [0, 1, HEADER_BYTES - 1, HEADER_BYTES, len(data) - 1, *(chance.randrange(len(data)) for _ in range(20))]
    for cut in [*(data[:length] for length in lengths), data + b"\0", data * 2]:
        (tmp_path / "cut").write_bytes(cut)
        with pytest.raises(DamagedFile):
            mapped(tmp_path / "cut")


@pytest.mark.parametrize("seed", range(4))
def test_parts_of_another_version_are_refused(seed: int, whole: Whole, tmp_path: Path) -> None:
    path, rows = whole
    other = {key: {"id": row["id"] + (row["id"] == 77), "tags": row["tags"]} for key, row in rows.items()}
    write(tmp_path / "other", other, root=b"o" * 20)
    one, another, chance = path.read_bytes(), (tmp_path / "other").read_bytes(), random.Random(seed)
    assert len(one) == len(another)
    for _ in range(20):
        begin, end = sorted(chance.choices(range(len(one)), k=2))
        mixed = tmp_path / "mixed"
        mixed.write_bytes(one[:begin] + another[begin:end] + one[end:])
        check_nothing_wrong_is_given(mixed, rows, other)


def check_nothing_wrong_is_given(path: Path, *versions: dict[Any, Any]) -> None:
    try:
        found = mapped(path)
    except DamagedFile:
        return
    versions_left = list(versions)
    for key in versions[0]:
        try:
            row = found[key]
        except CorruptBlock:
            assert found.stack.damaged is not None
        else:
            versions_left = [version for version in versions_left if version[key] == row]
    assert versions_left
