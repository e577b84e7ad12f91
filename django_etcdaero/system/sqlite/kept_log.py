"""The write-ahead log of the file that was opened last under a path, kept open until its successor was.

When a file is replaced, its log may be left behind, and SQLite would apply that to the successor. It may not be told
from the successor's own log by its inode number alone, because a number is given away again as soon as nobody has the
file open (ext4 does so at once). So the log is kept open here, also while no connection is. SQLite holds its locks on
the other two files: opening and closing this one harms none.
"""

from __future__ import annotations

import os
import threading

from .creation import locked_directory, remove_logs
from .path import Identity, identity_of, same_file


class KeptLog:
    """For all connections to one path that belong together. Its methods may be called from any thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()  # a signal handler that uses the store may interrupt its own thread in here
        self._identity: Identity | None = None
        self._descriptor: int | None = None
        self._forgotten = False

    def remove_before(self, found: Identity, deadline: float) -> None:
        """Remove the log if another file, ``found``, stands at the path now; call it before that is opened.

        Waits for other processes until ``deadline`` (:func:`time.monotonic`). Raises ``StoreBusy``, ``OSError``.
        """
        with self._lock:
            known = self._identity
            if self._descriptor is None or known is None or not _left_to(found, known):
                return
            with locked_directory(os.path.dirname(self._path), deadline):
                present = identity_of(self._path)
                if present is not None and _left_to(present, known):
                    remove_logs(self._path)

    def keep(self, opened: Identity) -> None:
        """Keep the log of ``opened``, to which a connection stands now, and give up the one before it."""
        with self._lock:
            if self._forgotten or (opened == self._identity and self._descriptor is not None):
                return
            former, self._descriptor = self._descriptor, _open_log(self._path, opened)
            self._identity = opened
        if former is not None:
            os.close(former)

    def forget(self) -> None:
        """Keep nothing open any more. Idempotent; takes no lock, so that the child of a fork can call it."""
        self._forgotten = True
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _left_to(found: Identity, known: Identity) -> bool:
    """Tell whether ``found`` is another file than ``known`` beside the log of ``known``."""
    return not same_file(found, known) and found.log == known.log


def _open_log(path: str, opened: Identity) -> int | None:
    """Return a descriptor of the log of ``opened``; ``None`` if it is gone or another one by now."""
    try:
        descriptor = os.open(path + "-wal", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if os.fstat(descriptor).st_ino == opened.log:
        return descriptor
    os.close(descriptor)
    return None
