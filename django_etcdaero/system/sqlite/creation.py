"""How a new database comes into being: under a second name, and renamed when it is whole.

So nobody ever sees half a schema, and a process that is killed meanwhile leaves nothing at the path. Two processes that
do it at once would remove each other's files: the directory is locked against other creators.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from django_etcdaero.exceptions import StoreBusy
from django_etcdaero.system.clocks import monotonic

from .path import companions, identity_of

RETRY_INTERVAL = 0.005
"""Seconds between two attempts to get a lock while a file is being made or opened."""
OWN_DIRECTORY = ".etcdaero"


def create(real: str, deadline: float, fill: Callable[[str], sqlite3.Connection]) -> None:
    """Make the database ``real`` (a path without links) unless it has been made meanwhile.

    ``fill(draft)`` makes the tables in the empty file ``draft`` and returns the connection to it. Waits for other
    creators until ``deadline`` (:func:`time.monotonic`), then raises ``StoreBusy``; raises ``OSError`` and what
    ``fill`` raises.
    """
    make_directories(os.path.dirname(real))
    with locked_directory(os.path.dirname(real), deadline):
        if identity_of(real) is not None:
            return
        draft = real + ".new"
        for name in (draft, *companions(draft)):
            Path(name).unlink(missing_ok=True)
        # SQLite itself never creates the file, because it would give it the umask's mode.
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.closing(fill(draft)):
            pass  # closing takes the draft's log into it
        remove_logs(real)
        os.rename(draft, real)


def make_directories(directory: str) -> None:
    """Create what is missing of ``directory``; every level private, where ``os.makedirs`` does so for the last only.

    One of the package's own name, which stands in a project's directory by default, is left out by git.
    """
    if directory and not os.path.isdir(directory):
        make_directories(os.path.dirname(directory))
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
            if os.path.basename(directory) == OWN_DIRECTORY:
                _ignore(directory)


def _ignore(directory: str) -> None:
    with contextlib.suppress(OSError), open(os.path.join(directory, ".gitignore"), "x", encoding="utf-8") as file:
        file.write("# Written by django-etcdaero: what is here is stores of this machine.\n*\n")


@contextlib.contextmanager
def locked_directory(directory: str, deadline: float) -> Iterator[None]:
    """Keep other processes from creating a database in ``directory``; wait for them until ``deadline`` (monotonic).

    The lock is taken on the directory because POSIX forgets all of a process's locks on a file as soon as the process
    closes any descriptor of it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() >= deadline:
                    raise StoreBusy(f"{directory}: another process is creating a database here") from None
                time.sleep(RETRY_INTERVAL)
        try:
            yield
        finally:
            # Closing alone would leave the lock to a child that was forked meanwhile and holds a copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def remove_logs(path: str) -> None:
    """Remove what a deleted database has left beside ``path``: SQLite would apply it to the successor."""
    for name in (*companions(path), path + "-journal"):
        Path(name).unlink(missing_ok=True)
