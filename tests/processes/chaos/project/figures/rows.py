"""Rows that tell by themselves whether they belong together: all that a version has follows from one number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

WHOLE = "whole"
"""Key of the row that says the number, and a checksum of all other rows."""


def rows_of(name: str, number: int, *, bad: bool = False) -> dict[str, Any]:
    """Return the rows that the source of a dataset has at a number. From one to the next few rows change."""
    rows: dict[str, Any] = {
        f"{name} {position}": number - (number - position) % 100 for position in range(300 + number % 60)
    }
    rows[WHOLE] = [number, hashlib.blake2b(json.dumps(sorted(rows.items())).encode()).hexdigest(), bad]
    return rows


def number_of(rows: Mapping[str, Any]) -> int:
    number: int = rows[WHOLE][0]
    return number


def complaint(name: str, rows: Mapping[str, Any]) -> str | None:
    """Say what is wrong with rows that were read: a mixture of two versions, or what a validator must have refused."""
    if WHOLE not in rows:
        return f"{name}: the row {WHOLE!r} is missing"
    number, _, bad = rows[WHOLE]
    if bad:
        return f"{name}: number {number} was to be refused"
    wanted = rows_of(name, number)
    wrong = {key for key in wanted.keys() | rows.keys() if wanted.get(key) != rows.get(key)}
    return f"{name}: {len(wrong)} rows are not those of number {number}: {sorted(wrong)[:5]}" if wrong else None
