"""The path of a database: which file system it may be on, who may own and read the file, whether it was replaced."""

from __future__ import annotations

import os
import re
import stat
from typing import NamedTuple

from django_etcdaero.exceptions import ConfigurationError

MOUNTINFO = "/proc/self/mountinfo"
"""Where Linux lists the mounts that this process sees; where there is none, file systems are not checked."""

NETWORK_FILE_SYSTEMS = frozenset({
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.afpfs", "fuse.ceph", "fuse.cephfs",
    "fuse.curlftpfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.rclone",
    "fuse.s3fs", "fuse.seaweedfs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "ocfs2", "orangefs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf",
})  # fmt: skip
"""File system types, as the kernel names them, that several hosts can share."""


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


def companions(path: str) -> tuple[str, str]:
    """Return the names of the two files that SQLite keeps beside the database ``path``."""
    return path + "-wal", path + "-shm"


def network_file_system(path: str) -> str | None:
    """Return the type of the network file system that ``path`` (which need not exist) is on; ``None``: on none."""
    try:
        with open(MOUNTINFO, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
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
    return found if found in NETWORK_FILE_SYSTEMS else None


def check_filesystem(path: str) -> None:
    """Raise ``ConfigurationError`` if ``path`` (which need not exist) is on a network file system."""
    found = network_file_system(path)
    if found is not None:
        raise ConfigurationError(
            f"{path}: is on a network file system ({found}); SQLite needs a local disk. "
            "Use etcd:// and aerospike:// to share data between hosts."
        )


def why(error: OSError) -> str:
    """Say what kept a file from being used."""
    if isinstance(error, PermissionError):
        return f"{error.strerror}; all processes that share it run as one user (this one as user id {os.geteuid()})"
    return error.strerror or str(error)


def check_file(path: str) -> None:
    """Refuse a file that cannot be a database of this process, which must exist.

    Raises ``ConfigurationError`` (no regular file, another owner, no right to write it or its directory), ``OSError``.
    """
    real = os.path.realpath(path)
    if not stat.S_ISREG(os.stat(real).st_mode):
        raise ConfigurationError(f"{path}: is not a regular file")
    for name in (real, *companions(real)):
        try:
            owner = os.stat(name).st_uid
        except FileNotFoundError:
            continue
        if owner != os.geteuid():
            raise ConfigurationError(
                f"{name}: belongs to user id {owner}, this process runs as {os.geteuid()}; "
                "let every process that shares the file run as its owner, or choose another path"
            )
    for needed, place in ((os.R_OK | os.W_OK, real), (os.W_OK | os.X_OK, os.path.dirname(real))):
        if not os.access(place, needed, effective_ids=os.access in os.supports_effective_ids):
            raise ConfigurationError(f"the store {path} is read-only for this process: no permission to write {place}")


def make_private(path: str) -> None:
    """Take the rights of others on the files of the database at ``path`` away, once it is known to be ours.

    Not earlier: a path that was mistyped names a file whose mode is nobody's business here. Raises
    ``ConfigurationError``.
    """
    real = os.path.realpath(path)
    for name in (real, *companions(real)):
        try:
            mode = os.stat(name).st_mode
            if mode & 0o077:
                os.chmod(name, mode & 0o700)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigurationError(f"{name}: cannot be closed to other users: {why(error)}") from error
