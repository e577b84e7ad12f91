"""The file of changes: what makes the rows of one version of those of another one, which are in a file of rows.

It lies over a file of rows, and perhaps over further files of changes, which it names. Its entries are those of a file
of rows (:mod:`.form`), in the same order and found in the same way; of a row that is gone there is the key alone.
Together the files of changes over a file of rows are its *layers*: each one is a few times as large as the one above
it, so that a change is written together with a few rows of the changes before it, and there are never many of them.

==============  ====================================================================================================
section         what is in it
==============  ====================================================================================================
header          :class:`ChangesHead`, and the digest of it and of all sections but the data
data ... firsts as in a file of rows
numbers         the blocks that rows of this layer are in, or that have another name (4 bytes each)
names           their names, or :data:`UNKNOWN` (20 bytes each)
other ...       as in a file of rows
flags           a bit for each of the hashes' first bits: whether a row with such a hash is in this layer or one below
                it. So whoever looks for a row looks at the layers only where it may be in one
below           the versions whose layers are below this one, the lowest first (20 bytes each)
==============  ====================================================================================================
"""

from __future__ import annotations

import struct
import sys
from typing import Final, NamedTuple

from django_etcdaero.datasets.blocks.digests import DIGEST_BYTES

from .form import (
    HEADER_BYTES,
    DamagedFile,
    Mapped,
    Section,
    bucket_bits,
    common_sections,
    digests_in,
    may_be,
    padded,
)

MAGIC: Final = b"etcdaero" + (b"<" if sys.byteorder == "little" else b">") + b"diff\x00\x00\x01"
_HEAD: Final = struct.Struct("=16s20s20sQQIIIIHBB")
UNKNOWN: Final = b"\xff" * DIGEST_BYTES
"""The name of a block whose rows have changed, and of which it is not known how it is made up: no block has it."""
MOST_LAYERS: Final = 32
"""Layers over one file of rows."""
FLAG_BITS: Final = range(10, 30)
"""How many bits of a hash may say which flag is its own."""


class ChangesHead(NamedTuple):
    """What the header of a file of changes says."""

    root: bytes
    """Digest of the root of the version that it brings to."""
    base: bytes
    """That of the version whose file of rows it lies over."""
    data_end: int
    """Where the data ends: a multiple of 8."""
    rows: int
    """How many the version has."""
    entries: int
    others: int
    blocks: int
    """How many the file of rows has; not all 2 ** 32 of them."""
    named: int
    """Blocks that are named."""
    below: int
    """Layers below this one."""
    flag_bits: int
    ordered: int
    """1: the order that the file of rows keeps is that of this version."""

    @property
    def bucket_bits(self) -> int:
        """How many bits of a hash say its bucket."""
        return bucket_bits(self.entries)

    def sections(self) -> list[Section]:
        """Return what stands behind the data."""
        return [
            *common_sections(self.entries),
            Section("numbers", "I", self.named),
            Section("names", "B", DIGEST_BYTES * self.named),
            Section("other_hashes", "I", self.others),
            Section("other_entries", "I", self.others),
            Section("flags", "B", 1 << self.flag_bits >> 3),
            Section("below", "B", DIGEST_BYTES * self.below),
        ]

    def packed(self) -> bytes:
        """Return the header without its digest."""
        return padded(_HEAD.pack(MAGIC, *self))

    @classmethod
    def unpacked(cls, data: bytes) -> ChangesHead:
        """Return what is in a header. Raises ``DamagedFile`` for anything that cannot be one."""
        if len(data) != HEADER_BYTES or data[: len(MAGIC)] != MAGIC:
            raise DamagedFile("it does not begin as a file of changes does, or another version has written it")
        head = cls(*_HEAD.unpack_from(data)[1:])
        if (
            not may_be(head, data)
            or head.named > head.blocks
            or head.below >= MOST_LAYERS
            or head.flag_bits not in FLAG_BITS
        ):
            raise DamagedFile("its header makes no sense")
        return head


class MappedChanges(Mapped[ChangesHead]):
    """A file of changes. Raises as :class:`.form.Mapped` does."""

    numbers: memoryview
    flags: memoryview
    below: memoryview

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, ChangesHead.unpacked)

    def roots_below(self) -> list[bytes]:
        """Return the versions whose layers are below this one, the lowest first."""
        return digests_in(self.below)

    @property
    def since(self) -> bytes:
        """The version that it makes another one of."""
        return self.roots_below()[-1] if self.head.below else self.head.base
