"""Writing files of rows and of changes, in one pass: see :mod:`.form` and :mod:`.changes_form`.

What is kept in memory meanwhile are the sections behind the data: about 20 bytes a row.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby
from typing import Any, BinaryIO, Final, TypeAlias
from zlib import crc32

from django_etcdaero.datasets.blocks.digests import DIGEST_BYTES
from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.system.giving_way import GivingWay

from .form import HEADER_BYTES, MOST_ENTRIES, AnyHead, Head, Mapped, MappedFile, bucket_bits, digest_begun, first_of
from .keys import mixed, other_forms

_STEP: Final = 1 << 20
_AT_ONCE: Final = 4096

Part: TypeAlias = "array[int] | bytearray | bytes | memoryview"


class Entries:
    """What files of rows and of changes begin with, written to a new, empty ``file``. Entries come in the order of
    their hashes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.offsets = array("Q", (HEADER_BYTES,))
        self.hashes, self.checks = array("I"), array("I")
        self.others: list[tuple[int, int]] = []
        """Hash of the usual form, and entry."""
        self._source: Mapped[Any] | None = None
        self.give_way = GivingWay()
        file.write(bytes(HEADER_BYTES))

    def __len__(self) -> int:
        return len(self.hashes)

    def append(self, hashes: Sequence[int], keys: Sequence[bytes], pairs: Sequence[bytes]) -> None:
        """Write entries. Raises ``CorruptBlock`` when there are too many."""
        first, begin = len(self), self.offsets[-1]
        if first + len(keys) > MOST_ENTRIES:
            raise CorruptBlock(f"more than {MOST_ENTRIES:,} rows")
        self.hashes.extend(hashes)
        self.checks.extend(map(crc32, pairs))
        self.offsets.extend([begin + length for length in accumulate(map(len, pairs))])
        self._file.write(b"".join(pairs))
        for index, form in other_forms(keys):
            self.others.append((mixed(form), first + index))

    def copy(self, source: Mapped[Any], first: int, last: int) -> None:
        """Write the entries from ``first`` to before ``last`` of another file.

        The data is copied as it is, its checks with it: what is damaged there is found when it is read here.
        """
        if first == last:
            return
        moved, grown = len(self) - first, self.offsets[-1] - source.offsets[first]
        self.hashes.frombytes(source.hashes[first:last].cast("B"))
        self.checks.frombytes(source.checks[first:last].cast("B"))
        self.offsets.extend([offset + grown for offset in source.offsets[first + 1 : last + 1]])
        if source.head.others:
            others = self._others_of(source)
            found = slice(bisect_left(others, (first, 0)), bisect_left(others, (last, 0)))
            self.others += [(form, entry + moved) for entry, form in others[found]]
        end = source.offsets[last]
        for begin in range(source.offsets[first], end, _STEP):
            self._file.write(source.data[begin : min(begin + _STEP, end)])
        self.give_way()

    def merge(
        self, source: Mapped[Any], first: int, last: int, changes: Mapping[bytes, bytes | None], *, keep_gone: bool
    ) -> None:
        """Write the entries from ``first`` to before ``last`` of another file, with some rows in the place of others.

        ``changes``: encoded rows by encoded key, ``None`` for one that is gone, which is left out, or noted if that is
        to be kept. A row that takes the place of another one stands where that stood.
        """
        hashes, at = source.hashes, first
        ordered = sorted((mixed(key), key, row) for key, row in changes.items())
        for hashed, group in groupby(ordered, key=_hash_of):
            rows = {key: row for _, key, row in group}
            found = bisect_left(hashes, hashed, at, last)
            self.copy(source, at, found)
            at = found
            keys, pairs = [], []
            while at < last and hashes[at] == hashed:
                pair = source.pair(at)
                key = first_of(pair)
                if key in rows:
                    row = rows.pop(key)
                    pair = key + (row or b"")
                    if row is None and not keep_gone:
                        at += 1
                        continue
                keys.append(key)
                pairs.append(pair)
                at += 1
            for key, row in rows.items():
                if row is not None or keep_gone:
                    keys.append(key)
                    pairs.append(key + (row or b""))
            if keys:
                self.append([hashed] * len(keys), keys, pairs)
        self.copy(source, at, last)

    def entry_of(self, key: bytes) -> int | None:
        """Return the entry with an encoded key, of those that were written."""
        hashed = mixed(key)
        entry = bisect_left(self.hashes, hashed)
        self._file.flush()
        while entry < len(self) and self.hashes[entry] == hashed:
            if os.pread(self._file.fileno(), len(key), self.offsets[entry]) == key:
                return entry
            entry += 1
        return None

    def end_data(self) -> int:
        """Write what brings the end of the data to a multiple of 8, and return where that is."""
        filling = -self.offsets[-1] % 8
        self._file.write(bytes(filling))
        return self.offsets[-1] + filling

    def sections(self) -> list[Part]:
        """Return the sections that both kinds of files begin with."""
        firsts = self._firsts(bucket_bits(len(self)))
        hashes = self.hashes[:]
        hashes.append(0xFFFFFFFF)
        return [self.offsets, hashes, self.checks, firsts]

    def sections_of_others(self) -> list[Part]:
        """Return those of keys that are not in their usual form."""
        self.others.sort()
        return [array("I", [form for form, _ in self.others]), array("I", [entry for _, entry in self.others])]

    def write(self, head: AnyHead, sections: Iterable[Part]) -> None:
        """Write all that stands behind the data, and the header."""
        digest = digest_begun(head)
        for section in sections:
            whole = memoryview(section).cast("B")
            for begin in range(0, len(whole), _STEP):
                digest.update(whole[begin : begin + _STEP])
                self._file.write(whole[begin : begin + _STEP])
        self._file.seek(0)
        self._file.write(head.packed() + digest.digest())
        self._file.flush()

    def _others_of(self, source: Mapped[Any]) -> list[tuple[int, int]]:
        """Return the entries of a file whose keys are not in their usual form, in order, and the hashes of that."""
        if self._source is not source:
            self._source = source
            self._others_of_source = sorted(zip(source.other_entries, source.other_hashes, strict=True))
        return self._others_of_source

    def _firsts(self, bits: int) -> array[int]:
        """Return the first entry of each bucket."""
        firsts, shift = array("I"), 32 - bits
        for begin in range(0, len(self), _AT_ONCE):
            for entry, hashed in enumerate(self.hashes[begin : begin + _AT_ONCE], begin):
                empty = (hashed >> shift) + 1 - len(firsts)
                if empty > 0:
                    firsts.extend([entry] * empty)
            self.give_way()
        firsts.extend([len(self)] * ((1 << bits) + 1 - len(firsts)))
        return firsts


class Writer:
    """Writes the file of rows of the version with this ``root`` and so many ``blocks`` to a new, empty ``file``.

    Blocks are added in their order. Nothing of the file is of any use before :meth:`finish`.
    """

    def __init__(self, file: BinaryIO, *, root: bytes, blocks: int) -> None:
        self.rows = Entries(file)
        self._root = root
        self._blocks = blocks
        self._shift = 33 - blocks.bit_length()
        self._next = 0
        """The first block that was not written yet."""
        self.names = bytearray(DIGEST_BYTES * blocks)
        """Of all blocks, joined."""

    def add(self, block: int, name: bytes, keys: Sequence[bytes], rows: Sequence[bytes]) -> None:
        """Write a block of encoded keys and rows. Raises ``CorruptBlock`` for keys that cannot be in it."""
        self._begin(block, block + 1, name)
        hashes = list(map(mixed, keys))
        in_order = sorted(range(len(keys)), key=hashes.__getitem__)
        if any(hashed >> self._shift != block for hashed in hashes):
            raise CorruptBlock(f"block {block} has a row that belongs to another block")
        if len(set(keys)) != len(keys):
            raise CorruptBlock(f"block {block} has two rows with one key")
        self.rows.append(
            [hashes[index] for index in in_order],
            [keys[index] for index in in_order],
            [keys[index] + rows[index] for index in in_order],
        )

    def copy(self, base: MappedFile, block: int, until: int) -> None:
        """Write the blocks from ``block`` to before ``until`` as they are in another file with as many blocks."""
        self._begin(block, until, bytes(base.names[block * DIGEST_BYTES : until * DIGEST_BYTES]))
        self.rows.copy(base, base.starts[block], base.starts[until])

    def merge(self, base: MappedFile, block: int, until: int, changes: Mapping[bytes, bytes | None]) -> None:
        """Write those blocks with changes, which :meth:`Entries.merge` has, applied. Their names stay to be given."""
        self._begin(block, until, b"")
        self.rows.merge(base, base.starts[block], base.starts[until], changes, keep_gone=False)

    def finish(self, order: Iterable[int] | None = None) -> None:
        """Write all that stands behind the data, and the header. ``order``: the entries in the order of the rows."""
        rows = self.rows
        data_end = rows.end_data()
        sequence = array("I") if order is None else array("I", order)
        starts = array("I")
        for begin in range(0, self._blocks + 1, _AT_ONCE):
            blocks = range(begin, min(begin + _AT_ONCE, self._blocks + 1))
            starts.extend([bisect_left(rows.hashes, block << self._shift) for block in blocks])
            rows.give_way()
        head = Head(
            root=self._root,
            entries=len(rows),
            blocks=self._blocks,
            data_end=data_end,
            others=len(rows.others),
            ordered=int(order is not None),
        )
        rows.write(head, [*rows.sections(), starts, self.names, *rows.sections_of_others(), sequence])

    def _begin(self, block: int, until: int, names: bytes) -> None:
        """Note the names of blocks; those before them which were not written are empty."""
        if block < self._next:
            raise CorruptBlock(f"block {block} comes twice, or out of order")
        self._next = until
        self.names[block * DIGEST_BYTES : block * DIGEST_BYTES + len(names)] = names


def _hash_of(change: tuple[int, bytes, bytes | None]) -> int:
    return change[0]
