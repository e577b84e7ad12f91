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
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from django_etcdaero.exceptions import ConfigurationError, EtcdAeroError, StoreFull
from django_etcdaero.system.sqlite.creation import make_directories
from django_etcdaero.system.sqlite.path import network_file_system

from .changes_form import MappedChanges
from .form import DamagedFile, MappedFile
from .stack import AnyFile, Stack

ROWS: Final = ".rows"
CHANGES: Final = ".changes"
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

    def changes_of(self, root: bytes) -> str:
        """Return the path of the file of changes of a version."""
        return os.path.join(self.path, root.hex() + CHANGES)

    def roots(self) -> list[bytes]:
        """Return the versions of which there is a file of either kind, the newest first."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                stem, kind = os.path.splitext(entry.name)
                if kind in (ROWS, CHANGES):
                    with suppress(ValueError, FileNotFoundError):
                        found.append((entry.stat(follow_symlinks=False).st_mtime_ns, bytes.fromhex(stem)))
        return list(dict.fromkeys(root for _, root in sorted(found, reverse=True)))

    def sizes(self) -> list[int]:
        """Return the sizes of all files of rows, in bytes."""
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            return [entry.stat().st_size for entry in entries if entry.name.endswith(ROWS)]
        return []

    def has_rows(self, root: bytes) -> bool:
        """Tell whether there is a file of rows of a version."""
        return os.path.exists(self.of(root))

    def has(self, stack: Stack) -> bool:
        """Tell whether the files of a version are still there under their names, for others to map."""
        return all(self._is_at(path, file) for file, path in self.paths(stack))

    def paths(self, stack: Stack) -> list[tuple[AnyFile, str]]:
        """Return the files of a version, and where they are."""
        layers: list[tuple[AnyFile, str]] = [(layer, self.changes_of(layer.head.root)) for layer in stack.layers]
        return [(stack.base, self.of(stack.base.head.root)), *layers]

    @staticmethod
    def _is_at(path: str, file: AnyFile) -> bool:
        try:
            return os.stat(path, follow_symlinks=False).st_ino == file.inode
        except OSError:
            return False

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

    def map(self, root: bytes, held: Stack | None = None) -> Stack | None:
        """Map the files of a version; ``None``: there are none, or they are just being removed.

        Of ``held``, which is mapped already, is taken what belongs to it. Raises ``DamagedFile``, after the file was
        removed, and ``ConfigurationError`` for a file that others may change.
        """
        known = self._known(held)
        return self._layered(root, known) or self._alone(root, known)

    def map_rows(self, root: bytes) -> MappedFile | None:
        """Map the file of rows of a version. Raises as :meth:`map` does."""
        return self._rows(root, {})

    def _known(self, held: Stack | None) -> dict[str, AnyFile]:
        """Return files that are mapped already, by path."""
        return {} if held is None else {path: file for file, path in self.paths(held)}

    def _alone(self, root: bytes, known: Mapping[str, AnyFile]) -> Stack | None:
        base = self._rows(root, known)
        return None if base is None else Stack(base)

    def _layered(self, root: bytes, known: Mapping[str, AnyFile]) -> Stack | None:
        top = self._changes(root, known)
        base = None if top is None else self._rows(top.head.base, known)
        if top is None or base is None:
            return None
        if base.head.blocks != top.head.blocks:
            self.remove(self.changes_of(root), top.inode)
            raise DamagedFile(f"{self.changes_of(root)}: it lies over a file with another number of blocks")
        layers, below = [], base.head.root
        for each in (*top.roots_below(), root):
            layer = top if each == root else self._changes(each, known)
            if layer is None or layer.since != below:  # it was removed, or made anew from another version
                return None
            layers.append(layer)
            below = each
        return Stack(base, layers)

    def _rows(self, root: bytes, known: Mapping[str, AnyFile]) -> MappedFile | None:
        file = self._mapped(self.of(root), root, MappedFile, known)
        return file if isinstance(file, MappedFile) else None

    def _changes(self, root: bytes, known: Mapping[str, AnyFile]) -> MappedChanges | None:
        file = self._mapped(self.changes_of(root), root, MappedChanges, known)
        return file if isinstance(file, MappedChanges) else None

    def _mapped(
        self, path: str, root: bytes, kind: Callable[[int], AnyFile], known: Mapping[str, AnyFile]
    ) -> AnyFile | None:
        held = known.get(path)
        if held is not None and held.damaged is None and self._is_at(path, held):
            return held
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"SHARED_DIR: {path} cannot be read: {error.strerror}") from error
        inode = 0
        try:
            status = os.fstat(descriptor)
            inode = status.st_ino
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"SHARED_DIR: {path} is not a regular file")
            _check_owner(path, status)
            if not _locked(descriptor, fcntl.LOCK_SH) or not os.fstat(descriptor).st_nlink:
                return None
            mapped = kind(descriptor)
            if mapped.head.root != root:
                raise DamagedFile(f"it is the file of another version, {mapped.head.root.hex()}")
        except ConfigurationError:
            raise
        except OSError as error:
            raise DamagedFile(f"{path}: {error}") from error
        except (DamagedFile, ValueError) as error:
            self.remove(path, inode)
            raise DamagedFile(f"{path}: {error}") from error
        finally:
            os.close(descriptor)
        return mapped

    # --- writing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def folding(self) -> Iterator[bool]:
        """Be the one process of the host that folds layers of this dataset, if no other one is. Raises as
        :meth:`building` does."""
        with self._alone_with(f"folding-{_LOCK}") as got:
            yield got

    @contextmanager
    def building(self, instead: int = 0) -> Iterator[bool]:
        """Be the one process of the host that makes files of this dataset, if no other one is.

        ``instead`` of so many that hang: of those processes who find that out one is enough, too.
        Raises :class:`ReadOnly` where this process must not, ``StoreFull`` and ``ConfigurationError``.
        """
        with self._alone_with(f"{instead}-{_LOCK}" if instead else _LOCK) as got:
            yield got

    @contextmanager
    def _alone_with(self, name: str) -> Iterator[bool]:
        with self._told():
            make_directories(self.path)
            self.check()
            descriptor = os.open(
                os.path.join(self.path, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        owner = os.getpid()
        try:
            got = _locked(descriptor, fcntl.LOCK_EX)
            try:
                yield got
            finally:
                if got and os.getpid() == owner:  # closing alone would leave it to a child that was forked meanwhile
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
    def new(self, path: str, size: int, *, durable: bool = True) -> Iterator[BinaryIO]:
        """Give a file that gets its ``path``, whole, at the end of the block, and is gone if that raises.

        ``size`` is what it will take, about, in bytes. ``durable``: it is whole on the disk then, whatever happens to
        the host. Raises ``StoreFull``, :class:`ReadOnly`, ``ConfigurationError``.
        """
        with self._told():
            self._check_room(size)
            owner = os.getpid()  # a child that was forked meanwhile may let go of this, and is not to undo it
            descriptor, name = tempfile.mkstemp(prefix=f"{Path(path).stem}.", suffix=PART, dir=self.path)
            try:
                with os.fdopen(descriptor, "w+b", buffering=1 << 20) as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    yield file
                    file.flush()
                    os.fchmod(file.fileno(), stat.S_IRUSR)  # whoever opens it to write, or to cut it, has to mean it
                    if durable:
                        os.fsync(file.fileno())
                    os.replace(name, path)
            except BaseException:
                if os.getpid() == owner:
                    with suppress(FileNotFoundError):
                        os.unlink(name)
                raise

    @staticmethod
    def sync(file: BinaryIO) -> None:
        """Bring to the disk what was written so far."""
        file.flush()
        os.fdatasync(file.fileno())

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

    def remove(self, path: str, inode: int) -> None:
        """Remove a file that is damaged, unless another one has its name by now. Whoever has mapped it keeps it."""
        with suppress(OSError):
            if os.stat(path, follow_symlinks=False).st_ino == inode:
                os.unlink(path)

    def tidy(self, keep: Collection[bytes], held: Stack | None = None) -> int:
        """Remove files that nobody writes or maps, but for those of the versions to ``keep``; return how many.

        ``held`` as for :meth:`map`.
        """
        known = self._known(held)
        kept = {os.path.basename(path) for root in keep for path in self._files_of(root, known)}
        removed = 0
        with suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name.endswith((ROWS, CHANGES, PART)) and entry.name not in kept:
                    removed += _remove_unused(entry.path)
        return removed

    def _files_of(self, root: bytes, known: Mapping[str, AnyFile]) -> list[str]:
        """Return the paths of the files that a version may be mapped from."""
        found = [self.of(root), self.changes_of(root)]
        with suppress(EtcdAeroError):
            top = self._changes(root, known)
            if top is not None:
                found += [self.of(top.head.base), *map(self.changes_of, top.roots_below())]
        return found


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
