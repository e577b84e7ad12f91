"""The rules by which every SQLite file of this package is opened, in one place.

* A file belongs to the user that runs the process and nobody else may read it: mode 0600, its ``-wal`` and ``-shm``
  too, missing parent directories 0700. Another owner is refused: whoever owns the file can read and forge its content.
* It lives on a local file system. WAL mode coordinates processes through shared memory, which does not work across
  hosts (https://www.sqlite.org/wal.html, "Disadvantages"), and network file systems are known for broken locks.
* It carries the application id and the schema version of its user, so that a foreign file is never written to.
* It may be deleted or replaced at any time; whoever holds a connection compares :func:`identity` at each call.

Use::

    SCHEMA = sqlite_file.Schema(application_id=…, version=1, statements=("CREATE TABLE …",))
    connection, identity = sqlite_file.open_database(path, SCHEMA, timeout=5.0)
    ...
    if sqlite_file.identity(path) != identity:  # the file at this path is another one (or gone): open anew
        connection.close()
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if sqlite_file.is_busy(error): ...  # wait a little and try again, until a deadline
        raise sqlite_file.translate(error, path) from error

The connection is in WAL mode, autocommit (``isolation_level=None``: the user writes BEGIN and COMMIT), may be used from
any thread (by one at a time) and never waits for a lock: SQLite's own waiting is neither fair nor bounded by a call's
deadline, so the users wait themselves. Close connections before a fork; what a child inherits
nevertheless goes to :func:`leak`. Never open the file by other means while a connection to it exists: closing any
file descriptor of it drops the locks of the whole process (https://www.sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from django_etcdaero.exceptions import (
    ClusterError,
    ConfigurationError,
    EtcdAeroError,
    ResponseError,
    StoreBusy,
    StoreFull,
)

MOUNTINFO = "/proc/self/mountinfo"
"""Where Linux lists the mounts that this process sees; where there is none, file systems are not checked."""

NETWORK_FILE_SYSTEMS = frozenset({
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.afpfs", "fuse.ceph", "fuse.cephfs",
    "fuse.curlftpfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.rclone",
    "fuse.s3fs", "fuse.seaweedfs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "ocfs2", "orangefs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf",
})  # fmt: skip
"""File system types, as the kernel names them, that several hosts can share."""

WAL_BYTES = 16 * 1024 * 1024
"""What the ``-wal`` file is cut to when a burst of writes has made it larger."""

RETRY_INTERVAL = 0.005
"""Seconds between two attempts to get a lock while a file is being opened."""

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_REFUSED = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH})


class Identity(NamedTuple):
    """Which file a path leads to. A number is not reused as long as somebody has the file open."""

    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database must contain."""

    application_id: int
    """Signed 32-bit number that marks the file as ours (``PRAGMA application_id``)."""
    version: int
    """1 or more (``PRAGMA user_version``)."""
    statements: tuple[str, ...]
    """What creates the tables in an empty file."""


def identity(path: str) -> Identity | None:
    """Return which file ``path`` leads to now, ``None`` when there is none. Costs one system call."""
    try:
        status = os.stat(path)
    except OSError:  # whatever else is wrong with the path is named when it is opened anew
        return None
    return Identity(status.st_dev, status.st_ino)


def check_filesystem(path: str) -> None:
    """Raise ``ConfigurationError`` if ``path`` (which need not exist) is on a network file system."""
    try:
        with open(MOUNTINFO, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    real = os.fsencode(os.path.realpath(path))
    longest, found = -1, ""
    for line in lines:
        mounted, _, described = line.partition(b" - ")
        fields, kind = mounted.split(b" "), described.split(b" ")[0]
        if len(fields) < 5:
            continue
        # proc(5): space, tab, newline and backslash are written in octal; a later mount on the same place covers.
        point = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), fields[4]).rstrip(b"/")
        if len(point) >= longest and (real + b"/").startswith(point + b"/"):
            longest, found = len(point), os.fsdecode(kind)
    if found in NETWORK_FILE_SYSTEMS:
        raise ConfigurationError(
            f"{path}: is on a network file system ({found}); SQLite needs a local disk. "
            "Use etcd:// and aerospike:// to share data between hosts."
        )


def prepare(path: str, *, timeout: float = 5.0) -> Identity:
    """Make sure that there is a file at ``path`` that may be opened; create an empty one if there is none.

    Waits at most ``timeout`` seconds for another process that creates the file at this moment (``StoreBusy``). Raises
    ``ConfigurationError`` naming the path: another owner, a network file system, not a regular file, no permission.
    """
    check_filesystem(path)
    real = os.path.realpath(path)
    try:
        if not os.path.lexists(real):
            make_directories(os.path.dirname(real))
            _create(real, time.monotonic() + timeout)
        status = os.stat(real)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"{path}: is not a regular file")
        for name in files_of(real):
            check_owner(name)
    except EtcdAeroError:  # some of ours are OSErrors as well
        raise
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be used as a database: {why(error)}") from error
    return Identity(status.st_dev, status.st_ino)


def open_database(path: str, schema: Schema, *, timeout: float) -> tuple[sqlite3.Connection, Identity]:
    """Open (and create, if need be) the database at ``path``; return the connection and the identity of its file.

    Any number of processes may do so at the same time. Waits at most ``timeout`` seconds for others (``StoreBusy``).
    Raises ``ConfigurationError`` (as :func:`prepare`; a newer schema version), ``ResponseError`` (damaged, or the
    database of another application), ``StoreFull``, ``ClusterError``.
    """
    deadline = time.monotonic() + timeout
    while True:
        prepared = prepare(path, timeout=max(0.0, deadline - time.monotonic()))
        try:
            # mode=rw: SQLite itself never creates the file, because it would give it the umask's mode.
            connection = sqlite3.connect(
                f"file:{quote(os.fsencode(os.path.realpath(path)))}?mode=rw",
                uri=True, timeout=0, isolation_level=None, check_same_thread=False,
            )  # fmt: skip
        except sqlite3.Error as error:
            if identity(path) == prepared or time.monotonic() >= deadline:
                raise translate(error, path) from error
            continue
        try:
            _establish(connection, path, schema)
            make_private(path)
        except sqlite3.Error as error:
            connection.close()
            if not is_busy(error) or time.monotonic() >= deadline:
                raise translate(error, path) from error
            time.sleep(RETRY_INTERVAL)
        except BaseException:
            connection.close()
            raise
        else:
            if identity(path) == prepared:
                return connection, prepared
            connection.close()
            if time.monotonic() >= deadline:
                raise StoreBusy(f"{path}: is being replaced all the time")


def leak(connection: sqlite3.Connection) -> None:
    """In the child of a fork: make sure that an inherited connection is never closed, not even when Python ends.

    Closing would act on the file and its ``-wal`` in the parent's name. A reference from a module is not enough for
    that: CPython drops those at exit and then closes what they held (3.13 also warns), hence one that nobody owns.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether ``error`` says that another connection holds a lock."""
    return _primary_code(error) in _BUSY


def translate(error: sqlite3.Error, path: str) -> EtcdAeroError:
    """Return what a caller of this package gets for ``error``: an exception that names ``path``.

    Give the original as its ``__cause__`` (``raise translate(error, path) from error``).
    """
    code = _primary_code(error)
    if code in _BUSY:
        return StoreBusy(f"{path}: another process holds the database for longer than the time allowed")
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"{path}: no room left on the disk")
    if code in _DAMAGED:
        return ResponseError(f"{path}: is damaged or not a SQLite database: {error}")
    if code in _REFUSED:
        return ConfigurationError(f"{path}: cannot be read and written: {error}")
    if code == sqlite3.SQLITE_IOERR:
        return ClusterError(f"{path}: {error}", {path: str(error)})
    return ResponseError(f"{path}: {error}")


def _primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; -1 for an error of the Python module itself."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else -1


def make_directories(directory: str) -> None:
    """Create what is missing of ``directory``; every level private, where ``os.makedirs`` does so for the last only."""
    if directory and not os.path.isdir(directory):
        make_directories(os.path.dirname(directory))
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)


def _create(real: str, deadline: float) -> None:
    """Create the empty file, alone.

    A ``-wal`` or ``-shm`` left by a deleted database must go first, since processes that still have that database open
    go on writing there. Two processes doing this at once would remove each other's live files, hence the lock.
    """
    with locked_directory(os.path.dirname(real), deadline):
        if os.path.lexists(real):
            return
        for suffix in ("-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(real + suffix)
        os.close(os.open(real, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


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
                if time.monotonic() >= deadline:
                    raise StoreBusy(f"{directory}: another process is creating a database here") from None
                time.sleep(RETRY_INTERVAL)
        try:
            yield
        finally:
            # Closing alone would leave the lock to a child that was forked meanwhile and holds a copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def why(error: OSError) -> str:
    """Say what kept a file from being used."""
    if isinstance(error, PermissionError):
        return f"{error.strerror}; all processes that share it run as one user (this one as user id {os.geteuid()})"
    return error.strerror or str(error)


def files_of(path: str) -> tuple[str, str, str]:
    """Return the names of a database's file and of the two that SQLite keeps beside it."""
    return path, path + "-wal", path + "-shm"


def check_owner(name: str) -> None:
    """Raise ``ConfigurationError`` if the file ``name`` belongs to another user; no error if there is none."""
    try:
        owner = os.stat(name).st_uid
    except FileNotFoundError:
        return
    if owner != os.geteuid():
        raise ConfigurationError(
            f"{name}: belongs to user id {owner}, this process runs as {os.geteuid()}; "
            "let every process that shares the file run as its owner, or choose another path"
        )


def make_private(path: str) -> None:
    """Take the rights of others on the files of the database at ``path`` away, once it is known to be ours.

    Not earlier: a path that was mistyped names a file whose mode is nobody's business here. Raises
    ``ConfigurationError``.
    """
    for name in files_of(os.path.realpath(path)):
        try:
            mode = os.stat(name).st_mode
            if mode & 0o077:
                os.chmod(name, mode & 0o700)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigurationError(f"{name}: cannot be closed to other users: {why(error)}") from error


def _establish(connection: sqlite3.Connection, path: str, schema: Schema) -> None:
    # Nothing is written before this has passed: a foreign file stays as it is.
    connection.execute("BEGIN")
    blank = _is_blank(connection, path, schema)
    connection.execute("COMMIT")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise ConfigurationError(f"{path}: this file system does not allow SQLite's WAL mode (got {mode!r})")
    # NORMAL in WAL mode: a commit is not forced to the disk, a checkpoint is. When a process dies nothing is lost; when
    # the machine loses power the last commits may be, but the file is never damaged and no commit is half there.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES:d}")
    if not blank:
        return
    connection.execute("BEGIN IMMEDIATE")
    if _is_blank(connection, path, schema):  # still: another process may have been faster
        for statement in schema.statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {schema.version:d}")
        connection.execute(f"PRAGMA application_id = {schema.application_id:d}")
    connection.execute("COMMIT")


def _is_blank(connection: sqlite3.Connection, path: str, schema: Schema) -> bool:
    """Tell, inside a transaction, whether the database is still to be created; raise if it is not ours."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    objects = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application_id == 0 and version == 0 and objects == 0:
        return True
    if application_id != schema.application_id:
        raise ResponseError(f"{path}: is the database of another application (application id {application_id})")
    if version > schema.version:
        raise ConfigurationError(
            f"{path}: was made by a newer release (schema {version}, this release knows {schema.version}); "
            "upgrade this process or choose another path"
        )
    return False
