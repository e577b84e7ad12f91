"""Reading history as watch events, whole revisions at a time."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from django_etcdaero.keyvalue.values import Event, EventType, KeyValue

from .ranges import KEY_VALUE, bounds, read_head
from .schema import LAST_CHANGE, REVISION_SHIFT

_ROWS_AT_ONCE = 500
"""So many changes are read in one go, plus what is left of the last revision."""

_PREVIOUS = KEY_VALUE.replace("h.", "p.")

# What a key was before the revision of the change: a transaction may have put it just before it deleted it.
_BEFORE = """
LEFT JOIN history p ON p.version > 0 AND p.id =
    CASE WHEN h.prev >> 24 = h.id >> 24 THEN (SELECT b.prev FROM history b WHERE b.id = h.prev) ELSE h.prev END
"""


class Change(NamedTuple):
    """One event in the two forms that watchers ask for."""

    event: Event
    with_previous: Event


class Slice(NamedTuple):
    """A piece of history together with where the store stood when it was read."""

    uid: bytes
    """Who the store is: another one after it was replaced."""
    head: int
    """The store's revision."""
    due: float | None
    """When the first lease ends, in seconds of the clock."""
    compacted: int
    """Revisions below cannot be read any more."""
    upto: int
    """``changes`` holds all that the slice was asked for up to this revision."""
    changes: tuple[Change, ...]


def read_slice(cursor: sqlite3.Cursor, after: int | None, key: bytes, range_end: bytes, *, previous: bool) -> Slice:
    """Read the next changes of a range after the revision ``after`` (``None``: only look where the store stands).

    ``previous`` says whether anybody wants the values that were replaced. Nothing is read when a revision after
    ``after`` has been compacted: the caller looks at ``compacted`` first.
    """
    cursor.execute("BEGIN")
    head, due = read_head(cursor)
    uid, compacted = cursor.execute("SELECT uid, compacted FROM store").fetchone()
    changes: tuple[Change, ...] = ()
    upto = head
    if after is not None and compacted <= after + 1 <= head:
        first = (after << REVISION_SHIFT) | LAST_CHANGE
        select = "SELECT count(*), max(id) FROM (SELECT id FROM history WHERE id > ? ORDER BY id LIMIT ?)"
        found, last = cursor.execute(select, (first, _ROWS_AT_ONCE)).fetchone()
        if found == _ROWS_AT_ONCE:
            upto = last >> REVISION_SHIFT
        changes = _read(cursor, first, upto, key, range_end, compacted, previous=previous)
    cursor.execute("COMMIT")
    return Slice(uid, head, due, compacted, upto, changes)


def _read(
    cursor: sqlite3.Cursor, first: int, upto: int, key: bytes, range_end: bytes, compacted: int, *, previous: bool
) -> tuple[Change, ...]:
    where, values = bounds(key, range_end)
    where = where.replace("l.key", "+h.key")  # the unary plus: walk by id, there is no index on the key
    columns, join = KEY_VALUE, ""
    if previous:
        columns, join = f"{KEY_VALUE}, {_PREVIOUS}", _BEFORE
    rows = cursor.execute(
        f"SELECT {columns} FROM history h {join} WHERE h.id > :first AND h.id <= :last AND {where} ORDER BY h.id",  # noqa: S608
        values | {"first": first, "last": (upto << REVISION_SHIFT) | LAST_CHANGE},
    ).fetchall()
    return tuple(_change(row, compacted) for row in rows)


def _change(row: tuple[bytes | int | None, ...], compacted: int) -> Change:
    kv = KeyValue._make(row[:6])
    event = Event(EventType.PUT if kv.version else EventType.DELETE, kv)
    # etcd reads the previous value as of the revision before, which a compaction at this very revision took away.
    if len(row) > 6 and row[6] is not None and kv.mod_revision > compacted:
        return Change(event, event._replace(prev_kv=KeyValue._make(row[6:])))
    return Change(event, event)
