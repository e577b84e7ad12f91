"""The tables of an embedded store.

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

from django_etcdaero.system.sqlite.opening import Schema

REVISION_SHIFT = 24
"""Bits of a history id that count the changes inside one revision."""

LAST_CHANGE = (1 << REVISION_SHIFT) - 1
"""Largest number of a change inside one revision."""

FIRST_REVISION = 1
"""Revision of a store that never changed (etcd's rule)."""

SCHEMA = Schema(
    application_id=0x65746165,
    version=1,
    content="a key-value store",
    wal_bytes=4 * 1024 * 1024,
    statements=(
        """\
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    prev INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL
)""",
        """\
CREATE TABLE latest (
    key BLOB PRIMARY KEY,
    id INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL
) WITHOUT ROWID""",
        "CREATE INDEX latest_by_lease ON latest (lease) WHERE lease != 0",
        """\
CREATE TABLE lease (
    id INTEGER PRIMARY KEY,
    ttl INTEGER NOT NULL,
    boot TEXT NOT NULL,
    deadline REAL NOT NULL
)""",
        "CREATE INDEX lease_by_deadline ON lease (deadline)",
        """\
CREATE TABLE mark (
    revision INTEGER PRIMARY KEY,
    boot TEXT NOT NULL,
    at REAL NOT NULL
)""",
        """\
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uid BLOB NOT NULL,
    compacted INTEGER NOT NULL,
    swept INTEGER NOT NULL
)""",
        "INSERT INTO store VALUES (1, randomblob(16), -1, 0)",
    ),
)
