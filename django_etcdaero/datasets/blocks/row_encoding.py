"""Rows to what is kept of them on their way to their blocks, some hundred at a time."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from typing import Any, Final
from zlib import crc32

from django_etcdaero.exceptions import RecordTooBig

from . import short_rows
from .compression import MAX_PLAIN_BYTES, STORED_OVERHEAD
from .content import row_digest
from .explain import shown
from .gathering import Gathering
from .key_hashes import hashes_of
from .order import Cutter
from .row_digests import RowDigests

PART_BYTES: Final = 128 * 1024
"""Plain size at which a block is cut; decoding so much takes one to three milliseconds, holding the GIL."""

_HEADER_BYTES: Final = 5


def gathering_of(
    *, max_value_bytes: int, by_fields: bool | None = None, row_type: type[Any] | None = None
) -> Gathering:
    """Return what takes rows and gives blocks; the arguments are those of :func:`.partition.partition`."""
    longest = min(PART_BYTES, longest_body(max_value_bytes))
    by_fields = short_rows.BY_FIELDS if by_fields is None else by_fields
    return Gathering(by_fields=by_fields, longest=longest, row_type=row_type)


def longest_body(max_value_bytes: int) -> int:
    """Return how many bytes the rows of a record may take; ``max_value_bytes`` is the store's limit for a record."""
    return min(max_value_bytes - STORED_OVERHEAD, MAX_PLAIN_BYTES) - _HEADER_BYTES


class RowEncoding:
    """Encodes the rows of a version as they come, some hundred at a time.

    The arguments are those of :func:`.partition.partition`; ``digests`` is what those of the rows are added to.
    """

    def __init__(
        self,
        *,
        max_value_bytes: int,
        ordered: bool = False,
        digests: RowDigests | None = None,
        by_fields: bool | None = None,
        row_type: type[Any] | None = None,
    ) -> None:
        self.digests = digests
        self.gathering = gathering_of(max_value_bytes=max_value_bytes, by_fields=by_fields, row_type=row_type)
        self._limit = longest_body(max_value_bytes)
        self._cutter = Cutter(self.gathering.longest) if ordered else None

    def add(self, keys: Sequence[Any], rows: Sequence[Any]) -> tuple[Sequence[int], list[bytes]]:
        """Take rows that follow each other: return the hash by which each finds its block, and what is kept of it.

        Raises ``EncodeError`` and ``RecordTooBig``.
        """
        gathering = self.gathering
        encoded = gathering.keys(keys)
        kept = gathering.rows(keys, encoded, rows)
        if self.digests is not None:
            pairs = map(add, encoded, gathering.one_by_one(keys, rows))
            self.digests.add(encoded, [row_digest(pair) for pair in pairs])
        checksums = list(map(crc32, encoded))
        if self._cutter is not None:
            self._cutter.add(encoded, checksums)
        _refuse_too_big(keys, gathering.sizes(keys, kept, rows, self._limit), self._limit)
        return hashes_of(checksums), kept

    def whole_chunks(self) -> list[tuple[bytes, int]]:
        """Return the chunks of the order that are whole by now, and that were not returned before."""
        return [] if self._cutter is None else self._cutter.whole()

    def chunks(self) -> list[tuple[bytes, int]]:
        """Return the chunks of the order that were not returned before, when all rows were added."""
        return [] if self._cutter is None else self._cutter.chunks()


def _refuse_too_big(keys: Sequence[Any], sizes: Sequence[int], limit: int) -> None:
    for key, size in zip(keys, sizes, strict=False):
        if size > limit:
            raise RecordTooBig(f"row {shown(key)} takes {size:,} bytes; a record of this store holds at most {limit:,}")
