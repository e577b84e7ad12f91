"""The file of a backup: received, verified, made durable, then put in its place.

What a server sends is its database file followed by the SHA-256 of it. A file without the right checksum is cut off or
damaged; it never gets the name that was asked for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any

from django_etcdaero.exceptions import ResponseError
from django_etcdaero.system.new_file import NewFile

from .values import Backup, SnapshotProgress

_DIGEST_SIZE = hashlib.sha256().digest_size


class SnapshotFile:
    """A file beside ``path`` until :meth:`finish`; gone at the end of the ``with`` block if that was not reached."""

    def __init__(self, path: Path, progress: SnapshotProgress | None) -> None:
        self._path = path
        self._progress = progress
        self._new = NewFile(path)

    def __enter__(self) -> SnapshotFile:
        self._file = self._new.__enter__().file
        return self

    def begin(self) -> None:
        """Begin with an empty file, whatever was received before."""
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self._tail = b""
        self._size = 0

    def take(self, part: Any) -> None:
        """Append the ``blob`` of a message that says how many ``remaining_bytes`` are to come."""
        self.add(part.blob, part.remaining_bytes)

    def add(self, data: bytes, remaining: int) -> None:
        """Append ``data``, after which ``remaining`` bytes are to come."""
        self._file.write(data)
        self._size += len(data)
        # The last bytes may be the checksum, which is not part of what it is the checksum of.
        data = self._tail + data
        self._digest.update(data[:-_DIGEST_SIZE])
        self._tail = data[-_DIGEST_SIZE:]
        if self._progress is not None:
            self._progress(self._size, self._size + remaining)

    def finish(self, source: str) -> Backup:
        """Verify what was received from ``source`` and put it in its place.

        Raises ``ResponseError`` if it is not whole, ``OSError`` if it cannot be written.
        """
        if self._tail != self._digest.digest():
            raise ResponseError(
                f"the snapshot of {source} ({self._size} bytes) is cut off or damaged: its checksum does not fit"
            )
        self._new.commit()
        return Backup(self._path, self._size, self._tail.hex())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._new.__exit__(kind, error, traceback)
