"""A file that is seen under its name only when it is whole and durable."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO


class NewFile:
    """A file beside ``path`` that takes its place by :meth:`commit`; gone at the end of the ``with`` block if not.

    Nobody but its owner may read it. ``file`` is open for writing from the beginning of the block until then.
    """

    file: BinaryIO

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> NewFile:
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
