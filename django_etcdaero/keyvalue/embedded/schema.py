"""The tables of an embedded store, and how a connection is set up for them.

``history`` has one row for each change of a key. Its ``id`` is ``revision << 24 | n`` with ``n`` counting the changes
inside the revision, so that the order of rows is the order of events and the newest row tells the store's revision (a
store without rows is at revision 1, as in etcd). ``prev`` is the id of the row that this one replaced, 0 for none. A
deletion is a row with version 0.

``latest`` points to the newest row of each key, deletions included until compaction sweeps them. What most reads and
comparisons need is repeated there, so that only values are looked up in ``history``.

``lease`` holds deadlines as (boot id, seconds of the monotonic clock), ``mark`` remembers when some revisions were
made, and the single row of ``store`` says who the store is and how far it is compacted: revisions below ``compacted``
cannot be read any more, and the rows that compaction makes superfluous are gone up to the id ``swept``.
"""

from __future__ import annotations

import os
import sqlite3

from django_etcdaero.exceptions import ResponseError

REVISION_SHIFT = 24
"""Bits of a history id that count the changes inside one revision."""

LAST_CHANGE = (1 << REVISION_SHIFT) - 1
"""Largest number of a change inside one revision."""

FIRST_REVISION = 1
"""Revision of a store that never changed (etcd's rule)."""

_APPLICATION_ID = 0x65746165
_FORMAT = 1

_TABLES = """
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    prev INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE latest (
    key BLOB PRIMARY KEY,
    id INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX latest_by_lease ON latest (lease) WHERE lease != 0;
CREATE TABLE lease (
    id INTEGER PRIMARY KEY,
    ttl INTEGER NOT NULL,
    boot TEXT NOT NULL,
    deadline REAL NOT NULL
);
CREATE INDEX lease_by_deadline ON lease (deadline);
CREATE TABLE mark (
    revision INTEGER PRIMARY KEY,
    boot TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uid BLOB NOT NULL,
    compacted INTEGER NOT NULL,
    swept INTEGER NOT NULL
);
"""

_WAL_LIMIT = 4 * 1024 * 1024


def connect(path: str, *, timeout: float) -> sqlite3.Connection:
    """Open ``path`` (``":memory:"`` or a file) for use by any thread, one at a time; transactions are the caller's.

    ``timeout`` bounds the waiting for other processes until :func:`set_up_file`; after that a busy database is told at
    once, and waiting is the caller's business too.
    """
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=256)


def set_up_file(connection: sqlite3.Connection) -> None:
    """Make a connection to a file fit for several processes. The first statement that writes to the file."""
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    # A crash of a process loses nothing. A power cut may lose the last transactions, it never damages the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}").fetchall()
    connection.execute("PRAGMA busy_timeout = 0").fetchall()


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database."""
    connection.executescript(f"BEGIN;{_TABLES}")
    connection.execute("INSERT INTO store VALUES (1, ?, -1, 0)", (os.urandom(16),))
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_FORMAT}")
    connection.execute("COMMIT")


def check(connection: sqlite3.Connection, location: str) -> None:
    """Refuse a database that is something else, or of a format this code does not know, with ``ResponseError``."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        raise ResponseError(f"{location} is a database, but not a key-value store of django-etcdaero")
    if version != _FORMAT:
        raise ResponseError(f"{location} has format {version}, this release of django-etcdaero knows {_FORMAT}")
