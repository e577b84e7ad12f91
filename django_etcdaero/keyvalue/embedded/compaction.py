"""Forgetting history: by request, and by itself as the store is written.

Compacting at a revision C only moves a number: from then on revisions below C cannot be read. *Sweeping* removes the
rows that nobody can ask for any more, in bounded slices inside later write transactions. It walks the rows of
revisions below C once, in order: each makes the row that it replaced superfluous, and a deletion itself as well. The
row of a revision C or later is never touched, so watches can replay everything from C on.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from django_etcdaero.exceptions import Compacted, FutureRevision

from .schema import REVISION_SHIFT

_LARGEST_SLICE = 20_000


@dataclass(frozen=True, slots=True)
class Retention:
    """How much history a store keeps without being asked."""

    revisions: int = 10_000
    """The last so many revisions are always kept."""
    seconds: float = 300.0
    """Older revisions are kept until this age, but never more than ten times ``revisions``."""


def compact(cursor: sqlite3.Cursor, revision: int, current: int) -> None:
    """Forget the revisions before ``revision``. Raises ``Compacted`` and ``FutureRevision``."""
    compacted, _ = _progress(cursor)
    if revision <= compacted:
        raise Compacted("required revision has been compacted", compacted)
    if revision > current:
        raise FutureRevision("required revision is a future revision")
    _move(cursor, revision)


def retire(cursor: sqlite3.Cursor, keep: Retention, current: int, *, boot: str, now: float) -> None:
    """Compact what ``keep`` does not cover; remember when the present revision was made."""
    row = cursor.execute("SELECT boot, at FROM mark ORDER BY revision DESC LIMIT 1").fetchone()
    if row is None or row[0] != boot or now - row[1] >= keep.seconds / 10:
        cursor.execute("INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", (current, boot, now))
    old = "SELECT max(revision) FROM mark WHERE boot != ? OR at <= ?"
    (aged,) = cursor.execute(old, (boot, now - keep.seconds)).fetchone()
    target = max(min(current - keep.revisions, aged or 0), current - 10 * keep.revisions)
    if target > max(_progress(cursor)[0], 0):
        _move(cursor, target)


def sweep(cursor: sqlite3.Cursor, rows: int) -> bool:
    """Remove what compaction made superfluous, looking at ``rows`` rows; return whether more is to be done."""
    compacted, swept = _progress(cursor)
    end = max(compacted, 0) << REVISION_SHIFT
    if swept >= end - 1:
        return False
    slice_ = "SELECT max(id), count(*) FROM (SELECT id FROM history WHERE id > ? AND id < ? ORDER BY id LIMIT ?)"
    last, found = cursor.execute(slice_, (swept, end, min(rows, _LARGEST_SLICE))).fetchone()
    if found:
        span = (swept, last)
        cursor.execute(
            "DELETE FROM history WHERE id IN (SELECT prev FROM history WHERE id > ? AND id <= ? AND prev > 0)", span
        )
        select = "SELECT key, id FROM history WHERE id > ? AND id <= ? AND version = 0"
        gone = cursor.execute(select, span).fetchall()
        cursor.executemany("DELETE FROM latest WHERE key = ? AND id = ?", gone)
        cursor.executemany("DELETE FROM history WHERE id = ?", [(number,) for _, number in gone])
    more = bool(found >= min(rows, _LARGEST_SLICE))
    cursor.execute("UPDATE store SET swept = ?", (last if more else end - 1,))
    return more


def _progress(cursor: sqlite3.Cursor) -> tuple[int, int]:
    compacted, swept = cursor.execute("SELECT compacted, swept FROM store").fetchone()
    return compacted, swept


def _move(cursor: sqlite3.Cursor, revision: int) -> None:
    cursor.execute("UPDATE store SET compacted = ?", (revision,))
    cursor.execute("DELETE FROM mark WHERE revision < ?", (revision,))
