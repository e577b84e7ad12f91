"""Which file a path leads to, to notice that it was replaced."""

from __future__ import annotations

import os
from typing import NamedTuple


class Identity(NamedTuple):
    """What a path leads to at the moment.

    The numbers of the file are not reused as long as somebody has it open. That of the log is ``0`` while there is
    none; it tells a file from one that was copied over it in place.
    """

    device: int
    inode: int
    log: int
    """The inode of the write-ahead log."""


def identity_of(path: str) -> Identity | None:
    """Return what ``path`` leads to now; ``None`` when there is no file or an empty one. Costs two system calls."""
    try:
        status = os.stat(path)
    except OSError:  # whatever else is wrong with the path is named when it is opened anew
        return None
    if not status.st_size:
        return None
    try:
        log = os.stat(path + "-wal").st_ino
    except OSError:
        log = 0
    return Identity(status.st_dev, status.st_ino, log)


def same_file(one: Identity | None, other: Identity | None) -> bool:
    """Tell whether both are the same file, whatever became of its log (which ends with the last connection to it)."""
    return one == other or (one is not None and other is not None and one[:2] == other[:2])
