"""Bytes that do not stay in memory: a file without a name, which is gone with the process, however that ends."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, MutableMapping
from typing import BinaryIO, Final
from weakref import finalize

from django_etcdaero.exceptions import ConfigurationError, StoreFull

_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class TemporaryBytes:
    """Keeps bytes in a file that nobody else can open, made when the first are added.

    ``directory`` is where it is; empty: where the system has its temporary files. ``setting`` is what says so, for
    errors. For one thread at a time. Closed by :meth:`close`, or with the last reference to it.
    """

    def __init__(self, directory: str = "", *, setting: str) -> None:
        self._directory = directory
        self._setting = setting
        self._file: BinaryIO | None = None
        self.size = 0
        """Bytes in it."""

    def add(self, data: bytes) -> int:
        """Append bytes and return where they begin.

        Raises ``StoreFull`` where there is no room for them, ``ConfigurationError`` where no file can be.
        """
        begin, rest = self.size, memoryview(data)
        try:
            if self._file is None:  # without a name from the beginning, where the file system can do that; mode 0600
                self._file = tempfile.TemporaryFile(dir=self._directory or None, buffering=0)  # noqa: SIM115
                self._closing = finalize(self, self._file.close)
            while rest:
                written = os.pwrite(self._file.fileno(), rest, self.size)
                self.size += written
                rest = rest[written:]
        except OSError as error:
            raise self._told(error) from error
        return begin

    def read(self, begin: int, length: int) -> bytes:
        """Return bytes that were added. Raises ``ConfigurationError`` for a file that cannot be read any more."""
        if self._file is None:
            return b""
        parts: list[bytes] = []
        try:
            while length:
                part = os.pread(self._file.fileno(), length, begin)
                if not part:
                    raise OSError(errno.EIO, "it is shorter than what was written")
                parts.append(part)
                begin += len(part)
                length -= len(part)
        except OSError as error:
            raise self._told(error) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Give the room back."""
        if self._file is not None:
            self._file = None
            self._closing()

    def another(self) -> TemporaryBytes:
        """Return another file in the same directory."""
        return TemporaryBytes(self._directory, setting=self._setting)

    def _told(self, error: OSError) -> StoreFull | ConfigurationError:
        try:
            directory = self._directory or tempfile.gettempdir()
        except FileNotFoundError as nowhere:  # no directory of the system may be written to
            return ConfigurationError(f"{self._setting}: {nowhere.strerror}")
        if error.errno not in _FULL:
            return ConfigurationError(f"{self._setting}: {directory}: {error.strerror}")
        return StoreFull(
            f"{self._setting}: {directory}: {error.strerror} ({_free(directory)}{self.size:,} bytes were written): make"
            " room there, or name a directory on another disk"
        )


class TemporaryValues(MutableMapping[bytes, bytes]):
    """Bytes by name, of which only the names are in memory. Raises as :class:`TemporaryBytes`, which is ``file``."""

    def __init__(self, file: TemporaryBytes) -> None:
        self._file = file
        self._places: dict[bytes, tuple[int, int]] = {}

    def __setitem__(self, name: bytes, value: bytes) -> None:
        self._places[name] = (self._file.add(value), len(value))

    def __getitem__(self, name: bytes) -> bytes:
        return self._file.read(*self._places[name])

    def __delitem__(self, name: bytes) -> None:
        del self._places[name]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _free(directory: str) -> str:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return ""
    return f"{disk.f_bavail * disk.f_frsize:,} bytes are free; "
