"""Changing keys: how puts and deletions become revisions, rows of history and pointers to the latest row."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from django_etcdaero.exceptions import InvalidRequest, KeyNotFound, LeaseNotFound, StatusCode
from django_etcdaero.keyvalue.values import DeleteRequest, DeleteResult, KeyValue, PutRequest, PutResult

from .ranges import KEY_VALUE, bounds
from .schema import LAST_CHANGE, REVISION_SHIFT

_NEWEST = "SELECT id, create_revision, version, lease FROM latest WHERE key = ?"
_KEY_VALUE = f"SELECT {KEY_VALUE} FROM history h WHERE h.id = ?"  # noqa: S608
_RECORD = "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)"
_POINT = "INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?, ?)"
_LEASE = "SELECT 1 FROM lease WHERE id = ?"


class Revision:
    """The revision that a write transaction is making: it exists once something has changed."""

    __slots__ = ("_changes", "base", "cursor", "rows")

    def __init__(self, cursor: sqlite3.Cursor, base: int) -> None:
        self.cursor = cursor
        self.base = base
        """The store's revision before the changes."""
        self.rows = 0
        """Changes so far, those of sealed revisions included."""
        self._changes = 0

    @property
    def current(self) -> int:
        """The store's revision with the changes so far."""
        return self.base + 1 if self._changes else self.base

    def seal(self) -> None:
        """Let the next change begin a new revision."""
        self.base = self.current
        self._changes = 0

    def put(self, request: PutRequest) -> PutResult:
        """Write a key. Raises ``KeyNotFound`` and ``LeaseNotFound``."""
        cursor, key, value, lease = self.cursor, request.key, request.value, request.lease
        before: KeyValue | None = None
        row = cursor.execute(_NEWEST, (key,)).fetchone()
        prev, create, version, old_lease = row or (0, 0, 0, 0)
        if lease and not cursor.execute(_LEASE, (lease,)).fetchone():
            raise LeaseNotFound("requested lease not found")
        if not version and (request.ignore_value or request.ignore_lease):
            raise _no_key()
        if version and (request.prev_kv or request.ignore_value):
            before = KeyValue._make(cursor.execute(_KEY_VALUE, (prev,)).fetchone())
            if request.ignore_value:
                value = before.value
        if request.ignore_lease:
            lease = old_lease
        number = self._next()
        create = create if version else number >> REVISION_SHIFT
        version += 1
        cursor.execute(_RECORD, (number, prev, create, version, lease, key, value))
        cursor.execute(_POINT, (key, number, create, version, lease))
        return PutResult(before if request.prev_kv else None, self.base + 1)

    def check_put(self, request: PutRequest) -> None:
        """Refuse a put of a transaction that cannot be done: ``KeyNotFound``, ``LeaseNotFound``.

        In this order, which :meth:`put` has the other way round, as etcd has for a put by itself.
        """
        if request.ignore_value or request.ignore_lease:
            row = self.cursor.execute(_NEWEST, (request.key,)).fetchone()
            if row is None or not row[2]:
                raise _no_key()
        if request.lease and not self.cursor.execute(_LEASE, (request.lease,)).fetchone():
            raise LeaseNotFound("requested lease not found")

    def delete_range(self, request: DeleteRequest) -> DeleteResult:
        """Delete the keys of a range, in key order."""
        where, values = bounds(request.key, request.range_end)
        select = f"SELECT l.key, l.id FROM latest l WHERE {where} AND l.version > 0 ORDER BY l.key"  # noqa: S608
        doomed = self.cursor.execute(select, values).fetchall()
        before: tuple[KeyValue, ...] = ()
        if request.prev_kv:
            before = tuple(KeyValue._make(self.cursor.execute(_KEY_VALUE, (prev,)).fetchone()) for _, prev in doomed)
        self._delete(doomed)
        return DeleteResult(len(doomed), before, self.current)

    def delete_leased(self, lease: int) -> None:
        """Delete the keys that hang on a lease, in key order."""
        select = "SELECT key, id FROM latest WHERE lease = ? AND lease != 0 ORDER BY key"
        self._delete(self.cursor.execute(select, (lease,)).fetchall())

    def _delete(self, doomed: Sequence[tuple[bytes, int]]) -> None:
        if not doomed:
            return
        numbered = [(self._next(), key, prev) for key, prev in doomed]
        self.cursor.executemany(_RECORD, [(number, prev, 0, 0, 0, key, b"") for number, key, prev in numbered])
        self.cursor.executemany(_POINT, [(key, number, 0, 0, 0) for number, key, _ in numbered])

    def _next(self) -> int:
        if self._changes > LAST_CHANGE:
            raise InvalidRequest(f"one revision cannot hold more than {LAST_CHANGE + 1} changes")
        number = (self.base + 1) << REVISION_SHIFT | self._changes
        self._changes += 1
        self.rows += 1
        return number


def _no_key() -> KeyNotFound:
    return KeyNotFound("key not found").with_code(StatusCode.INVALID_ARGUMENT)  # what etcd says, of all things
