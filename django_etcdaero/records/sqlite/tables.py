"""The tables of a record store in SQLite and the statements on them.

What is known of a record and its value are in two tables: reading or touching the first never reads or writes the
second, which may be a megabyte per record. Expiry is kept as wall-clock milliseconds since the epoch, because it must
mean the same to several processes and after a reboot; a step of the system clock moves all expiries with it.

All functions work inside the transaction of their caller. ``now`` and ``expires`` are such milliseconds; ``expires``
``None`` is never.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any

from django_etcdaero.records.arguments import MAX_KEY_BYTES
from django_etcdaero.records.store import Value, batches
from django_etcdaero.system.sqlite.opening import Schema

SCHEMA = Schema(
    application_id=0x65746172,
    version=1,
    content="a record store",
    statements=(
        """
        CREATE TABLE records
        (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, generation INTEGER NOT NULL, expires INTEGER)
        """,
        "CREATE TABLE payloads (id INTEGER PRIMARY KEY, value BLOB NOT NULL)",
        "CREATE INDEX records_expires ON records (expires) WHERE expires IS NOT NULL",
    ),
)

PARAMETER_COUNTS = (1, 8, 32, 128, 512)
"""Sizes of an ``IN (…)`` list. Few of them, so that the statements stay prepared; below SQLite's old limit of 999."""

SELECT_KEYS = PARAMETER_COUNTS[-1]
"""Most keys that one :func:`select` takes."""

Row = tuple[Any, ...]

_AFTER_EVERY_KEY = b"\xff" * (MAX_KEY_BYTES + 1)


def select_one(connection: sqlite3.Connection, key: bytes, now: int) -> Row | None:
    """Return value, generation and expiry of a live record."""
    row: Row | None = connection.execute(
        "SELECT value, generation, expires FROM records JOIN payloads USING (id)"
        " WHERE key = ? AND (expires IS NULL OR expires > ?)",
        (key, now),
    ).fetchone()
    return row


def select(connection: sqlite3.Connection, columns: str, keys: Collection[bytes], now: int) -> list[Row]:
    """Return ``columns`` of the live records among ``keys`` (at most ``SELECT_KEYS``), in no order."""
    size = next(count for count in PARAMETER_COUNTS if count >= len(keys))
    # Only constants of this package get into the text of the statement.
    statement = (
        f"SELECT {columns} FROM records {'JOIN payloads USING (id)' if 'value' in columns else ''}"  # noqa: S608
        f" WHERE key IN ({','.join('?' * size)}) AND (expires IS NULL OR expires > ?)"
    )
    padding = (None,) * (size - len(keys))
    return connection.execute(statement, (*keys, *padding, now)).fetchall()


def select_page(connection: sqlite3.Connection, first: bytes, prefix: bytes, limit: int, now: int) -> list[Row]:
    """Return key, generation and expiry of live records from the key ``first`` on, in key order."""
    return connection.execute(
        "SELECT key, generation, expires FROM records WHERE key >= ? AND key < ? AND (expires IS NULL OR expires > ?)"
        " ORDER BY key LIMIT ?",
        (first, _end_of(prefix), now, limit),
    ).fetchall()


def count(connection: sqlite3.Connection, prefix: bytes, now: int) -> tuple[int, int, int]:
    """Return how many live records have keys that begin with ``prefix``, how many there are in all, and their bytes.

    The bytes are those of the pages of the file that are in use.
    """

    def one(statement: str, parameters: Row = ()) -> int:
        number: int = connection.execute(statement, parameters).fetchone()[0]
        return number

    matching = one(
        "SELECT count(*) FROM records WHERE key >= ? AND key < ? AND (expires IS NULL OR expires > ?)",
        (prefix, _end_of(prefix), now),
    )
    pages = one("PRAGMA page_count") - one("PRAGMA freelist_count")
    return matching, one("SELECT count(*) FROM records"), pages * one("PRAGMA page_size")


def _end_of(prefix: bytes) -> bytes:
    """Return the first key after all that begin with ``prefix``."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else _AFTER_EVERY_KEY


def write(connection: sqlite3.Connection, items: Mapping[bytes, Value], expires: int | None, now: int) -> None:
    """Create or overwrite records; one that has expired starts anew with generation 1."""
    connection.executemany(
        "INSERT INTO records (key, generation, expires) VALUES (?, 1, ?) ON CONFLICT (key) DO UPDATE SET"
        " generation = CASE WHEN expires <= ? THEN 1 ELSE generation + 1 END, expires = excluded.expires",
        ((key, expires, now) for key in items),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO payloads (id, value) VALUES ((SELECT id FROM records WHERE key = ?), ?)", items.items()
    )


def touch(
    connection: sqlite3.Connection, items: Mapping[bytes, int | None], expires: int | None, now: int
) -> set[bytes]:
    """Give the live records among ``items`` whose generation is the one given (or ``None``) a new expiry."""
    touched: dict[bytes, int] = {}
    for keys in batches(items, SELECT_KEYS):
        rows = select(connection, "key, id, generation", keys, now)
        touched |= {key: record for key, record, generation in rows if items[key] in (None, generation)}
    connection.executemany(
        "UPDATE records SET generation = generation + 1, expires = ? WHERE id = ?",
        ((expires, record) for record in touched.values()),
    )
    return set(touched)


def delete(connection: sqlite3.Connection, keys: Collection[bytes], now: int) -> int:
    """Delete records; return how many of them were live."""
    found: list[tuple[int]] = []
    for part in batches(keys, SELECT_KEYS):
        found += select(connection, "id", part, now)
    _remove(connection, found)
    return len(found)


def set_value(connection: sqlite3.Connection, record: int, value: int) -> None:
    """Replace the value of the record with id ``record`` and leave its expiry."""
    connection.execute("UPDATE payloads SET value = ? WHERE id = ?", (value, record))
    connection.execute("UPDATE records SET generation = generation + 1 WHERE id = ?", (record,))


def purge(connection: sqlite3.Connection, limit: int, now: int) -> None:
    """Remove at most ``limit`` records that have expired, the oldest first."""
    _remove(
        connection,
        connection.execute(
            "SELECT id FROM records WHERE expires <= ? ORDER BY expires LIMIT ?", (now, limit)
        ).fetchall(),
    )


def truncate(connection: sqlite3.Connection) -> None:
    """Remove everything."""
    connection.execute("DELETE FROM records")
    connection.execute("DELETE FROM payloads")


def _remove(connection: sqlite3.Connection, ids: list[tuple[int]]) -> None:
    connection.executemany("DELETE FROM records WHERE id = ?", ids)
    connection.executemany("DELETE FROM payloads WHERE id = ?", ids)
