"""What an error of SQLite means to a caller of this package."""

from __future__ import annotations

import os
import sqlite3
from typing import Final

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    ConfigurationError,
    EtcdAeroError,
    ResponseError,
    StoreBusy,
    StoreFull,
)

_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_EXTENDED: Final = {
    # The shared memory beside a log could not be made as large as it must be: the disk or a quota is full.
    sqlite3.SQLITE_IOERR_SHMSIZE: sqlite3.SQLITE_FULL,
    # To a connection that reads without room: another one is about to make that shared memory.
    sqlite3.SQLITE_READONLY_RECOVERY: sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_READONLY_CANTINIT: sqlite3.SQLITE_BUSY,
}
"""Extended result codes that mean something else than the primary code they belong to."""
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})

_MEANINGS: Final[dict[int, tuple[str, type[EtcdAeroError]]]] = {
    **dict.fromkeys(_BUSY, ("is held by another process for longer than the time allowed", StoreBusy)),
    **dict.fromkeys(_DAMAGED, ("is damaged or is not a database", ResponseError)),
    sqlite3.SQLITE_FULL: ("has no room for the write", StoreFull),
    sqlite3.SQLITE_READONLY: ("cannot be written", ConfigurationError),
    sqlite3.SQLITE_PERM: ("cannot be written", ConfigurationError),
    sqlite3.SQLITE_AUTH: ("cannot be written", ConfigurationError),
    sqlite3.SQLITE_INTERRUPT: ("the call was interrupted", Cancelled),
    # What is wrong with the path for good was found before it was opened: this is a lack of descriptors or a failing
    # disk, and may pass. For a lack of memory Python raises MemoryError.
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", ClusterError),
    sqlite3.SQLITE_IOERR: ("cannot be used", ClusterError),
}
"""By primary result code (https://www.sqlite.org/rescode.html): what is said, and the exception."""


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether trying again later may help: another connection holds a lock."""
    return _primary_code(error) in _BUSY


def is_read_only(error: sqlite3.Error) -> bool:
    """Tell whether the connection cannot write."""
    return _primary_code(error) == sqlite3.SQLITE_READONLY


def is_absence(error: sqlite3.Error) -> bool:
    """Tell whether a file, the database or one beside it, is not there and cannot be made."""
    return _primary_code(error) == sqlite3.SQLITE_CANTOPEN


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether the file is not (any more) what SQLite wrote."""
    return _primary_code(error) in _DAMAGED


def translate(error: sqlite3.Error, path: str) -> EtcdAeroError:
    """Return what a caller of this package gets for ``error``: an exception that names ``path``.

    ``path``: the file, or the name of a store in memory. Give the original as its ``__cause__``
    (``raise translate(error, path) from error``). ``ResponseError`` for what has no meaning of its own.
    """
    code = _primary_code(error)
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _no_space(path):
        code = sqlite3.SQLITE_FULL
    said, kind = _MEANINGS.get(code, ("gave an unexpected answer", ResponseError))
    message = f"{path}: {said}: {error}"
    return ClusterError(message, {path: str(error)}) if kind is ClusterError else kind(message)


def _primary_code(error: sqlite3.Error) -> int:
    """Return the primary result code that ``error`` means; -1 for an error of the Python module itself."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    code = _EXTENDED.get(code, code)
    return code & 0xFF if code >= 0 else -1


def _no_space(path: str) -> bool:
    """Tell whether the disk is full: SQLite reports that as a failed write now and then, of its log for one.

    Or that a file beside the database cannot be opened, when there is none and no room for one more.
    """
    try:
        status = os.statvfs(os.path.dirname(path) or ".")
    except OSError:
        return False
    return status.f_bavail == 0 or (status.f_files > 0 and status.f_favail == 0)
