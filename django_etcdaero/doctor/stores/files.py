"""Files of SQLite, and the disks that they are on."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django_etcdaero.doctor.checking import Facts, Probe, Verdict, check, error, info, ok, verdict_on, warning
from django_etcdaero.doctor.subjects import File
from django_etcdaero.doctor.words import size
from django_etcdaero.system.sqlite.path import check_file, check_filesystem, companions

LITTLE: Final = 256 << 20
"""Bytes of free space that are little."""
NOTHING: Final = 32 << 20
LONG_LOG: Final = 256 << 20
"""Bytes of a write-ahead log that somebody keeps from being emptied."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the file system says."""

    bytes: int | None
    """Of the database; ``None``: there is no file yet."""
    log_bytes: int
    """Of its write-ahead log."""
    free: int
    """Bytes free on the disk, for this user."""
    mode: int = 0


def _look(file: File, timeout: float) -> Place:
    path = file.address.path
    check_filesystem(str(path))
    directory = next(each for each in (path.parent, *path.parents) if each.exists())
    free = shutil.disk_usage(directory).free
    if not path.exists():
        return Place(None, 0, free)
    check_file(str(path))
    log = Path(companions(os.path.realpath(path))[0])
    return Place(
        path.stat().st_size, log.stat().st_size if log.exists() else 0, free, stat.S_IMODE(path.stat().st_mode)
    )


PLACE = Probe("place", _look)


@check(
    "file.usable",
    "whether the file can be used",
    of=File,
    needs=(PLACE,),
    why="A file of SQLite belongs to one user, on a local disk; whoever else opens it, such as a manage.py run "
    "as root, "
    "is refused, or makes files that the server cannot use.",
)
def usable(facts: Facts) -> Iterator[Verdict]:
    failure = facts.failure(PLACE)
    if failure is not None:
        yield error(verdict_on(failure).seen, "run all processes as the owner of the file, on a local disk")
    elif facts[PLACE].bytes is None:
        yield info("there is no file yet: the first use makes it")
    elif facts[PLACE].mode & 0o077:
        yield warning(f"others may read it (mode {facts[PLACE].mode:o})", f"chmod 600 {facts.subject.address.path}")
    else:
        yield ok("its owner is this user, and nobody else may read it")


@check(
    "file.space",
    "room on the disk of the file",
    of=File,
    needs=(PLACE,),
    why="A disk that is full takes no write: nothing is published, locks are lost when their leases cannot be renewed.",
)
def space(facts: Facts) -> Iterator[Verdict]:
    place = facts[PLACE]
    said = f"{size(place.free)} free; the database has {size(place.bytes or 0)}, its log {size(place.log_bytes)}"
    if place.free < NOTHING:
        yield error(said, "make room on that disk")
    elif place.free < max(LITTLE, place.bytes or 0):
        yield warning(said, "make room on that disk; while it is rewritten the file may need as much again")
    elif place.log_bytes > LONG_LOG:
        yield warning(said, "some process keeps a read open for long: see who has the file open (fuser)")
    else:
        yield ok(said)
