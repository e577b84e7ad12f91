"""Whether two of many keys are equal, found without holding the keys.

What is kept of a key is its hash, of 64 bits, by the rest that a prime leaves of it, in a file. Keys that are equal
have equal hashes, however different they look (1, 1.0 and True). The few that only have equal hashes (-1 and -2) are
told apart by whoever has the keys.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Final

from django_etcdaero.system.temporary_bytes import TemporaryBytes

_PARTS: Final = 509
_BUFFERED: Final = 1 << 20
"""Hashes in memory before they go to the file: 8 MB."""


class KeyHashes:
    """Takes the hashes of keys."""

    def __init__(self, file: TemporaryBytes) -> None:
        self._file = file
        self._parts = [array("q") for _ in range(_PARTS)]
        self._written: list[list[tuple[int, int]]] = [[] for _ in range(_PARTS)]
        self._buffered = 0

    def add(self, hashes: Iterable[int]) -> None:
        """Take some. Raises as :meth:`.TemporaryBytes.add` does."""
        parts, count = self._parts, 0
        for count, each in enumerate(hashes, 1):  # noqa: B007 - the last one is how many there were
            parts[each % _PARTS].append(each)
        self._buffered += count
        if self._buffered > _BUFFERED:
            self._write()

    def _write(self) -> None:
        data = [part.tobytes() for part in self._parts]
        begin = self._file.add(b"".join(data))
        for written, each in zip(self._written, data, strict=True):
            written.append((begin, len(each)))
            begin += len(each)
        self._parts = [array("q") for _ in range(_PARTS)]
        self._buffered = 0

    def repeated(self) -> set[int]:
        """Return the hashes that came more than once."""
        found: set[int] = set()
        for number, rest in enumerate(self._parts):
            part = array("q")
            for begin, length in self._written[number]:
                part.frombytes(self._file.read(begin, length))
            part += rest
            if len(set(part)) != len(part):
                found.update(each for each, times in Counter(part).items() if times > 1)
        return found
