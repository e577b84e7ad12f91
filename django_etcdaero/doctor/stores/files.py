"""Files of SQLite, and the disks that they are on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Probe, Verdict, check, error, info, ok, verdict_on, warning
from django_etcdaero.doctor.subjects import File
from django_etcdaero.doctor.words import size
from django_etcdaero.inspection.database_file import DatabaseFile, look_at_file
from django_etcdaero.system.sqlite.path import check_file, check_filesystem

LITTLE: Final = 256 << 20
"""Bytes of free space that are little."""
NOTHING: Final = 32 << 20
LONG_LOG: Final = 256 << 20
"""Bytes of a write-ahead log that somebody keeps from being emptied."""


def _look(file: File, timeout: float) -> DatabaseFile:
    path = file.address.path
    check_filesystem(str(path))
    found = look_at_file(path)
    if found.bytes is not None:
        check_file(str(path))
    return found


PLACE = Probe("place", _look)


@check(
    "file.usable",
    "whether the file can be used",
    of=File,
    needs=(PLACE,),
    why=gettext_noop(
        "A file of SQLite belongs to one user, on a local disk; whoever else opens it, such as a manage.py run "
        "as root, "
        "is refused, or makes files that the server cannot use."
    ),
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
    why=gettext_noop(
        "A disk that is full takes no write: nothing is published, locks are lost when their leases cannot be renewed."
    ),
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
