"""A file of SQLite, and the disk that it is on."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from django_etcdaero.system.sqlite.path import companions


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """What the file system says."""

    bytes: int | None
    """Of the database; ``None``: there is no file yet."""
    log_bytes: int
    """Of its write-ahead log."""
    free: int
    """Bytes free on the disk, for this user."""
    mode: int = 0
    """Who may read and write it, as ``chmod`` has it."""


def look_at_file(path: Path) -> DatabaseFile:
    """Ask the file system; the database is not opened. Raises ``OSError``."""
    directory = next(each for each in (path.parent, *path.parents) if each.exists())
    free = shutil.disk_usage(directory).free
    if not path.exists():
        return DatabaseFile(None, 0, free)
    log = Path(companions(os.path.realpath(path))[0])
    found = path.stat()
    return DatabaseFile(found.st_size, log.stat().st_size if log.exists() else 0, free, stat.S_IMODE(found.st_mode))
