"""Deltas: the rows that changed from one version to the next, in records beside the blocks.

A change of some rows is stored as one delta, or as several when it is long. There are two plain forms of a delta:

* row by row, a MessagePack array ``[upserts, deletions]``: ``upserts`` is ``[key, row, key, row, …]`` and ``deletions``
  is ``[key, …]``;
* field by field, the byte 0xC1, with which nothing begins in MessagePack, and an array ``[deletions, part, part, …]``.
  Each part is a binary of the plain form of a block (:mod:`.partition`) of some hundred rows, one of short rows where
  that can be. If none can be, the delta is written row by row.

Rows and deletions are sorted by the encodings of their keys, and no key is there twice. A change is cut where a record
would have more than ``PART_BYTES``; no key is in two deltas of one change. Equal changes give equal deltas.

The rows of a version are those of its blocks, with its deltas applied in their order: rows are put under their keys,
and what was deleted goes. Keys are told apart by their encodings. So that two keys which are different there are never
equal in a ``dict``, as 1 and 1.0 are, only keys of some types can be changed (:func:`check_keys`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgpack

from django_etcdaero.exceptions import DuplicateKey, EncodeError, RecordTooBig, ResponseError
from django_etcdaero.records.store import batches
from django_etcdaero.system.real_dates import real_class

from .codec import DELTA_CODEC, PACKING_ERRORS, ROWS_CODEC, Encoder, array_header
from .compression import MAX_PLAIN_BYTES, STORED_OVERHEAD, store_form
from .digests import Kind, digest_of
from .explain import shown
from .keys import KeyCheck
from .row_class import RowClass, row_class
from .row_encoding import PART_BYTES
from .row_shapes import columns_of
from .short_rows import ColumnsOf, write
from .short_values import kinds_of
from .stored_as import as_plain

MARK: Final = b"\xc1"
"""What a delta begins with that is written field by field."""

KEY_TYPES: Final = frozenset((str, bytes, int, UUID, real_class(date), timedelta, type(None)))
"""Of these, keys that have different encodings are different keys; and so are tuples of them."""

_HEADERS: Final = 32  # at most: of the record, of its two lists, and of a part
_CHUNK: Final = 256


class Change(NamedTuple):
    """A change, encoded."""

    upserts: Mapping[bytes, bytes]
    """Encoded rows by encoded key."""
    deletions: Collection[bytes]
    """Encoded keys."""


@dataclass(frozen=True, slots=True)
class EncodedDelta:
    """A delta, ready to be stored."""

    digest: bytes
    plain: bytes
    codec: int = ROWS_CODEC
    """What older code has to read, to read it."""

    def stored(self) -> bytes:
        """Return the bytes to store under ``digest``. Compresses at each call."""
        return store_form(self.plain)


def check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys of types of which changes cannot be told. Raises ``EncodeError`` naming the first."""
    if KEY_TYPES.issuperset(map(type, keys)):
        return
    for key in keys:
        if not _can_change(as_plain(key)):
            raise EncodeError(
                f"row {shown(key)}: a dataset with load_changes() has keys of the types str, bytes, int, UUID, date and"
                " timedelta, or tuples of them; others can be equal although they are stored as different ones"
            )


def _can_change(key: Any) -> bool:
    kind = type(key)
    if kind is tuple:
        return all(map(_can_change, key))
    return kind in KEY_TYPES or real_class(kind) in KEY_TYPES


def encode_change(
    upserts: Mapping[Any, Any],
    deletions: Collection[Any],
    *,
    max_value_bytes: int,
    row_type: type[Any] | None = None,
) -> Change:
    """Encode a change; ``max_value_bytes`` is the store's limit for a record, ``row_type`` the class of the rows.

    Raises ``EncodeError`` for a key or row that cannot be stored, ``DuplicateKey`` for a key that is in both, and
    ``RecordTooBig`` for a row that does not fit in a record.
    """
    check_keys(upserts)
    check_keys(deletions)
    limit = _limit(max_value_bytes)
    made = None if row_type is None else row_class(row_type)
    encoder = Encoder()
    check = KeyCheck(encoder.zones)
    found: dict[bytes, bytes] = {}
    for keys in batches(upserts, _CHUNK):
        rows = [upserts[key] for key in keys]
        if made is not None:
            rows = _checked(made, keys, rows)
        encoded_keys, encoded_rows = encoder.encode(keys, rows)
        check.check_keys(keys, encoded_keys)
        check.check_rows(keys, rows, partial(_same, encoded_rows))
        found.update(zip(encoded_keys, encoded_rows, strict=True))
        for key, encoded_key, row in zip(keys, encoded_keys, encoded_rows, strict=True):
            if len(encoded_key) + len(row) > limit:
                size = len(encoded_key) + len(row)
                raise RecordTooBig(
                    f"row {shown(key)} takes {size:,} bytes; a record of this store holds at most {limit:,}"
                )
    named = list(deletions)
    gone = dict(zip(encoder.encode(named, [None] * len(named))[0], named, strict=True))
    for encoded_key in found.keys() & gone.keys():
        raise DuplicateKey(f"the key {gone[encoded_key]!r} is among the upserts and the deletions of one change")
    return Change(found, gone.keys())


def cut(
    change: Change,
    rows: Mapping[Any, Any] | None = None,
    *,
    max_value_bytes: int,
    row_type: type[Any] | None = None,
) -> list[EncodedDelta]:
    """Return the deltas of a change; none for one that is empty.

    ``rows``: those of its upserts by key, in the same order, if they may be written field by field; ``row_type`` and
    ``max_value_bytes`` as in :func:`encode_change`.
    """
    limit = min(PART_BYTES, _limit(max_value_bytes))
    encoded = change.upserts
    if rows is None:
        pieces = [_Piece([key + encoded[key]]) for key in sorted(encoded)]
    else:
        own = dict(zip(encoded, rows.items(), strict=True))
        fields_of = columns_of if row_type is None else row_class(row_type).columns_of
        encoder = Encoder()
        pieces = [_piece(chunk, encoded, own, fields_of, encoder) for chunk in _chunks(encoded, limit)]
    made: list[EncodedDelta] = []
    some: list[_Piece] = []
    deletions: list[bytes] = []
    size = 0
    items: list[_Piece | bytes] = [*pieces, *sorted(change.deletions)]
    for item in items:
        length = len(item) if isinstance(item, bytes) else item.size
        if size and size + length > limit:
            made.append(_encoded(some, deletions))
            some, deletions, size = [], [], 0
        if isinstance(item, bytes):
            deletions.append(item)
        else:
            some.append(item)
        size += length
    if size:
        made.append(_encoded(some, deletions))
    return made


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows that stay together."""

    pairs: Sequence[bytes]
    """Keys and rows, encoded."""
    short: bytes | None = None
    """The same rows as a block of short rows, if they can be one."""

    @property
    def size(self) -> int:
        """How long it is, but for headers."""
        return sum(map(len, self.pairs)) if self.short is None else len(self.short)

    @property
    def part(self) -> bytes:
        """The plain form of a block."""
        return array_header(2 * len(self.pairs)) + b"".join(self.pairs) if self.short is None else self.short


def _chunks(encoded: Mapping[bytes, bytes], limit: int) -> Iterator[list[bytes]]:
    """Yield the encoded keys, sorted, so many together as make a piece."""
    chunk: list[bytes] = []
    size = 0
    for key in sorted(encoded):
        length = len(key) + len(encoded[key])
        if chunk and (len(chunk) == _CHUNK or size + length > limit):
            yield chunk
            chunk, size = [], 0
        chunk.append(key)
        size += length
    if chunk:
        yield chunk


def _piece(
    chunk: Sequence[bytes],
    encoded: Mapping[bytes, bytes],
    own: Mapping[bytes, tuple[Any, Any]],
    fields_of: ColumnsOf,
    encoder: Encoder,
) -> _Piece:
    keys, rows = zip(*map(own.__getitem__, chunk), strict=True)
    pairs = [key + encoded[key] for key in chunk]
    try:
        short = write(keys, rows, encoder, columns_of=fields_of)
    except (*PACKING_ERRORS, ResponseError):  # it was written row by row
        short = None
    longer = short is None or len(short) > sum(map(len, pairs))
    return _Piece(pairs, None if longer else short)


def _checked(made: RowClass, keys: Sequence[Any], rows: Sequence[Any]) -> list[Any]:
    """Return rows with a dict in place of each instance. Raises ``EncodeError`` for what does not fit."""
    plain = made.plain(rows)
    found = made.columns_of(rows)
    if found is None:
        made.check(keys, plain)
    else:
        made.check_columns(keys, *found, list(map(kinds_of, found[1])))
    return plain


def _same(encoded: Sequence[bytes]) -> Sequence[bytes]:
    return encoded


def _limit(max_value_bytes: int) -> int:
    return min(max_value_bytes - STORED_OVERHEAD, MAX_PLAIN_BYTES) - _HEADERS


def _encoded(pieces: Sequence[_Piece], deletions: Sequence[bytes]) -> EncodedDelta:
    pairs = [pair for piece in pieces for pair in piece.pairs]
    keys = array_header(len(deletions)) + b"".join(deletions)
    plain, codec = array_header(2) + array_header(2 * len(pairs)) + b"".join(pairs) + keys, ROWS_CODEC
    if not all(piece.short is None for piece in pieces):
        parts = [_binary(piece.part) for piece in pieces]
        by_fields = MARK + array_header(1 + len(parts)) + keys + b"".join(parts)
        if len(by_fields) < len(plain):
            plain, codec = by_fields, DELTA_CODEC
    return EncodedDelta(digest_of(Kind.DELTA, plain), plain, codec)


_binary: Callable[[bytes], bytes] = msgpack.Packer(buf_size=PART_BYTES).pack
