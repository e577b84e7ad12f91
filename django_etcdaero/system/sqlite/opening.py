"""Opening a database: in a file that any number of processes share, or in memory.

A connection is in autocommit (``isolation_level=None``: the user writes BEGIN and COMMIT), may be used from any thread
(by one at a time) and never waits for a lock: SQLite's own waiting is neither fair nor bounded by a call's deadline, so
the users wait themselves.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
import time
from dataclasses import dataclass
from urllib.parse import quote

from django_etcdaero.exceptions import ClusterError, ConfigurationError, EtcdAeroError, ResponseError, StoreBusy
from django_etcdaero.system.clocks import monotonic

from . import errors, shared_memory
from .creation import RETRY_INTERVAL, create
from .kept_log import KeptLog
from .path import Identity, check_file, check_filesystem, identity_of, make_private, same_file, why

_CACHED_STATEMENTS = 256


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database must contain."""

    application_id: int
    """Signed 32-bit number that marks the file as ours (``PRAGMA application_id``)."""
    version: int
    """1 or more (``PRAGMA user_version``)."""
    statements: tuple[str, ...]
    """What creates the tables in an empty file."""
    content: str = "a database"
    """What the file is, for messages: ``"a record store"``."""
    wal_bytes: int = 16 * 1024 * 1024
    """What the ``-wal`` file is cut to when a burst of writes has made it larger."""


def open_database(
    path: str, schema: Schema, *, timeout: float, log: KeptLog | None = None
) -> tuple[sqlite3.Connection, Identity]:
    """Open (and create, if need be) the database at ``path``; return the connection and the identity of its file.

    Any number of processes may do so at the same time. ``log``: what the owner of the connection keeps of the file
    that was at the path before. Waits at most ``timeout`` seconds for others (``StoreBusy``). Raises
    ``ConfigurationError`` (as :func:`prepare`; a newer schema version), ``ResponseError`` (damaged, or the database of
    another application), ``StoreFull``, ``ClusterError``.
    """
    deadline = monotonic() + timeout
    while True:
        found = prepare(path, schema, timeout=max(0.0, deadline - monotonic()))
        if log is not None and found is not None:
            try:
                log.remove_before(found, deadline)
            except EtcdAeroError:  # some of ours are OSErrors as well
                raise
            except OSError as error:
                raise ClusterError(f"{path}: was replaced: {error}", {path: str(error)}) from error
        real = os.path.realpath(path)
        try:
            connection = connect_file(real)
        except sqlite3.Error as error:
            if same_file(identity_of(path), found) or monotonic() >= deadline:
                raise errors.translate(error, path) from error
            continue
        try:
            with shared_memory.lock_of(real):
                try:
                    check(connection, path, schema)  # nothing is written before: a foreign file stays as it is
                    make_private(path)
                    _set_up(connection, path, schema)
                    shared_memory.check_writable(connection, real)
                except BaseException:
                    connection.close()  # before anybody can join shared memory that could not be made
                    raise
            opened = identity_of(path)
        except sqlite3.Error as error:
            if not errors.is_busy(error) or monotonic() >= deadline:
                raise errors.translate(error, path) from error
            time.sleep(RETRY_INTERVAL)
        except BaseException:
            connection.close()
            raise
        else:
            if opened is not None and same_file(opened, found):
                if log is not None:
                    log.keep(opened)
                return connection, opened
            connection.close()
            if monotonic() >= deadline:
                raise StoreBusy(f"{path}: was replaced while it was opened")


def prepare(path: str, schema: Schema, *, timeout: float) -> Identity | None:
    """Make sure that there is a database at ``path`` that may be opened; create an empty one if there is none.

    An empty file is made into a database like an absent one. Waits at most ``timeout`` seconds for another process that
    creates the file at this moment (``StoreBusy``). Raises ``ConfigurationError`` naming the path: another owner, a
    network file system, not a regular file, no permission. Returns ``None`` if the file has just gone again.
    """
    check_filesystem(path)
    real = os.path.realpath(path)
    try:
        if os.path.lexists(real):
            check_file(path)
        if identity_of(path) is None:
            create(real, monotonic() + timeout, lambda draft: _fill(draft, schema))
            check_file(path)
        return identity_of(path)
    except EtcdAeroError:  # some of ours are OSErrors as well
        raise
    except OSError as error:
        raise ConfigurationError(f"the store {path} cannot be opened: {why(error)}") from error
    except sqlite3.Error as error:
        raise errors.translate(error, path) from error


def open_memory(schema: Schema) -> sqlite3.Connection:
    """Open a new database in memory, with the tables of ``schema``; it ends with the connection."""
    connection = _connect(":memory:")
    _create_tables(connection, schema)
    return connection


def leak(connection: sqlite3.Connection) -> None:
    """In the child of a fork: make sure that an inherited connection is never closed, not even when Python ends.

    Closing would act on the file and its ``-wal`` in the parent's name. A reference from a module is not enough for
    that: CPython drops those at exit and then closes what they held (3.13 also warns), hence one that nobody owns.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def connect_file(real: str, options: str = "") -> sqlite3.Connection:
    """Make a connection to the file ``real`` (a path without links), which SQLite opens with the first statement.

    ``options``: more parameters of the file's URI.
    """
    return _connect(f"file:{quote(os.fsencode(real))}?mode=rw{options}")


def _connect(name: str) -> sqlite3.Connection:
    return sqlite3.connect(
        name, uri=True, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=_CACHED_STATEMENTS
    )


def _set_up(connection: sqlite3.Connection, path: str, schema: Schema) -> None:
    """Make a connection to a file fit for several processes. The first statement may write to the file."""
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise ConfigurationError(f"{path}: this file system does not allow SQLite's WAL mode (got {mode!r})")
    # NORMAL in WAL mode: a commit is not forced to the disk, a checkpoint is. When a process dies nothing is lost; when
    # the machine loses power the last commits may be, but the file is never damaged and no commit is half there.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {schema.wal_bytes:d}").fetchall()


def _fill(draft: str, schema: Schema) -> sqlite3.Connection:
    connection = connect_file(draft)
    try:
        _set_up(connection, draft, schema)
        _create_tables(connection, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _create_tables(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make the tables of ``schema`` in an empty database, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in schema.statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {schema.version:d}")
    connection.execute(f"PRAGMA application_id = {schema.application_id:d}")
    connection.execute("COMMIT")


def check(connection: sqlite3.Connection, path: str, schema: Schema) -> None:
    """Refuse a database that is something else or of a format that this release does not know; reads only.

    Raises ``ResponseError`` (not ours), ``ConfigurationError`` (a newer release made it).
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != schema.application_id:
        raise ResponseError(
            f"{path}: is the database of another application (application id {application_id}), "
            f"not {schema.content} of django-etcdaero"
        )
    if version > schema.version:
        raise ConfigurationError(
            f"{path}: has format {version}, which a newer release of django-etcdaero made (this one knows format "
            f"{schema.version}); upgrade this process or choose another path"
        )
    if version < schema.version:
        raise ResponseError(f"{path}: has format {version}, which django-etcdaero never made")
