"""Rows that come one after the other, and of which there may be more than fit in memory.

Each is checked and encoded as it comes. What is kept of it goes to a file (:mod:`.row_ranges`), from which blocks are
made when all rows are there: the same as :func:`.partition.partition` makes of the same rows in a ``dict``.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final

from django_etcdaero.exceptions import EncodeError
from django_etcdaero.system.temporary_bytes import TemporaryBytes

from .codec import Encoder
from .difference import Side
from .equal_keys import KeyHashes
from .frozen import freeze
from .key_hashes import hash_of
from .pairs import Pairs
from .partition import CHUNK, EncodedBlock, block_count, block_of_kept, chunks_of_order
from .row_class import row_class
from .row_digests import RowDigests
from .row_encoding import RowEncoding
from .row_ranges import RANGES, RowRanges, range_of

_CHUNK_BYTES: Final = 4 << 20
"""What rows that are encoded together may take, about."""
_RANGES_HELD: Final = 2
"""Ranges that are held for look-ups, as they are kept."""
_BLOCKS_HELD: Final = 1024
"""Blocks that are held for look-ups, decoded."""


class EqualKeys(Exception):
    """Two keys are equal: ``first`` and ``second``."""

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__(f"the keys {first!r} and {second!r} are equal")
        self.first = first
        self.second = second


class RowStream:
    """Takes the rows of a version and gives them as :class:`StreamedRows`.

    ``file`` is where they are meanwhile. ``check`` is called with keys as they come, and may raise. The other arguments
    are those of :func:`.partition.partition`.
    """

    def __init__(
        self,
        file: TemporaryBytes,
        *,
        max_value_bytes: int,
        ordered: bool = False,
        digests: RowDigests | None = None,
        by_fields: bool | None = None,
        row_type: type[Any] | None = None,
        check: Callable[[Sequence[Any]], object] | None = None,
    ) -> None:
        self._file = file
        self._check = check
        self._row_type = row_type
        self._instances = row_type is not None
        self._encoding = RowEncoding(
            max_value_bytes=max_value_bytes, ordered=ordered, digests=digests, by_fields=by_fields, row_type=row_type
        )
        self._ranges = RowRanges(file)
        self._hashes = KeyHashes(file)
        self._chunks: list[tuple[int, int, int]] = []
        self.at_once = CHUNK
        """How many rows to give together."""
        self.count = 0
        """Rows so far."""

    def add(self, keys: Sequence[Any], rows: Sequence[Any]) -> None:
        """Take rows that follow each other, ``at_once`` of them.

        Keys can be hashed. Raises ``EncodeError``, ``RecordTooBig``, and as :meth:`.TemporaryBytes.add`.
        """
        if not keys:
            return
        if self._check is not None:
            self._check(keys)
        self._hashes.add(map(hash, keys))
        hashes, kept = self._encoding.add(keys, rows)
        self._ranges.add(hashes, kept)
        self._keep(self._encoding.whole_chunks())
        self._instances = self._instances and type(rows[0]) is self._row_type
        self.at_once = max(1, min(CHUNK, _CHUNK_BYTES * len(kept) // sum(map(len, kept))))
        self.count += len(keys)

    def _keep(self, chunks: Iterable[tuple[bytes, int]]) -> None:
        self._chunks += [(self._file.add(plain), len(plain), keys) for plain, keys in chunks]

    def close(self) -> None:
        """Give the room back."""
        self._file.close()

    def done(self) -> StreamedRows:
        """Return the rows, when all were taken. Raises as :meth:`add` does, and :class:`EqualKeys`."""
        self._keep(self._encoding.chunks())
        rows = StreamedRows(
            self._file,
            self._ranges,
            self._encoding,
            self.count,
            self._chunks,
            row_type=self._row_type if self._instances else None,
        )
        repeated = self._hashes.repeated()
        if repeated:
            rows.refuse_equal_keys(repeated)
        return rows


class StreamedRows(Pairs):
    """The rows of a stream: what blocks are made of, and a mapping for validators.

    As a mapping its rows are read-only, and in the order of the blocks, which says nothing. Going through all of them
    reads them from the file bit by bit; a look-up reads the part where the row is, and is fast for keys that are near
    each other in that order, in which the rows of every version of a dataset come. A key is found by its encoding: 1.0
    does not find 1.
    """

    def __init__(
        self,
        file: TemporaryBytes,
        ranges: RowRanges,
        encoding: RowEncoding,
        count: int,
        chunks: Sequence[tuple[int, int, int]],
        *,
        row_type: type[Any] | None,
    ) -> None:
        self._file = file
        self._ranges = ranges
        self._encoding = encoding
        self._count = count
        self._chunks = chunks
        self._row_class = None if row_type is None else row_class(row_type)
        self._encoder = Encoder()
        self._blocks = block_count(count)
        self._held_ranges: OrderedDict[int, dict[int, list[bytes]]] = OrderedDict()
        self._held: OrderedDict[int, dict[Any, Any]] = OrderedDict()

    def close(self) -> None:
        """Give the room back: nothing can be read any more."""
        self._file.close()

    def another_file(self) -> TemporaryBytes:
        """Return a file for what else does not stay in memory; it is not closed with this one."""
        return self._file.another()

    # --- blocks ------------------------------------------------------------------------------------------------------

    def partition(self, previous_count: int | None, *, by_fields: bool = True) -> StreamedPartition:
        """Return the blocks; ``previous_count``: as for :func:`.partition.partition`.

        ``by_fields``: whether rows may still be written field by field, if they might when the rows came.
        """
        if not by_fields:
            self._encoding.gathering.writes_by_fields = False
        return StreamedPartition(self, block_count(self._count, previous_count))

    def encoded(self, count: int, numbers: Iterable[int] | None = None) -> Iterator[EncodedBlock]:
        """Yield the blocks, of ``count``, in their order; ``numbers``: only those with rows of these ranges."""
        for index, kept in self._ranges.blocks(count, numbers):
            yield from block_of_kept(index, kept, self._encoding.gathering)

    @property
    def digests(self) -> RowDigests | None:
        """Those of the rows, if they were asked for."""
        return self._encoding.digests

    def order(self) -> Iterator[EncodedBlock]:
        """Yield the chunks of the order of the rows, if that is kept."""
        return chunks_of_order((self._file.read(begin, length), keys) for begin, length, keys in self._chunks)

    def side(self, previous_count: int) -> Side:
        """Return the version that they make, to be compared with one that has ``previous_count`` blocks.

        Blocks are made twice: to know their names, and when they are looked at.
        """
        count = block_count(self._count, previous_count)
        indices: list[int] = []
        names: list[bytes] = []
        for block in self.encoded(count):
            indices.append(block.index)
            names.append(block.digest)
        where = dict(zip(names, indices, strict=True))
        read: dict[bytes, bytes] = {}

        def plain(digests: Collection[bytes]) -> dict[bytes, bytes]:
            found = {digest: read[digest] for digest in digests if digest in read}
            wanted = {digest for digest in digests if digest not in found}
            if wanted:
                numbers = sorted({where[digest] * RANGES // count for digest in wanted})
                read.clear()
                for block in self.encoded(count, numbers):
                    if block.digest in wanted:
                        found[block.digest] = block.plain
                    elif block.index * RANGES // count == numbers[-1]:  # they are asked for in their order
                        read[block.digest] = block.plain
            return found

        return Side(count, indices, names, plain)

    # --- rows --------------------------------------------------------------------------------------------------------

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Yield key and row of all, a block at a time."""
        for _, kept in self._ranges.blocks(self._blocks):
            yield from zip(*self._rows(kept), strict=True)

    def _rows(self, kept: Sequence[bytes]) -> tuple[Sequence[Any], Sequence[Any]]:
        keys, rows = self._encoding.gathering.restored(kept)
        if self._row_class is not None:
            return keys, self._row_class.made(keys, rows, frozen=True)
        return keys, [freeze(row) for row in rows]

    def __getitem__(self, key: Any) -> Any:
        try:
            encoded = self._encoder.keys((key,))[0]
        except EncodeError:
            raise KeyError(key) from None
        place = hash_of(encoded)
        index = place >> (33 - self._blocks.bit_length())
        block = self._held.get(index)
        if block is None:
            kept = self._range(range_of(place)).get(index)
            block = {} if kept is None else dict(zip(*self._rows(kept), strict=True))
            self._held[index] = block
            if len(self._held) > _BLOCKS_HELD:
                self._held.popitem(last=False)
        return block[key]

    def _range(self, number: int) -> dict[int, list[bytes]]:
        held = self._held_ranges.get(number)
        if held is None:
            held = self._held_ranges[number] = dict(self._ranges.blocks(self._blocks, (number,)))
            if len(self._held_ranges) > _RANGES_HELD:
                self._held_ranges.popitem(last=False)
        return held

    def __iter__(self) -> Iterator[Any]:
        for _, kept in self._ranges.blocks(self._blocks):
            yield from self._encoding.gathering.restored(kept)[0]

    def __len__(self) -> int:
        return self._count

    def refuse_equal_keys(self, hashes: set[int]) -> None:
        """Look for equal keys among those with these hashes. Raises :class:`EqualKeys`."""
        found: dict[Any, None] = {}
        met: Counter[int] = Counter()
        for key in self:
            if hash(key) in hashes:
                _refuse_equal((*found, key) if key in found else ())
                found[key] = None
                met[hash(key)] += 1
        if any(met[each] < 2 for each in hashes):
            # A time zone that is another one when it is read: keys that were equal are at least stored as the same.
            for _, kept in self._ranges.blocks(self._blocks):
                keys = self._encoding.gathering.restored(kept)[0]
                _refuse_equal(keys if len(set(keys)) < len(keys) else ())


def _refuse_equal(keys: Sequence[Any]) -> None:
    first: dict[Any, Any] = {}
    for key in keys:
        if key in first:
            raise EqualKeys(first[key], key)
        first[key] = key


class StreamedPartition:
    """The blocks of streamed rows; as :class:`.partition.Partition`."""

    def __init__(self, rows: StreamedRows, count: int) -> None:
        self._rows = rows
        self.count = count
        """Number of blocks, empty ones included."""
        self.rows = len(rows)

    @property
    def digests(self) -> RowDigests | None:
        """Those of the rows, if they were asked for."""
        return self._rows.digests

    @cached_property
    def order(self) -> Iterable[EncodedBlock]:
        """The chunks of the order of the rows, if that is kept."""
        return self._rows.order()

    def __iter__(self) -> Iterator[EncodedBlock]:
        return self._rows.encoded(self.count)
