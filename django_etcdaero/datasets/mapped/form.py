"""The file that the processes of a host map: its sections, written once, and checked when it is mapped.

It is read where it lies, by an entry's number. Entries are sorted by a hash of their encoded keys (:func:`.keys.mixed`)
whose upper bits are the number of the row's block: so entries of a block stand together, and a file is written block
by block, in one pass. All numbers are those of the machine.

==============  ====================================================================================================
section         what is in it
==============  ====================================================================================================
header          :class:`Head`, and the digest of it and of all sections but the data
data            each entry's encoded key, and behind it its encoded row (:mod:`django_etcdaero.datasets.blocks.codec`)
offsets         where each entry begins, and where the last one ends (8 bytes each)
hashes          of each entry, and a last one that none is greater than (4 bytes each)
checks          CRC-32 of each entry's data, looked at whenever it is read (4 bytes each)
firsts          the first entry of each bucket: of the hashes that begin with its number (4 bytes each)
starts          the first entry of each block (4 bytes each)
names           what tells whether a block is the same in another version (20 bytes each)
other hashes    of the usual forms of keys that are not in theirs, sorted (4 bytes each), and ...
other entries   ... the entries that these are of (4 bytes each)
order           the entries in the order of the rows, where the dataset keeps one (4 bytes each)
==============  ====================================================================================================

Nothing of it is believed before the digest and the size fit; then only the data can be damaged, and each entry of that
is checked when it is read. A file is never changed once it has its name, nor cut short: a process that touched a page
beyond its end would be killed.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, Final, Generic, Literal, NamedTuple, NoReturn, Protocol, TypeVar
from zlib import crc32

import msgpack

from django_etcdaero.datasets.blocks.codec import decode
from django_etcdaero.datasets.blocks.digests import DIGEST_BYTES
from django_etcdaero.exceptions import CorruptBlock

from .keys import mixed

MAGIC: Final = b"etcdaero" + (b"<" if sys.byteorder == "little" else b">") + b"rows\x00\x00\x01"
"""The last byte is the version of this form."""
_HEAD: Final = struct.Struct("=16s20s4xQQQQQ")
_DIGEST_BYTES: Final = 32
HEADER_BYTES: Final = 128
_STEP: Final = 1 << 20
_RELEASED: Final = 4 << 20
MOST_ENTRIES: Final = 2**32 - 2


class DamagedFile(CorruptBlock):
    """A mapped file is not what was written."""


class Section(NamedTuple):
    """A part of a file."""

    name: str
    kind: Literal["B", "I", "Q"]
    """Of its numbers, as ``memoryview.cast`` has it."""
    numbers: int
    """How many it has."""

    @property
    def length(self) -> int:
        """Its bytes."""
        return _SIZES[self.kind] * self.numbers


_SIZES: Final = {kind: struct.calcsize(f"={kind}") for kind in "BIQ"}


def bucket_bits(entries: int) -> int:
    """Return how many bits of a hash say its bucket, so that one or two of so many entries are in each."""
    return (entries >> 1).bit_length()


def common_sections(entries: int) -> list[Section]:
    """Return the sections that files of rows and files of changes begin with."""
    return [
        Section("offsets", "Q", entries + 1),
        Section("hashes", "I", entries + 1),
        Section("checks", "I", entries),
        Section("firsts", "I", (1 << bucket_bits(entries)) + 1),
    ]


class AnyHead(Protocol):
    """What the header of a file says, whichever kind of file it is."""

    @property
    def root(self) -> bytes: ...
    @property
    def entries(self) -> int: ...
    @property
    def others(self) -> int: ...
    @property
    def blocks(self) -> int: ...
    @property
    def ordered(self) -> int: ...
    @property
    def data_end(self) -> int: ...
    @property
    def bucket_bits(self) -> int: ...
    def sections(self) -> list[Section]:
        """Return what stands behind the data."""

    def packed(self) -> bytes:
        """Return the header without its digest."""


class Head(NamedTuple):
    """What the header of a file of rows says."""

    root: bytes
    """Digest of the root of the version that it was made of."""
    entries: int
    """Rows."""
    blocks: int
    """A power of two."""
    data_end: int
    """Where the data ends: a multiple of 8."""
    others: int
    """Entries whose keys are not in their usual form."""
    ordered: int
    """1: the order of the rows is kept."""

    @property
    def bucket_bits(self) -> int:
        """How many bits of a hash say its bucket: one or two entries are in each."""
        return bucket_bits(self.entries)

    def sections(self) -> list[Section]:
        """Return what stands behind the data."""
        entries, others = self.entries, self.others
        return [
            *common_sections(entries),
            Section("starts", "I", self.blocks + 1),
            Section("names", "B", DIGEST_BYTES * self.blocks),
            Section("other_hashes", "I", others),
            Section("other_entries", "I", others),
            Section("order", "I", entries * self.ordered),
        ]

    def packed(self) -> bytes:
        """Return the header without its digest."""
        return padded(_HEAD.pack(MAGIC, *self))

    @classmethod
    def unpacked(cls, data: bytes) -> Head:
        """Return what is in a header. Raises ``DamagedFile`` for anything that cannot be one."""
        if len(data) != HEADER_BYTES or data[: len(MAGIC)] != MAGIC:
            raise DamagedFile("it does not begin as a file of rows does, or another version has written it")
        head = cls(*_HEAD.unpack_from(data)[1:])
        if not may_be(head, data) or head.blocks > 1 << 32:
            raise DamagedFile("its header makes no sense")
        return head


def may_be(head: AnyHead, data: bytes) -> bool:
    """Tell whether ``data`` is this header, and what it says of entries, blocks and data can be."""
    return (
        head.others <= head.entries <= MOST_ENTRIES
        and head.ordered <= 1
        and head.blocks.bit_count() == 1
        and head.data_end % 8 == 0
        and head.data_end >= HEADER_BYTES
        and data.startswith(head.packed())
    )


def padded(packed: bytes) -> bytes:
    """Return a packed header at the length at which its digest stands."""
    return packed.ljust(HEADER_BYTES - _DIGEST_BYTES, b"\0")


def digest_begun(head: AnyHead) -> blake2b:
    """Return the digest of the header, to be updated with all sections but the data."""
    return blake2b(head.packed(), digest_size=_DIGEST_BYTES)


H = TypeVar("H", bound=AnyHead)


class Mapped(Generic[H]):
    """A file that is mapped, for as long as anybody holds this object or one of its sections.

    ``descriptor`` is that of the file, which the mapping takes a copy of: so a lock on it (``flock``) lasts as long as
    the mapping, in this process and in its children. ``unpacked`` reads its header. Raises ``DamagedFile`` and
    ``OSError``.
    """

    offsets: memoryview
    hashes: memoryview
    checks: memoryview
    firsts: memoryview
    names: memoryview
    other_hashes: memoryview
    other_entries: memoryview

    def __init__(self, descriptor: int, unpacked: Callable[[bytes], H]) -> None:
        self.damaged: str | None = None
        """What is wrong with it, once that has turned out."""
        self.on_damage: Callable[[], object] | None = None
        """To be called then, once. It must not hold this object: the mapping would outlive its last user."""
        status = os.fstat(descriptor)
        size, self.inode = status.st_size, status.st_ino
        self.head = head = unpacked(os.pread(descriptor, HEADER_BYTES, 0))
        sections = head.sections()
        whole_size = head.data_end + sum(section.length for section in sections)
        if whole_size != size:
            raise DamagedFile(f"it has {size:,} bytes, and its header says {whole_size:,}")
        self.data = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        self.size = size
        whole = memoryview(self.data)
        digest = digest_begun(head)
        for begin in range(head.data_end, size, _STEP):  # a step at a time, each without the interpreter's lock
            digest.update(whole[begin : begin + _STEP])
        if digest.digest() != whole[HEADER_BYTES - _DIGEST_BYTES : HEADER_BYTES]:
            raise DamagedFile("its sections have another digest")
        begin = head.data_end
        for section in sections:
            part = whole[begin : begin + section.length]
            setattr(self, section.name, part if section.kind == "B" else part.cast(section.kind))
            begin += section.length

    def pair(self, entry: int) -> bytes:
        """Return the data of an entry, after checking it. Raises ``DamagedFile``."""
        pair = self.data[self.offsets[entry] : self.offsets[entry + 1]]
        if crc32(pair) != self.checks[entry]:
            self.refuse(entry)
        return pair

    def refuse(self, entry: int) -> NoReturn:
        """Say that an entry is damaged: note it, tell of it, raise ``DamagedFile``."""
        reason = f"the mapped file is damaged: entry {entry:,} has another checksum"
        if self.damaged is None:
            self.damaged = reason
            if self.on_damage is not None:
                self.on_damage()
        raise DamagedFile(reason)

    def find(self, packed: bytes) -> int:
        """Return the entry with an encoded key; -1: there is none. Raises ``DamagedFile``."""
        hashed, length = mixed(packed), len(packed)
        entry = self.firsts[hashed >> (32 - self.head.bucket_bits)]
        hashes, offsets = self.hashes, self.offsets
        while hashes[entry] < hashed:
            entry += 1
        try:
            while hashes[entry] == hashed:
                begin = offsets[entry]
                if self.data[begin : begin + length] == packed:  # MessagePack is prefix-free: so it is the whole key
                    return entry
                self.pair(entry)  # the key of another row, if it is not damaged
                entry += 1
        except IndexError:  # a hash that is the greatest there is
            pass
        return -1

    def find_others(self, key: Any, packed: bytes) -> Iterator[tuple[int, int]]:
        """Yield the entries of keys that are equal to ``key`` and stored in another form, and the lengths of these.

        ``packed`` is the usual form of ``key``.
        """
        hashed, others = mixed(packed), self.head.others
        at = bisect_left(self.other_hashes, hashed)
        while at < others and self.other_hashes[at] == hashed:
            entry = self.other_entries[at]
            stored = first_of(self.pair(entry))
            if decode(stored, frozen=True) == key:
                yield entry, len(stored)
            at += 1

    def release(self) -> None:
        """Give up the pages that this process has touched, a few at a time: they come back when they are read.

        Unmapping many at once would stop every other thread for some milliseconds.
        """
        for begin in range(0, self.size, _RELEASED):
            self.data.madvise(mmap.MADV_DONTNEED, begin, min(_RELEASED, self.size - begin))


class MappedFile(Mapped[Head]):
    """A file of rows."""

    starts: memoryview
    order: memoryview

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, Head.unpacked)

    def names_of_blocks(self) -> list[bytes]:
        """Return the name of each block."""
        return digests_in(self.names)


def digests_in(joined: memoryview) -> list[bytes]:
    """Return digests that were joined."""
    whole = bytes(joined)
    return [whole[begin : begin + DIGEST_BYTES] for begin in range(0, len(whole), DIGEST_BYTES)]


def first_of(pair: bytes) -> bytes:
    """Return the encoded key with which the data of an entry begins."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(pair)
    unpacker.skip()
    return pair[: unpacker.tell()]
