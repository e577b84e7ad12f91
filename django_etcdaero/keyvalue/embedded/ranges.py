"""Reading keys, now or as of an earlier revision."""

from __future__ import annotations

import functools
import sqlite3
from typing import NamedTuple

from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.values import KeyValue, RangeRequest, RangeResult, SortOrder, SortTarget, new_kv

from .schema import FIRST_REVISION, LAST_CHANGE, REVISION_SHIFT

_HEAD = "SELECT (SELECT max(id) FROM history), (SELECT min(deadline) FROM lease)"

_POINT = """
SELECT (SELECT max(id) FROM history), (SELECT min(deadline) FROM lease),
       h.value, h.create_revision, h.id >> 24, h.version, h.lease
FROM (SELECT 1) LEFT JOIN history h ON h.id = (SELECT id FROM latest WHERE key = ?)
"""

KEY_VALUE = "h.key, h.value, h.create_revision, h.id >> 24, h.version, h.lease"

_NEWEST = f"SELECT {KEY_VALUE} FROM latest l JOIN history h ON h.id = l.id WHERE l.key = ? AND l.version > 0"  # noqa: S608

# The versions of each key that were the newest at some time since a revision, walked from now backwards.
_WALK = """
WITH RECURSIVE walk(id) AS (
    SELECT l.id FROM latest l WHERE {where}
    UNION ALL
    SELECT h.prev FROM walk w JOIN history h ON h.id = w.id WHERE w.id > :last AND h.prev > 0
)
"""

_SORT_COLUMNS = {
    SortTarget.KEY: "h.key",
    SortTarget.VERSION: "h.version",
    SortTarget.CREATE: "h.create_revision",
    SortTarget.MOD: "h.id",
    SortTarget.VALUE: "h.value",
}

_BOUNDS = (
    "(:min_mod = 0 OR h.id >> 24 >= :min_mod) AND (:max_mod = 0 OR h.id >> 24 <= :max_mod) AND "
    "(:min_create = 0 OR h.create_revision >= :min_create) AND (:max_create = 0 OR h.create_revision <= :max_create)"
)


_MAX_LIMIT = 1 << 62
"""A limit that nothing reaches, and that one more still fits SQLite's integers."""


class Head(NamedTuple):
    """Where a store stands."""

    revision: int
    due: float | None
    """When the first lease ends, in seconds of the clock; ``None`` without leases."""


def read_head(cursor: sqlite3.Cursor) -> Head:
    """Return the revision and the first deadline of the store."""
    newest, due = cursor.execute(_HEAD).fetchone()
    return Head(newest >> REVISION_SHIFT if newest else FIRST_REVISION, due)


def bounds(key: bytes, range_end: bytes) -> tuple[str, dict[str, bytes]]:
    """Return the SQL condition on ``l.key`` for etcd's idea of a range, and its parameters."""
    if not range_end:
        return "l.key = :key", {"key": key}
    if range_end == b"\0":
        return "l.key >= :key", {"key": key}
    return "l.key >= :key AND l.key < :range_end", {"key": key, "range_end": range_end}


def is_point(request: RangeRequest) -> bool:
    """Tell whether ``request`` is for the present state of a single key, which :func:`read_point` does fastest."""
    return not request.range_end and request.revision <= 0


def read_point(cursor: sqlite3.Cursor, request: RangeRequest) -> tuple[RangeResult, float | None]:
    """Answer a request for a single key in one statement; return the first deadline with it."""
    key = request.key
    newest, due, value, create, mod, version, lease = cursor.execute(_POINT, (key,)).fetchall()[0]
    revision = newest >> REVISION_SHIFT if newest else FIRST_REVISION
    if not version:
        return RangeResult((), False, 0, revision), due
    if request.count_only or not _within(request, mod, create):
        return RangeResult((), False, 1, revision), due
    if request.keys_only:
        value = b""
    return RangeResult((KeyValue(key, value, create, mod, version, lease),), False, 1, revision), due


def read_newest(cursor: sqlite3.Cursor, key: bytes) -> KeyValue | None:
    """Return the present state of a single key, and nothing else. A lease that it hangs on may be due."""
    row = cursor.execute(_NEWEST, (key,)).fetchone()
    return None if row is None else new_kv(KeyValue, row)


def read_range(cursor: sqlite3.Cursor, request: RangeRequest, *, base: int, current: int) -> RangeResult:
    """Answer a request inside a transaction.

    ``base`` is the revision at its start, the newest that may be asked for by number; ``current`` is the revision that
    its own changes have made.
    """
    where, values = bounds(request.key, request.range_end)
    past = request.revision > 0
    parameters: dict[str, bytes | int] = {**values}
    if past:
        check_revision(cursor, request.revision, base)
        parameters["last"] = (request.revision << REVISION_SHIFT) | LAST_CHANGE
    filtered = any(
        (request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision)
    )
    if request.count_only:
        return RangeResult((), False, _count(cursor, where, parameters, past=past), current)
    sql = _select(where, past, filtered, SortOrder(request.sort_order), SortTarget(request.sort_target))
    limit = max(0, min(request.limit, _MAX_LIMIT))
    wanted = parameters | {"limit": limit + 1 if limit else -1}
    if filtered:
        wanted |= {
            "min_mod": request.min_mod_revision,
            "max_mod": request.max_mod_revision,
            "min_create": request.min_create_revision,
            "max_create": request.max_create_revision,
        }
    kvs = [KeyValue._make(row) for row in cursor.execute(sql, wanted).fetchall()]
    more = bool(limit) and len(kvs) > limit
    count = _count(cursor, where, parameters, past=past) if more or filtered else len(kvs)
    if more:
        del kvs[limit:]
    if request.keys_only:
        kvs = [kv._replace(value=b"") for kv in kvs]
    return RangeResult(tuple(kvs), more, count, current)


def _within(request: RangeRequest, mod: int, create: int) -> bool:
    return not (
        (request.min_mod_revision and mod < request.min_mod_revision)
        or (request.max_mod_revision and mod > request.max_mod_revision)
        or (request.min_create_revision and create < request.min_create_revision)
        or (request.max_create_revision and create > request.max_create_revision)
    )


def check_revision(cursor: sqlite3.Cursor, revision: int, current: int) -> None:
    """Refuse a revision that does not exist yet or any more: ``FutureRevision``, ``Compacted``."""
    if revision > current:
        raise FutureRevision("required revision is a future revision")
    (compacted,) = cursor.execute("SELECT compacted FROM store").fetchone()
    if revision < compacted:
        raise Compacted("required revision has been compacted", compacted)


def _count(cursor: sqlite3.Cursor, where: str, parameters: dict[str, bytes | int], *, past: bool) -> int:
    (count,) = cursor.execute(_count_statement(where, past), parameters).fetchone()
    return int(count)


@functools.cache
def _count_statement(where: str, past: bool) -> str:
    if past:
        walk = _WALK.format(where=where)
        return f"{walk} SELECT count(*) FROM walk w JOIN history h USING (id) WHERE h.id <= :last AND h.version > 0"  # noqa: S608
    return f"SELECT count(*) FROM latest l WHERE {where} AND l.version > 0"  # noqa: S608


@functools.cache
def _select(where: str, past: bool, filtered: bool, order: SortOrder, target: SortTarget) -> str:
    direction = "DESC" if order == SortOrder.DESCEND else "ASC"
    if past:
        source = "walk w JOIN history h USING (id) WHERE h.id <= :last AND h.version > 0"
    else:
        source = f"latest l JOIN history h ON h.id = l.id WHERE {where} AND l.version > 0"
    column = "l.key" if target == SortTarget.KEY and not past else _SORT_COLUMNS[target]
    return (
        f"{_WALK.format(where=where) if past else ''} SELECT {KEY_VALUE} FROM {source} "  # noqa: S608
        f"{'AND ' + _BOUNDS if filtered else ''} ORDER BY {column} {direction} LIMIT :limit"
    )
