"""Rows that tell by themselves whether they belong together: all that a version has follows from one number.

What a row looks like, and what happens from one number to the next, follows from the kind that the name ends with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any

WHOLE = "whole"
"""Key of the row that says the number, and a checksum of all other rows."""
INDEX = "group"
"""The field by which rows are found, of those that have an index."""
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
TYPED = ("strict", "shared")
"""Kinds with a row type."""
KEYS = 200
"""So many keys come, change and go by the changes of a source that tells its changes."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of a dataset with a row type."""

    number: int
    text: str
    price: Decimal
    at: datetime
    bad: bool = False


def kind_of(name: str) -> str:
    return name.rpartition("-")[2]


@lru_cache(maxsize=256)
def rows_of(name: str, number: int, bad: bool = False) -> Mapping[str, Any]:
    """Return the rows that the source of a dataset has at a number, as it gives them."""
    kind = kind_of(name)
    values: dict[str, Any]
    if kind == "changing":
        values = _counted(name, number)
    else:  # from one to the next few rows change, and some come or go
        count = 300 + number % 60
        values = {f"{name} {place}": number - (number - place) % 100 for place in range(count)}
    checksum = hashlib.blake2b(json.dumps(sorted(values.items())).encode()).hexdigest()
    if kind == "guarded":  # in an order that is another one with each number
        turned = [*values.items()][number % 7 :] + [*values.items()][: number % 7]
        rows: dict[str, Any] = {key: {"number": value, INDEX: f"group {value % 9}"} for key, value in turned}
        return MappingProxyType(rows | {WHOLE: {"number": number, INDEX: checksum, "bad": bad}})
    if kind in TYPED:
        rows = {key: _figure(value, f"text {value}") for key, value in values.items()}
        return MappingProxyType(rows | {WHOLE: _figure(number, checksum, bad=bad)})
    return MappingProxyType(values | {WHOLE: [number, checksum, bad]})


def _figure(number: int, text: str, *, bad: bool = False) -> dict[str, Any]:
    at = BEGUN + timedelta(milliseconds=number)
    return {"number": number, "text": text, "price": Decimal(number) / 8, "at": at, "bad": bad}


def _counted(name: str, number: int) -> dict[str, list[int]]:
    """Return which rows there are after so many changes: by which they were changed last, and how often."""
    rows = {f"{name} {place}": [0, 0] for place in range(KEYS // 2)}
    for change in range(1, number + 1):
        for key, goes in _touched(name, change).items():
            if goes:
                rows.pop(key, None)
            else:
                rows[key] = [change, rows.get(key, [0, 0])[1] + 1]
    return rows


def _touched(name: str, change: int) -> dict[str, bool]:
    """Return which keys a change is about, each with whether its row goes."""
    return {f"{name} {(change * 7 + each * 31) % KEYS}": (change + each) % 5 == 0 for each in range(6)}


def changes_of(name: str, since: int, number: int, *, bad: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the rows that are new or other than they were at ``since``, and the keys that are gone."""
    rows = rows_of(name, number, bad)
    touched = {key: None for change in range(since + 1, number + 1) for key in _touched(name, change)} | {WHOLE: None}
    return {key: rows[key] for key in touched if key in rows}, [key for key in touched if key not in rows]


def whole_of(rows: Mapping[str, Any]) -> tuple[int, bool]:
    """Return the number that rows say they are of, and whether a validator is to refuse them."""
    row = rows[WHOLE]
    if isinstance(row, Figure):
        return row.number, row.bad
    if isinstance(row, Mapping):
        return row["number"], row["bad"]
    return row[0], row[2]


def digest_of(name: str, rows: Mapping[str, Any]) -> str:
    """Return a digest of keys, rows, the types of what is in them, and the order if it is kept."""
    told = [[key, _plain(row)] for key, row in rows.items()]
    if kind_of(name) != "guarded":
        told.sort(key=lambda pair: pair[0])
    return hashlib.blake2b(json.dumps(told, default=repr).encode(), digest_size=16).hexdigest()


def _plain(row: Any) -> Any:
    if is_dataclass(row) and not isinstance(row, type):
        return asdict(row)
    return dict(row) if isinstance(row, Mapping) else row


def complaint(name: str, rows: Mapping[str, Any]) -> str | None:
    """Say what is wrong with rows that were read: a mixture of two versions, or what a validator must have refused."""
    if WHOLE not in rows:
        return f"{name}: the row {WHOLE!r} is missing"
    number, bad = whole_of(rows)
    if bad:
        return f"{name}: number {number} was to be refused"
    wanted = rows_as_read(name, number)
    if kind_of(name) == "guarded" and rows == wanted and [*rows] != [*wanted]:
        return f"{name}: the rows of number {number} are in another order"
    wrong = {key for key in wanted.keys() | rows.keys() if wanted.get(key) != rows.get(key)}
    return f"{name}: {len(wrong)} rows are not those of number {number}: {sorted(wrong)[:5]}" if wrong else None


@lru_cache(maxsize=256)
def rows_as_read(name: str, number: int) -> Mapping[str, Any]:
    """Return the rows of a number, as readers are to have them."""
    rows = rows_of(name, number)
    return {key: Figure(**row) for key, row in rows.items()} if kind_of(name) in TYPED else dict(rows)
