"""The file of a store: where it may lie, who may own it, and how it comes into being.

A new store is made under a second name and renamed, while the directory is locked against other creators, so nobody
ever sees half a schema. The lock is taken on the directory because POSIX forgets all of a process's locks on a file as
soon as the process closes any descriptor of it: nothing here may open a database file that SQLite has open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from django_etcdaero.exceptions import ConfigurationError, StoreBusy
from django_etcdaero.kv.embedded import schema

Identity = tuple[int, int, int]
"""Device and inode of the file and the inode of its write-ahead log: what a path stands for at the moment."""

_NETWORK = "9p afs beegfs ceph cifs coda davfs glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs smb3 smbfs"
_NETWORK_IN_USER_SPACE = "sshfs s3fs rclone gcsfuse glusterfs ceph davfs smb nfs curlftpfs"


def network_file_system(path: str, mountinfo: str) -> str | None:
    """Return the type of the network file system that holds ``path`` (absolute), or ``None`` for a local one.

    ``mountinfo`` is the text of ``/proc/self/mountinfo`` (proc(5)): field 5 is the mount point with spaces as octal
    escapes, the type follows a lone ``-``. File systems in user space are judged by their subtype.
    """
    best, kind = "", ""
    for line in mountinfo.splitlines():
        left, dash, right = line.partition(" - ")
        fields = left.split()
        if not dash or len(fields) < 5:
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), fields[4])
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    remote = kind in _NETWORK.split()
    if kind.startswith("fuse."):
        remote = any(name in kind for name in _NETWORK_IN_USER_SPACE.split())
    return kind if remote else None


def identity(path: str) -> Identity | None:
    """Return what ``path`` stands for now; ``None`` when there is no file or an empty one."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not status.st_size:
        return None
    try:
        log = os.stat(path + "-wal").st_ino
    except OSError:
        log = 0
    return status.st_dev, status.st_ino, log


def same_file(one: Identity | None, other: Identity | None) -> bool:
    """Tell whether both are the same file, whatever became of its log (which ends with the last connection to it)."""
    return one == other or (one is not None and other is not None and one[:2] == other[:2])


def prepare(path: str, *, timeout: float) -> None:
    """Make sure that a store which may be used lies at ``path`` (absolute); make an empty one if there is none.

    Raises ``ConfigurationError`` for a place or a file that cannot be used and ``StoreBusy`` when somebody else takes
    longer than ``timeout`` seconds to make the file.
    """
    _refuse_network(path)
    try:
        # Not os.stat alone: an empty file is made into a store like an absent one.
        if identity(path) is None:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with directory_lock(path, timeout=timeout):
                if identity(path) is None:
                    _create(path, timeout=timeout)
        _check_file(path)
    except OSError as error:
        raise ConfigurationError(f"the store {path} cannot be opened: {error.strerror or error}") from error


def discard_stale_log(path: str, replaced: Identity, *, timeout: float) -> None:
    """Remove the write-ahead log of a replaced file, so that SQLite does not apply it to the file's successor.

    ``replaced`` is what ``path`` stood for before: a log that was not there then belongs to the successor and stays.
    """
    with directory_lock(path, timeout=timeout):
        present = identity(path)
        if present is not None and present[:2] != replaced[:2] and present[2] == replaced[2]:
            _remove_logs(path)


@contextlib.contextmanager
def directory_lock(path: str, *, timeout: float) -> Iterator[None]:
    """Keep other processes from making or repairing a store in the directory of ``path``."""
    deadline = time.monotonic() + timeout
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreBusy(f"another process holds the directory of {path}") from None
                time.sleep(random.uniform(0.001, 0.01))
        yield
    finally:
        os.close(descriptor)


def _refuse_network(path: str) -> None:
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return  # no Linux: nothing to ask
    kind = network_file_system(os.path.realpath(path), mountinfo)
    if kind is not None:
        raise ConfigurationError(f"the store {path} lies on a network file system ({kind}), where SQLite is not safe")


def _create(path: str, *, timeout: float) -> None:
    draft = path + ".new"
    _remove_logs(draft)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = schema.connect(draft, timeout=timeout)
    try:
        schema.set_up_file(connection)
        schema.create(connection)
    finally:
        connection.close()
    _remove_logs(path)
    os.rename(draft, path)


def _remove_logs(path: str) -> None:
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)


def _check_file(path: str) -> None:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"the store {path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"the store {path} belongs to user id {status.st_uid}, this process runs as {os.geteuid()}"
        )
    for needed, place in ((os.R_OK | os.W_OK, path), (os.W_OK | os.X_OK, os.path.dirname(path))):
        if not os.access(place, needed, effective_ids=os.access in os.supports_effective_ids):
            raise ConfigurationError(f"the store {path} is read-only for this process: no permission to write {place}")
    if status.st_mode & 0o077:
        os.chmod(path, 0o600)
