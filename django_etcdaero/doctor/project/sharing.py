"""The directory of the files that the processes of this host share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from django_etcdaero import conf
from django_etcdaero.datasets.mapped.place import Place
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.doctor.checking import Facts, Probe, Verdict, check, error, info, ok, verdict_on, warning
from django_etcdaero.doctor.subjects import Alias
from django_etcdaero.doctor.words import size, some


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The shared datasets of an alias, and their directory."""

    names: tuple[str, ...]
    directory: str
    writable: bool = True
    """Whether this process may make files there."""
    free: int = 0
    """Bytes of room for it."""
    largest: int = 0
    """Bytes of the largest file there."""


def _look(alias: Alias, timeout: float) -> Shared:
    directory = conf.shared_dir(alias.settings)
    shared = [each for each in datasets.values() if each.using == alias.settings.alias and each.shared]
    if not shared:
        return Shared(names=(), directory=directory)
    sizes = [0]
    for each in shared:
        place = Place(directory, prefix=alias.settings.prefix, name=each.name, schema=each.schema)
        place.check()
        sizes += place.sizes()
    there = directory
    while not os.path.exists(there):
        there = os.path.dirname(there)
    disk = os.statvfs(there)
    return Shared(
        names=tuple(each.name for each in shared),
        directory=directory,
        writable=os.access(there, os.W_OK | os.X_OK),
        free=disk.f_bavail * disk.f_frsize,
        largest=max(sizes),
    )


SHARED = Probe("shared", _look)


@check(
    "datasets.shared",
    "the directory of the files that processes share",
    of=Alias,
    needs=(SHARED,),
    why="A new version of a shared dataset is a new file beside the one in use. Where it cannot be made the processes "
    "of the host stay on the old version.",
)
def shared(facts: Facts) -> Iterator[Verdict]:
    failure = facts.failure(SHARED)
    if failure is not None:
        yield error(verdict_on(failure).seen, "set SHARED_DIR to a private directory on a local disk")
        return
    found = facts[SHARED]
    if not found.names:
        yield ok("none is shared")
        return
    said = f"{found.directory}: {size(found.free)} free, the largest file has {size(found.largest)}"
    if found.free < found.largest:
        yield warning(said, "make room on that disk, or set SHARED_DIR to another one")
    if not found.writable:
        yield info(
            f"{found.directory}: this process must not write there, and only maps what others make",
            f"let another process of this host make the files of {some(found.names)}",
        )
    yield ok(said)
