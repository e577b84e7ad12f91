"""Whether the conditions of a transaction hold (etcd's ``applyCompare``)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from operator import eq, gt, lt, ne
from typing import Any

from django_etcdaero.keyvalue.values import Compare, CompareOp, CompareTarget

from .ranges import bounds

_OPERATORS: dict[CompareOp, Callable[[Any, Any], bool]] = {
    CompareOp.EQUAL: eq,
    CompareOp.GREATER: gt,
    CompareOp.LESS: lt,
    CompareOp.NOT_EQUAL: ne,
}

_COLUMNS = {
    CompareTarget.VERSION: "l.version",
    CompareTarget.CREATE: "l.create_revision",
    CompareTarget.MOD: "l.id >> 24",
    CompareTarget.VALUE: "(SELECT h.value FROM history h WHERE h.id = l.id)",
    CompareTarget.LEASE: "l.lease",
}


def all_hold(cursor: sqlite3.Cursor, compares: Iterable[Compare]) -> bool:
    """Tell whether every comparison holds for the store as ``cursor`` sees it."""
    return all(_holds(cursor, compare) for compare in compares)


def _holds(cursor: sqlite3.Cursor, compare: Compare) -> bool:
    where, values = bounds(compare.key, compare.range_end)
    column = _COLUMNS[compare.target]
    rows = cursor.execute(f"SELECT {column} FROM latest l WHERE {where} AND l.version > 0", values).fetchall()  # noqa: S608
    if not rows:
        # A missing key has no value to compare, and everything else of it is 0.
        if compare.target == CompareTarget.VALUE:
            return False
        rows = [(0,)]
    operator = _OPERATORS[compare.op]
    return all(operator(stored, compare.operand) for (stored,) in rows)
