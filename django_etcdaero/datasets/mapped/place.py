"""Where mapped files are: a private directory of this host, one below it for each dataset, and who uses which file.

Whoever writes or maps a file holds a lock on it (``flock``, on the very descriptor, so that it lasts until the mapping
ends, or the process). A file without a lock is nobody's: what is not needed any more, or was left behind by a process
that was killed, is removed by whoever comes next.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from django_etcdaero.exceptions import ConfigurationError, StoreFull
from django_etcdaero.system.sqlite.creation import make_directories
from django_etcdaero.system.sqlite.path import network_file_system

from .form import DamagedFile, MappedFile

ROWS: Final = ".rows"
PART: Final = ".part"
_LOCK: Final = "building.lock"
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_FORBIDDEN: Final = frozenset((errno.EROFS, errno.EACCES, errno.EPERM))


class ReadOnly(ConfigurationError):
    """This process may map files and must not make any here."""


class Place:
    """The files of one dataset. ``directory`` is that of all datasets of the host, which is made if need be."""

    def __init__(self, directory: str, *, prefix: str, name: str, schema: int) -> None:
        self._top = directory
        self._kind: str | None = None
        """The network file system that it is on, if it is on one; ``None``: that is not known yet."""
        # A prefix has no "+", and neither part can be "." or "..".
        self.path = os.path.join(directory, prefix.replace("/", "+") + "+", f"{name}.s{schema}")

    def of(self, root: bytes) -> str:
        """Return the path of the file of a version."""
        return os.path.join(self.path, root.hex() + ROWS)

    def roots(self) -> list[bytes]:
        """Return the versions of which there is a file, the newest first."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                stem = entry.name.removesuffix(ROWS)
                if stem != entry.name:
                    with suppress(ValueError, FileNotFoundError):
                        found.append((entry.stat(follow_symlinks=False).st_mtime_ns, bytes.fromhex(stem)))
        return [root for _, root in sorted(found, reverse=True)]

    def sizes(self) -> list[int]:
        """Return the sizes of all files of rows, in bytes."""
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            return [entry.stat().st_size for entry in entries if entry.name.endswith(ROWS)]
        return []

    def check(self) -> None:
        """Refuse directories that others may change. Raises ``ConfigurationError``."""
        for path in (self._top, os.path.dirname(self.path), self.path):
            try:
                status = os.stat(path)
            except FileNotFoundError:
                return
            except OSError as error:
                raise ConfigurationError(f"SHARED_DIR: {path}: {error.strerror}") from error
            if not stat.S_ISDIR(status.st_mode):
                raise ConfigurationError(f"SHARED_DIR: {path} is not a directory")
            _check_owner(path, status)
        if self._kind is None:  # once: it costs more than all else here
            self._kind = network_file_system(self.path) or ""
        kind = self._kind
        if kind:
            raise ConfigurationError(
                f"SHARED_DIR: {self._top} is on a network file system ({kind}); mapped files need a local one"
            )

    # --- mapping -----------------------------------------------------------------------------------------------------

    def map(self, root: bytes) -> MappedFile | None:
        """Map the file of a version; ``None``: there is none, or it is just being removed.

        Raises ``DamagedFile``, and ``ConfigurationError`` for a file that others may change.
        """
        path = self.of(root)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"SHARED_DIR: {path} cannot be read: {error.strerror}") from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"SHARED_DIR: {path} is not a regular file")
            _check_owner(path, status)
            if not _locked(descriptor, fcntl.LOCK_SH) or not os.fstat(descriptor).st_nlink:
                return None
            mapped = MappedFile(descriptor)
        except (OSError, ValueError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise DamagedFile(f"{path}: {error}") from error
        except DamagedFile as error:
            raise DamagedFile(f"{path}: {error}") from error
        finally:
            os.close(descriptor)
        if mapped.head.root != root:
            raise DamagedFile(f"{path}: it is the file of another version, {mapped.head.root.hex()}")
        return mapped

    # --- writing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def building(self, instead: int = 0) -> Iterator[bool]:
        """Be the one process of the host that makes files of this dataset, if no other one is.

        ``instead`` of so many that hang: of those processes who find that out one is enough, too.
        Raises :class:`ReadOnly` where this process must not, ``StoreFull`` and ``ConfigurationError``.
        """
        with self._told():
            make_directories(self.path)
            self.check()
            name = f"{instead}-{_LOCK}" if instead else _LOCK
            descriptor = os.open(
                os.path.join(self.path, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        try:
            got = _locked(descriptor, fcntl.LOCK_EX)
            try:
                yield got
            finally:
                if got:  # closing alone would leave it to a child that was forked meanwhile
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def put_off(self, root: bytes, until: float) -> None:
        """Note, while this is the process that makes files, that the file of a version is to be made later.

        So that not every process has to read what it consists of to come to the same. ``until``: on the monotonic
        clock, which is that of the host.
        """
        with suppress(OSError), open(os.path.join(self.path, _LOCK), "r+") as file:
            file.write(f"{root.hex()} {until:020.3f}\n")

    def is_put_off(self, root: bytes, now: float) -> bool:
        """Tell whether that was noted for a version, and the time has not come."""
        with suppress(OSError, ValueError), open(os.path.join(self.path, _LOCK)) as file:
            noted, until = file.readline().split()
            return noted == root.hex() and now < float(until)
        return False

    @contextmanager
    def new(self, root: bytes, size: int) -> Iterator[BinaryIO]:
        """Give a file that gets its name, whole and durable, at the end of the block, and is gone if that raises.

        ``size`` is what it will take, about, in bytes. Raises ``StoreFull``, :class:`ReadOnly`, ``ConfigurationError``.
        """
        with self._told():
            self._check_room(size)
            descriptor, name = tempfile.mkstemp(prefix=f"{root.hex()}.", suffix=PART, dir=self.path)
            try:
                with os.fdopen(descriptor, "w+b", buffering=1 << 20) as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                    os.replace(name, self.of(root))
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(name)
                raise

    def progress(self, root: bytes) -> tuple[tuple[str, int], ...]:
        """Return the names and sizes of the files that are being written for a version: they change while one is."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name.startswith(root.hex()) and entry.name.endswith(PART):
                    with suppress(FileNotFoundError):
                        found.append((entry.name, entry.stat(follow_symlinks=False).st_size))
        return tuple(sorted(found))

    def _check_room(self, size: int) -> None:
        disk = os.statvfs(self.path)
        free = disk.f_bavail * disk.f_frsize
        if free < size:
            raise StoreFull(f"SHARED_DIR: {self.path} has {free:,} bytes free, and the file takes about {size:,}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Name the setting in what the system says."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull(f"SHARED_DIR: {self.path}: {error.strerror}") from error
            if error.errno in _FORBIDDEN:
                raise ReadOnly(f"SHARED_DIR: this process must not write in {self.path}: {error.strerror}") from error
            if error.errno is None or isinstance(error, TimeoutError | ConnectionError):
                raise  # of a store
            raise ConfigurationError(f"SHARED_DIR: {self.path}: {error.strerror}") from error

    # --- removing ----------------------------------------------------------------------------------------------------

    def remove(self, root: bytes, inode: int) -> None:
        """Remove a file that is damaged, unless another one has its name by now. Whoever has mapped it keeps it."""
        with suppress(OSError):
            if os.stat(self.of(root), follow_symlinks=False).st_ino == inode:
                os.unlink(self.of(root))

    def tidy(self, keep: Collection[bytes]) -> int:
        """Remove files that nobody writes or maps, but for those of the versions to ``keep``; return how many."""
        kept = {root.hex() + ROWS for root in keep}
        removed = 0
        with suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name.endswith((ROWS, PART)) and entry.name not in kept:
                    removed += _remove_unused(entry.path)
        return removed


def _remove_unused(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if not _locked(descriptor, fcntl.LOCK_EX):
            return False
        os.unlink(path)
    except OSError:  # it is gone, or nobody may remove anything here
        return False
    finally:
        os.close(descriptor)
    return True


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_owner(path: str, status: os.stat_result) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(
            f"SHARED_DIR: {path} belongs to user id {status.st_uid}, this process runs as {os.geteuid()}; let all "
            "processes that share it run as its owner, or choose another directory"
        )
    if status.st_mode & 0o022:
        raise ConfigurationError(f"SHARED_DIR: {path} may be written by other users: chmod go-w it")
