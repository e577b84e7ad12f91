"""The shared memory beside a log (``-shm``), which all connections of a process to one file have in common.

SQLite opens it once in a process, as the first connection asked for it: for reading only, while this process reads a
file beside which there is no room (:mod:`.without_room`). A connection that is meant to stay must not join that: it
could never write, and as long as it is open no other one of the process could. So the two take turns, and a new
connection makes sure.
"""

from __future__ import annotations

import os
import sqlite3
import threading

from django_etcdaero.exceptions import StoreBusy

from . import errors

_locks: dict[tuple[int, str], threading.RLock] = {}
"""By process id, because the child of a fork must not wait for a thread that it does not have, and by real path."""

_read_only: set[str] = set()
"""The files whose shared memory this process has ever opened for reading only."""


def lock_of(real: str) -> threading.RLock:
    """Return what a thread holds while it opens the file ``real`` for good, or reads it without room.

    Re-entrant only so that a signal handler that uses the store does not wait for the call that it interrupts.
    """
    return _locks.setdefault((os.getpid(), real), threading.RLock())


def note_read_only(real: str) -> None:
    """Remember that the shared memory of ``real`` may be open for reading only: called before it is."""
    _read_only.add(real)


def check_writable(connection: sqlite3.Connection, real: str) -> None:
    """Raise ``StoreBusy`` if ``connection`` has joined shared memory that is open for reading only."""
    if real not in _read_only:
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        if errors.is_busy(error):
            return  # another one writes: then this one could
        if errors.is_read_only(error):
            raise StoreBusy(f"{real}: is being read by this process while there is no room") from error
        raise
