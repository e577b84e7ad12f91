"""The file of a store: how it comes into being, and what its path stands for.

Where it may lie and who may own it are the rules of :mod:`django_etcdaero.system.sqlite_file`. A new store is made
under a second name and renamed, while the directory is locked against other creators, so nobody ever sees half a
schema. Nothing here may open a database file that SQLite has open: that would drop the process's locks on it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time

from django_etcdaero.exceptions import ConfigurationError, EtcdAeroError
from django_etcdaero.system import sqlite_file

from . import schema

Identity = tuple[int, int, int]
"""Device and inode of the file and the inode of its write-ahead log: what a path stands for at the moment."""


def identity(path: str) -> Identity | None:
    """Return what ``path`` stands for now; ``None`` when there is no file or an empty one."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not status.st_size:
        return None
    try:
        log = os.stat(path + "-wal").st_ino
    except OSError:
        log = 0
    return status.st_dev, status.st_ino, log


def same_file(one: Identity | None, other: Identity | None) -> bool:
    """Tell whether both are the same file, whatever became of its log (which ends with the last connection to it)."""
    return one == other or (one is not None and other is not None and one[:2] == other[:2])


def prepare(path: str, *, timeout: float) -> None:
    """Make sure that a store which may be used lies at ``path`` (absolute); make an empty one if there is none.

    Raises ``ConfigurationError`` for a place or a file that cannot be used and ``StoreBusy`` when somebody else takes
    longer than ``timeout`` seconds to make the file.
    """
    sqlite_file.check_filesystem(path)
    directory = os.path.dirname(path)
    try:
        # Not os.stat alone: an empty file is made into a store like an absent one.
        if identity(path) is None:
            sqlite_file.make_directories(directory)
            with sqlite_file.locked_directory(directory, time.monotonic() + timeout):
                if identity(path) is None:
                    _create(path, timeout=timeout)
        _check_file(path)
    except EtcdAeroError:  # some of ours are OSErrors as well
        raise
    except OSError as error:
        raise ConfigurationError(f"the store {path} cannot be opened: {sqlite_file.why(error)}") from error


class Occupant:
    """The file that an engine opened last under a path, and its write-ahead log: for all connections of the engine.

    When the file is replaced, its log may be left behind, and SQLite would apply that to the successor. It may not be
    told from the successor's own log by its inode number alone, because a number is given away again as soon as
    nobody has the file open (ext4 does so at once). So the log is kept open here until the successor was opened, also
    while no connection is. SQLite holds its locks on the other two files: opening and closing this one harms none.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()  # a signal handler that uses the store may interrupt its own thread in here
        self._identity: Identity | None = None
        self._log: int | None = None
        self._forgotten = False

    def make_room(self, found: Identity, *, timeout: float) -> None:
        """Remove the log that the occupant has left to another file, ``found``; call it before that is opened."""
        with self._lock:
            known = self._identity
            if self._log is None or known is None or found[:2] == known[:2] or found[2] != known[2]:
                return
            with sqlite_file.locked_directory(os.path.dirname(self._path), time.monotonic() + timeout):
                present = identity(self._path)
                if present is not None and present[:2] != known[:2] and present[2] == known[2]:
                    _remove_logs(self._path)

    def settle(self, opened: Identity) -> None:
        """Take note that a connection to ``opened`` stands; the occupant before it is given up."""
        with self._lock:
            if self._forgotten or (opened == self._identity and self._log is not None):
                return
            log = _open_log(self._path, opened)
            former, self._log, self._identity = self._log, log, opened
        if former is not None:
            os.close(former)

    def forget(self) -> None:
        """Keep nothing open any more. Idempotent; takes no lock, so that the child of a fork can call it."""
        self._forgotten = True
        log, self._log = self._log, None
        if log is not None:
            os.close(log)


def _open_log(path: str, opened: Identity) -> int | None:
    """Return a descriptor of the log of ``opened``; ``None`` if it is gone or another one by now."""
    try:
        descriptor = os.open(path + "-wal", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if os.fstat(descriptor).st_ino == opened[2]:
        return descriptor
    os.close(descriptor)
    return None


def _create(path: str, *, timeout: float) -> None:
    draft = path + ".new"
    _remove_logs(draft)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = schema.connect(draft, timeout=timeout)
    try:
        schema.set_up_file(connection)
        schema.create(connection)
    finally:
        connection.close()
    _remove_logs(path)
    os.rename(draft, path)


def _remove_logs(path: str) -> None:
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)


def _check_file(path: str) -> None:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ConfigurationError(f"the store {path} is not a regular file")
    sqlite_file.check_owner(path)
    for needed, place in ((os.R_OK | os.W_OK, path), (os.W_OK | os.X_OK, os.path.dirname(path))):
        if not os.access(place, needed, effective_ids=os.access in os.supports_effective_ids):
            raise ConfigurationError(f"the store {path} is read-only for this process: no permission to write {place}")
