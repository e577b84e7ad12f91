"""A file that is seen under its name only when it is whole and durable."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO


def is_replaceable(path: Path) -> bool:
    """Tell whether a file may take the place of what ``path`` leads to: a file, or nothing yet.

    A device or a pipe (``/dev/stdout``, ``/dev/null``, that of a shell) would be gone for everybody. Raises
    ``IsADirectoryError``, and what else keeps it from being looked at.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return stat.S_ISREG(mode)


class NewFile:
    """A file beside ``path`` that takes its place by :meth:`commit`; gone at the end of the ``with`` block if not.

    Nobody but its owner may read it. ``file`` is open for writing from the beginning of the block until then. A link
    stays one: it is the file where it leads to that is replaced. Raises ``OSError`` where no file can be.
    """

    file: BinaryIO

    def __init__(self, path: Path) -> None:
        self._given = path

    def __enter__(self) -> NewFile:
        if not is_replaceable(self._given):
            raise OSError(errno.EINVAL, "is a device or a pipe, which no file may replace", str(self._given))
        self._path = Path(os.path.realpath(self._given))
        # mkstemp gives it the mode 0600: there may be secrets in what is written.
        number, self._name = tempfile.mkstemp(prefix=f".{self._path.name}.", suffix=".part", dir=self._path.parent)
        self.file = os.fdopen(number, "wb")
        return self

    def commit(self) -> None:
        """Make what was written durable and put it in its place. Raises ``OSError``."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        os.replace(self._name, self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)  # so that a power cut does not take the new name back
        finally:
            os.close(directory)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a full disk again, at the last flush: the error under way has said so
            self.file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._name)
