"""Reading a database when the disk is full and this process is the first to open it.

SQLite needs 32 kB of shared memory (``-shm``) beside a file in WAL mode, and makes it when the first connection opens
the file: on a full disk it cannot, so that nobody could read who did not read before. But it can do without: a
connection that opens the shared memory for reading only (``readonly_shm``, https://www.sqlite.org/wal.html#readonly)
keeps its own index of the log in its memory for as long as no process has made the shared one, whoever may read with
it at the same time. Before each transaction it looks whether that is still so; its locks keep writers from overwriting
what it reads. So it sees all that is committed, and from the moment in which there is room, what others write.

All that must exist are the files ``-shm`` and ``-wal``, be they empty, which takes no room but two directory entries:
the attempt to open the file for good has made them and leaves them behind. Where not even that is possible nothing can
be read either: a connection that ignores the log (``immutable``) would not see what is written later. A connection
lives for one piece of work, so that the process returns to ordinary ones as soon as there is room.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from django_etcdaero.exceptions import StoreFull
from django_etcdaero.system.clocks import monotonic

from . import errors, shared_memory
from .kept_log import KeptLog
from .opening import Schema, check, connect_file, open_database
from .path import Identity, companions, identity_of, make_private, same_file

T = TypeVar("T")

_RETRY_INTERVALS = (0.0005, 0.005)


def read_without_room(
    path: str,
    schema: Schema,
    work: Callable[[sqlite3.Connection], T],
    refused: StoreFull,
    *,
    deadline: float,
    log: KeptLog,
) -> tuple[T, Identity]:
    """Return ``work(connection)``, which only reads, and which file it was done on.

    ``refused``: what :func:`.opening.open_database` has raised just now; raised again if there is nothing to read.
    Waits for others until ``deadline`` (:func:`time.monotonic`), then raises ``StoreBusy``. Raises what opening raises.
    """
    real = os.path.realpath(path)
    while True:
        found = identity_of(path)
        if found is None:
            raise refused  # there was no room to make it
        try:
            with shared_memory.lock_of(real):
                shared_memory.note_read_only(real)
                with contextlib.closing(connect_file(real, "&readonly_shm=1")) as connection:
                    check(connection, path, schema)
                    make_private(path)
                    result = work(connection)
            opened = identity_of(path)
            if opened is not None and same_file(opened, found):
                log.keep(opened)
                return result, opened
        except sqlite3.Error as error:
            if errors.is_absence(error):
                # Somebody had room meanwhile, and was the last to close the file, which removes what is beside it.
                try:
                    ordinary, opened = open_database(path, schema, timeout=max(0, deadline - monotonic()), log=log)
                except StoreFull as again:
                    if not all(os.path.exists(name) for name in companions(real)):
                        raise again from error  # there is no room for an empty file either
                else:
                    with contextlib.closing(ordinary):
                        return work(ordinary), opened
            elif not errors.is_busy(error) or monotonic() >= deadline:
                raise errors.translate(error, path) from error
        else:
            if monotonic() >= deadline:
                raise refused
        time.sleep(random.uniform(*_RETRY_INTERVALS))
