"""Keys that could not be looked up, or told apart, when they are read, are refused when they are published."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import TZPATH, ZoneInfo

import pytest

from django_etcdaero.datasets.blocks.partition import decode_block, partition
from django_etcdaero.exceptions import EncodeError

BERLIN = ZoneInfo("Europe/Berlin")
TWICE = datetime(2024, 10, 27, 2, 30)  # noqa: DTZ001 - the clocks were set back
BEFORE = TWICE.replace(tzinfo=BERLIN)
AFTER = TWICE.replace(tzinfo=ZoneInfo.no_cache("Europe/Berlin"), fold=1)


def read(rows: dict[Any, Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for block in partition(rows, max_value_bytes=2**20):
        decoded = decode_block(block.digest, block.stored())
        found.update(zip(decoded.keys, decoded.rows, strict=True))
    return found


@pytest.mark.parametrize("key", [math.nan, Decimal("NaN"), (1, (math.nan,))])
def test_a_key_with_nan_is_refused(key: Any) -> None:
    with pytest.raises(EncodeError, match="NaN"):
        read({1.5: 1, key: 2})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BEFORE, AFTER),
        (BEFORE, AFTER.replace(fold=0)),  # of one encoding, too
        (("a", BEFORE), ("a", AFTER)),
        (frozenset({(BEFORE, 1)}), frozenset({(AFTER, 1)})),
    ],
    ids=["fold", "objects of one zone", "in a tuple", "in a frozenset"],
)
def test_keys_that_would_be_equal_when_read_are_refused_by_name(one: Any, other: Any) -> None:
    rows = {one: 1, **dict.fromkeys(range(300), 0), other: 2}  # not in one part of the keys
    assert len(rows) == 302
    with pytest.raises(EncodeError) as caught:
        read(rows)
    assert str(caught.value).startswith(f"rows {one!r} and {other!r}: these keys are different now")


@pytest.mark.parametrize(
    "row",
    [
        {"open": {BEFORE: 1, AFTER: 2}},
        [{BEFORE, AFTER}],
        (frozenset({(BEFORE,), (AFTER,)}),),
        {(1, BEFORE), (1, AFTER)},
    ],
    ids=["dict", "set", "frozenset", "tuples"],
)
def test_keys_in_a_row_that_would_be_equal_when_read_are_refused(row: Any) -> None:
    with pytest.raises(EncodeError, match=r"^row 'shop': keys or elements of sets in it are different now"):
        read({"fair": BEFORE, "shop": row})
    assert read({"fair": {AFTER: BEFORE}, "shop": [BEFORE, AFTER]}) == {
        "fair": {AFTER.replace(tzinfo=BERLIN): BEFORE},
        "shop": [BEFORE, AFTER.replace(tzinfo=BERLIN)],
    }


def test_a_zone_from_a_file_is_that_of_its_name_when_read() -> None:
    data = next(path for each in TZPATH if (path := Path(each, "Asia/Tokyo")).exists()).read_bytes()
    own = datetime(2024, 1, 1, 12, tzinfo=ZoneInfo.from_file(BytesIO(data), key="Europe/Berlin"))
    with pytest.raises(EncodeError, match="will be equal"):
        read({own: 1, datetime(2024, 1, 1, 11, tzinfo=UTC): 2})


def test_keys_with_zones_that_stay_different_are_stored() -> None:
    plus = timezone(timedelta(hours=1))
    rows: dict[Any, int] = {
        BEFORE: 1, TWICE: 2, TWICE.replace(tzinfo=UTC): 3, TWICE.replace(tzinfo=plus): 4, (BEFORE, "a"): 5,
        BEFORE.time(): 6, BEFORE.time().replace(tzinfo=plus): 7, AFTER.astimezone(UTC): 8,
    }  # fmt: skip
    assert read(rows) == rows


def test_equal_keys_of_different_types_are_one_key_before_and_after() -> None:
    assert read({1: "int"}) == {True: "int"} == {1.0: "int"} == {Decimal(1): "int"}
