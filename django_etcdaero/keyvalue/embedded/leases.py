"""Leases: granted, renewed, expired. A deadline is a boot id and a time of the monotonic clock.

After a restart of the host no process can say how long it was down, so every lease begins anew with its full time to
live, as etcd's leases do when a new leader takes over.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence

from django_etcdaero.exceptions import InvalidRequest, LeaseExists, LeaseNotFound
from django_etcdaero.keyvalue.values import LeaseStatus

from .writing import Revision

MIN_TTL = 2
"""Seconds; a shorter time to live is raised to this (etcd's minimum with its default election timeout)."""

MAX_TTL = 9_000_000_000
"""Seconds; etcd refuses more."""

_EXPIRED_AT_ONCE = 500
"""So many leases at most end in one transaction; the rest ends in the following ones."""


def restart_after_boot(cursor: sqlite3.Cursor, boot: str, now: float) -> None:
    """Give every lease of an earlier boot its full time to live. Called outside of a transaction."""
    if cursor.execute("SELECT 1 FROM lease WHERE boot != ? LIMIT 1", (boot,)).fetchall():
        cursor.execute("UPDATE lease SET boot = ?, deadline = ? + ttl WHERE boot != ?", (boot, now, boot))


def expire(revision: Revision, now: float) -> None:
    """End the leases that are due, each with all its keys in one revision."""
    select = "SELECT id FROM lease WHERE deadline <= ? ORDER BY deadline, id LIMIT ?"
    for (lease,) in revision.cursor.execute(select, (now, _EXPIRED_AT_ONCE)).fetchall():
        _end(revision, lease)


def grant(cursor: sqlite3.Cursor, ttl: int, lease_id: int, *, boot: str, now: float) -> LeaseStatus:
    """Make a lease; ``lease_id`` 0 chooses one at random. Raises ``InvalidRequest`` and ``LeaseExists``."""
    if ttl > MAX_TTL:
        raise InvalidRequest("too large lease TTL")
    ttl = max(ttl, MIN_TTL)
    chosen = lease_id or secrets.randbits(62) + 1
    if cursor.execute("SELECT 1 FROM lease WHERE id = ?", (chosen,)).fetchone():
        raise LeaseExists("lease already exists")
    cursor.execute("INSERT INTO lease VALUES (?, ?, ?, ?)", (chosen, ttl, boot, now + ttl))
    return LeaseStatus(chosen, ttl, ttl, ())


def revoke(revision: Revision, lease: int) -> None:
    """End a lease. Raises ``LeaseNotFound``."""
    _require(revision.cursor, lease)
    _end(revision, lease)


def keep_alive(cursor: sqlite3.Cursor, lease: int, *, boot: str, now: float) -> int:
    """Renew a lease and return its time to live in seconds. Raises ``LeaseNotFound``."""
    ttl = _require(cursor, lease)
    cursor.execute("UPDATE lease SET boot = ?, deadline = ? WHERE id = ?", (boot, now + ttl, lease))
    return ttl


def keep_alive_many(cursor: sqlite3.Cursor, leases: Sequence[int], *, boot: str, now: float) -> list[int]:
    """Renew leases and return the time to live of each, 0 for one that there is not."""
    ttls = []
    for lease in leases:
        try:
            ttls.append(keep_alive(cursor, lease, boot=boot, now=now))
        except LeaseNotFound:
            ttls.append(0)
    return ttls


def time_to_live(cursor: sqlite3.Cursor, lease: int, *, keys: bool, now: float) -> LeaseStatus:
    """Tell what is left of a lease."""
    row = cursor.execute("SELECT ttl, deadline FROM lease WHERE id = ?", (lease,)).fetchone()
    if row is None:
        return LeaseStatus(lease, -1, 0, ())
    held: tuple[bytes, ...] = ()
    if keys:
        select = "SELECT key FROM latest WHERE lease = ? AND lease != 0 ORDER BY key"
        held = tuple(key for (key,) in cursor.execute(select, (lease,)).fetchall())
    ttl, deadline = row
    return LeaseStatus(lease, max(0, int(deadline - now)), ttl, held)


def ids(cursor: sqlite3.Cursor) -> tuple[int, ...]:
    """Return the ids of all leases."""
    return tuple(lease for (lease,) in cursor.execute("SELECT id FROM lease ORDER BY id").fetchall())


def _require(cursor: sqlite3.Cursor, lease: int) -> int:
    row = cursor.execute("SELECT ttl FROM lease WHERE id = ?", (lease,)).fetchone()
    if row is None:
        raise LeaseNotFound("requested lease not found")
    return int(row[0])


def _end(revision: Revision, lease: int) -> None:
    revision.cursor.execute("DELETE FROM lease WHERE id = ?", (lease,))
    revision.delete_leased(lease)
    revision.seal()
