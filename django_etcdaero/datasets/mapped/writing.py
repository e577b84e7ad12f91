"""Writing the file of a version, block by block, in one pass: see :mod:`.form`.

What is kept in memory meanwhile are the sections behind the data: about 20 bytes a row.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import BinaryIO, Final
from zlib import crc32

from django_etcdaero.datasets.blocks.digests import DIGEST_BYTES
from django_etcdaero.exceptions import CorruptBlock

from .form import HEADER_BYTES, MOST_ENTRIES, Head, MappedFile, digest_begun
from .keys import mixed, other_forms

_STEP: Final = 1 << 20
_NO_NAME: Final = bytes(DIGEST_BYTES)


class Writer:
    """Writes the version with this ``root`` and so many ``blocks`` to a new, empty ``file``.

    Blocks are added in their order. Nothing of the file is of any use before :meth:`finish`.
    """

    def __init__(self, file: BinaryIO, *, root: bytes, blocks: int) -> None:
        self._file = file
        self._root = root
        self._blocks = blocks
        self._shift = 33 - blocks.bit_length()
        self._offsets = array("Q", (HEADER_BYTES,))
        self._hashes, self._checks, self._starts = array("I"), array("I"), array("I")
        self._names = bytearray()
        self._others: list[tuple[int, int]] = []
        self._base: MappedFile | None = None
        file.write(bytes(HEADER_BYTES))

    @property
    def entries(self) -> int:
        """How many rows were written."""
        return len(self._hashes)

    def add(self, block: int, name: bytes, keys: Sequence[bytes], rows: Sequence[bytes]) -> None:
        """Write a block of encoded keys and rows. Raises ``CorruptBlock`` for keys that cannot be in it."""
        self._begin(block, name)
        hashes = list(map(mixed, keys))
        in_order = sorted(range(len(keys)), key=hashes.__getitem__)
        if any(hashed >> self._shift != block for hashed in hashes):
            raise CorruptBlock(f"block {block} has a row that belongs to another block")
        if len(set(keys)) != len(keys):
            raise CorruptBlock(f"block {block} has two rows with one key")
        if self.entries + len(keys) > MOST_ENTRIES:
            raise CorruptBlock(f"more than {MOST_ENTRIES:,} rows")
        pairs = [keys[index] + rows[index] for index in in_order]
        first, begin = self.entries, self._offsets[-1]
        self._hashes.extend([hashes[index] for index in in_order])
        self._checks.extend(map(crc32, pairs))
        self._offsets.extend([begin + length for length in accumulate(map(len, pairs))])
        self._file.write(b"".join(pairs))
        for index, form in other_forms([keys[index] for index in in_order]):
            self._others.append((mixed(form), first + index))

    def copy(self, base: MappedFile, block: int, until: int) -> None:
        """Write the blocks from ``block`` to before ``until`` as they are in another file with as many blocks.

        The data is copied as it is, its checks with it: what is damaged there is found when it is read here.
        """
        first, last = base.starts[block], base.starts[until]
        moved, grown = self.entries - first, self._offsets[-1] - base.offsets[first]
        names = base.names[block * DIGEST_BYTES : until * DIGEST_BYTES]
        self._begin(block, bytes(names[:DIGEST_BYTES]))
        self._starts.extend([start + moved for start in base.starts[block + 1 : until]])
        self._names += names[DIGEST_BYTES:]
        self._hashes.frombytes(base.hashes[first:last].cast("B"))
        self._checks.frombytes(base.checks[first:last].cast("B"))
        self._offsets.extend([offset + grown for offset in base.offsets[first + 1 : last + 1]])
        others = self._others_of(base)
        found = slice(bisect_left(others, (first, 0)), bisect_left(others, (last, 0)))
        self._others += [(form, entry + moved) for entry, form in others[found]]
        end = base.offsets[last]
        for begin in range(base.offsets[first], end, _STEP):
            self._file.write(base.data[begin : min(begin + _STEP, end)])

    def entry_of(self, key: bytes) -> int | None:
        """Return the entry with an encoded key, of those that were written."""
        hashed = mixed(key)
        entry = bisect_left(self._hashes, hashed)
        self._file.flush()
        while entry < self.entries and self._hashes[entry] == hashed:
            if os.pread(self._file.fileno(), len(key), self._offsets[entry]) == key:
                return entry
            entry += 1
        return None

    def finish(self, order: Iterable[int] | None = None) -> None:
        """Write all that stands behind the data, and the header. ``order``: the entries in the order of the rows."""
        self._begin(self._blocks, b"")
        end = -self._offsets[-1] % 8
        self._file.write(bytes(end))
        sequence = array("I") if order is None else array("I", order)
        head = Head(
            root=self._root,
            entries=self.entries,
            blocks=self._blocks,
            data_end=self._offsets[-1] + end,
            others=len(self._others),
            ordered=int(order is not None),
        )
        firsts = self._firsts(head.bucket_bits)
        self._others.sort()
        self._hashes.append(0xFFFFFFFF)
        sections: list[array[int] | bytearray] = [
            self._offsets,
            self._hashes,
            self._checks,
            firsts,
            self._starts,
            self._names,
            array("I", [form for form, _ in self._others]),
            array("I", [entry for _, entry in self._others]),
            sequence,
        ]
        digest = digest_begun(head)
        for section in sections:
            whole = memoryview(section).cast("B")
            for begin in range(0, len(whole), _STEP):
                digest.update(whole[begin : begin + _STEP])
                self._file.write(whole[begin : begin + _STEP])
        self._file.seek(0)
        self._file.write(head.packed() + digest.digest())
        self._file.flush()

    def _others_of(self, base: MappedFile) -> list[tuple[int, int]]:
        """Return the entries of a file whose keys are not in their usual form, in order, and the hashes of that."""
        if self._base is not base:
            self._base = base
            self._others_of_base = sorted(zip(base.other_entries, base.other_hashes, strict=True))
        return self._others_of_base

    def _begin(self, block: int, name: bytes) -> None:
        """Note where a block begins, and that those before it which were not written are empty."""
        empty = block - len(self._starts)
        if empty < 0:
            raise CorruptBlock(f"block {block} comes twice, or out of order")
        self._starts.extend([self.entries] * (empty + 1))
        self._names += _NO_NAME * empty + name

    def _firsts(self, bits: int) -> array[int]:
        """Return the first entry of each bucket."""
        firsts, shift = array("I"), 32 - bits
        for entry, hashed in enumerate(self._hashes):
            empty = (hashed >> shift) + 1 - len(firsts)
            if empty > 0:
                firsts.extend([entry] * empty)
        firsts.extend([self.entries] * ((1 << bits) + 1 - len(firsts)))
        return firsts
