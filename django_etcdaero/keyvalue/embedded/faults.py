"""What an error of SQLite means to a caller of the engine."""

from __future__ import annotations

import os
import sqlite3

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    EtcdAeroError,
    PermissionDenied,
    ResponseError,
    StoreBusy,
    StoreFull,
)

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_UNREACHABLE = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code of ``error``, 0 when it did not come from SQLite itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether trying again later may help: another connection is in the way."""
    return primary_code(error) in _BUSY


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether the file is not (any more) what SQLite wrote."""
    return primary_code(error) in _DAMAGED


def translate(error: sqlite3.Error, location: str) -> EtcdAeroError:
    """Return the error of this package that says what ``error`` means for the store at ``location``."""
    code = primary_code(error)
    if code in _BUSY:
        return StoreBusy(f"{location} is held by another process: {error}")
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_space(location)):
        return StoreFull(f"{location} has no room for the write: {error}")
    if code in _DAMAGED:
        return ResponseError(f"{location} is damaged or is not a database: {error}")
    if code in _FORBIDDEN:
        return PermissionDenied(f"{location} cannot be written: {error}")
    if code == sqlite3.SQLITE_INTERRUPT:
        return Cancelled(f"{location}: {error}")
    if code in _UNREACHABLE:
        return ClusterError(f"{location} cannot be used: {error}", {location: str(error)})
    return ResponseError(f"{location} gave an unexpected answer: {error}")


def _no_space(location: str) -> bool:
    try:
        return os.statvfs(os.path.dirname(location) or ".").f_bavail == 0
    except OSError:
        return False
