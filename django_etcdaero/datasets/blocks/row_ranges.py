"""Encoded rows of which there may be more than fit in memory, by ranges of the hash that says in which block each is.

They are buffered, and what is buffered of each range goes to a file, compressed, when there is enough. When all rows
are there, and so the number of blocks is known, range after range is read back: a range is some whole blocks, or a part
of one, since both numbers are powers of two.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import lz4.block
import msgpack

from django_etcdaero.system.temporary_bytes import TemporaryBytes

RANGES: Final = 512
"""A power of two. With 10,000,000 rows about 20,000 are in each."""
_SHIFT: Final = 33 - RANGES.bit_length()
BUFFER: Final = 32 << 20
"""Bytes that rows may take in memory before they go to the file."""
_EACH: Final = 64
"""Bytes that a row takes in memory beside its own, about: the head of an object, a place in a list, a hash."""


class RowRanges:
    """Takes what is kept of rows, with the hash of each (:func:`.key_hashes.hash_of`), and gives it block by block.

    They stay until the file is closed, and can be read again and again.
    """

    def __init__(self, file: TemporaryBytes, *, buffer: int = BUFFER) -> None:
        self._file = file
        self._most = buffer
        self._buffered = 0
        self._frames: list[list[tuple[int, int]]] = [[] for _ in range(RANGES)]
        self._hashes = [array("I") for _ in range(RANGES)]
        self._rows: list[list[bytes]] = [[] for _ in range(RANGES)]

    def add(self, hashes: Sequence[int], rows: Sequence[bytes]) -> None:
        """Take rows. Raises as :meth:`.TemporaryBytes.add` does."""
        by_hash, by_row = self._hashes, self._rows
        for each, row in zip(hashes, rows, strict=True):
            at = each >> _SHIFT
            by_hash[at].append(each)
            by_row[at].append(row)
        self._buffered += sum(map(len, rows)) + _EACH * len(rows)
        if self._buffered > self._most:
            self._write()

    def _write(self) -> None:
        pack, compress = msgpack.Packer().pack, lz4.block.compress
        frames: list[bytes] = []
        bounds: list[tuple[int, int, int]] = []
        at = 0
        for number, rows in enumerate(self._rows):
            if rows:
                frame = compress(pack((self._hashes[number].tobytes(), rows)))
                bounds.append((number, at, len(frame)))
                frames.append(frame)
                at += len(frame)
                self._hashes[number] = array("I")
                self._rows[number] = []
        begin = self._file.add(b"".join(frames))
        for number, at, length in bounds:
            self._frames[number].append((begin + at, length))
        self._buffered = 0

    def read(self, number: int) -> tuple[Sequence[int], list[bytes]]:
        """Return the rows of a range, in the sequence in which they came, with the hash of each."""
        hashes, rows = array("I"), list[bytes]()
        for begin, length in self._frames[number]:
            some_hashes, some = msgpack.unpackb(lz4.block.decompress(self._file.read(begin, length)))
            hashes.frombytes(some_hashes)
            rows += some
        hashes += self._hashes[number]
        rows += self._rows[number]
        return hashes, rows

    def blocks(self, count: int, numbers: Iterable[int] | None = None) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the number of each block, of ``count`` (a power of two), and its rows, sorted; empty ones are left out.

        ``numbers``: only the blocks in which the rows of these ranges are, ascending.
        """
        shift, done = 33 - count.bit_length(), -1
        for first in range(RANGES) if numbers is None else numbers:
            if first <= done:
                continue
            done = first
            hashes, rows = self.read(first)
            if count < RANGES:
                first -= first % (RANGES // count)
                done = first + RANGES // count - 1
                hashes, rows = array("I"), []
                for number in range(first, done + 1):
                    some_hashes, some = self.read(number)
                    hashes.extend(some_hashes)
                    rows += some
                found: dict[int, list[bytes]] = {first * count // RANGES: rows} if rows else {}
            else:
                found = {}
                for each, row in zip(hashes, rows, strict=True):
                    found.setdefault(each >> shift, []).append(row)
            del hashes, rows
            for index in sorted(found):
                # MessagePack encodings are prefix-free: sorting key + row together sorts by the key's encoding.
                yield index, sorted(found.pop(index))


def range_of(each: int) -> int:
    """Return the number of the range in which rows with this hash are."""
    return each >> _SHIFT
