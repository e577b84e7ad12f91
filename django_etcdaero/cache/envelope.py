"""How an entry is laid out in its record: a header that says how to read the rest, and the rest.

::

    magic 2 | format 1 | flags 1 | serializer 1 | compressor 1 | length of the fields 2 | created 8 | expires 8
    fields: (kind 1 | length 2 | bytes) …
    signature 16, if the flags say so
    body

Whole numbers are big endian, times are seconds since the epoch as IEEE doubles; ``expires`` is infinite when only the
store's time to live counts. A reader takes every serializer and compressor that it knows, whatever it writes itself, so
that either can be changed while entries of before are there. A format that it does not know is a miss.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

MAGIC: Final = b"\xebC"
FORMAT: Final = 1

TOMBSTONE: Final = 1
"""Flag: the entry was deleted, where a record that is removed may come back."""
SIGNED: Final = 2
"""Flag: a signature stands before the body."""

TAG: Final = 1
"""Field: the stamp of a tag (8 bytes), and its name."""
KEY: Final = 2
"""Field: the key, where the record's is a digest of it."""
PARTS: Final = 3
"""Field: the body stands in other records: their name (8 bytes), how many, and the length of all (4 bytes each)."""

UNTIL: Final = 4
"""Field: when a stale value is gone (8 bytes, as ``expires``). The store's time to live would not do: it is told in
whole seconds, rounded up, and so would never end for a value that is written again and again."""

STAMP_BYTES: Final = 8
SIGNATURE_BYTES: Final = 16

HEAD: Final = struct.Struct(">2sBBBBHdd")
TIME: Final = struct.Struct(">d")
EXPIRES_AT: Final = HEAD.size - TIME.size
"""Where ``expires`` stands."""
_FIELD: Final = struct.Struct(">BH")
_PARTS: Final = struct.Struct(">8sII")
_MAX_FIELDS: Final = 0xFFFF
TAG_OVERHEAD: Final = _FIELD.size + STAMP_BYTES
"""Bytes that a tag takes beside its name."""
MAX_HEADER_FIELDS: Final = _MAX_FIELDS - 3 * _FIELD.size - _PARTS.size - TIME.size
"""Bytes that tags, and a key that is no record's, may take together, whatever else the header has."""
MAX_PARTS: Final = 0xFFFF
"""Of one entry. What a record says is not yet checked when its parts are fetched."""

NEVER: Final = float("inf")


class Parts(NamedTuple):
    """Where a body stands that is too large for one record."""

    name: bytes
    """Eight random bytes, new for each write."""
    number: int
    """How many there are."""
    length: int
    """Of all parts together, in bytes."""


class Envelope(NamedTuple):
    """What a record says of its entry."""

    serializer: int
    compressor: int
    created: float
    """Seconds since the epoch."""
    body: bytes
    expires: float = NEVER
    """Seconds since the epoch from which on the entry has expired, although its record may still be there."""
    tags: tuple[tuple[str, bytes], ...] = ()
    """Tags, and the stamp that each had when the entry was written."""
    key: str = ""
    """The key of the entry, unless it is the record's."""
    parts: Parts | None = None
    tombstone: bool = False
    signature: bytes | None = None
    until: float = NEVER
    """Seconds since the epoch from which on it does not count as a stale value either."""

    def signed_parts(self) -> tuple[bytes, bytes]:
        """Return what a signature is made of: header and fields, and the body."""
        return self._head(signed=True), self.body

    def pack(self) -> bytes:
        """Return the bytes of the record. Raises ``ValueError`` if tags and key are too long for a header."""
        if self.signature is None:
            return self._head(signed=False) + self.body
        return self._head(signed=True) + self.signature + self.body

    def _head(self, *, signed: bool) -> bytes:
        fields = b""
        if self.tags or self.key or self.parts is not None or self.until != NEVER:
            fields = self._packed_fields()
        flags = (TOMBSTONE if self.tombstone else 0) | (SIGNED if signed else 0)
        head = HEAD.pack(
            MAGIC, FORMAT, flags, self.serializer, self.compressor, len(fields), self.created, self.expires
        )
        return head + fields

    def _packed_fields(self) -> bytes:
        fields = [(TAG, stamp + name.encode("utf-8", "surrogatepass")) for name, stamp in self.tags]
        if self.key:
            fields.append((KEY, self.key.encode("utf-8", "surrogatepass")))
        if self.parts is not None:
            fields.append((PARTS, _PARTS.pack(*self.parts)))
        if self.until != NEVER:
            fields.append((UNTIL, TIME.pack(self.until)))
        size = sum(_FIELD.size + len(data) for _, data in fields)
        if size > _MAX_FIELDS:
            raise ValueError(f"tags and key of an entry take {size} bytes, allowed are {_MAX_FIELDS}")
        return b"".join(_FIELD.pack(kind, len(data)) + data for kind, data in fields)


def unpack(record: bytes) -> Envelope | None:
    """Read a record; ``None``: it is not an entry, or is one of a newer format, or is cut off."""
    if len(record) < HEAD.size:
        return None
    magic, version, flags, serializer, compressor, length, created, expires = HEAD.unpack_from(record)
    if magic != MAGIC or version != FORMAT or flags & ~(TOMBSTONE | SIGNED):
        return None
    position = HEAD.size + length
    tags: tuple[tuple[str, bytes], ...] = ()
    key, parts, until = "", None, NEVER
    if length:
        try:
            tags, key, parts, until = _read_fields(record[HEAD.size : position])
        except (ValueError, struct.error):
            return None
    signature = None
    if flags & SIGNED:
        signature = record[position : position + SIGNATURE_BYTES]
        position += SIGNATURE_BYTES
    if len(record) < position:
        return None
    return Envelope(
        serializer,
        compressor,
        created,
        record[position:],
        expires,
        tags,
        key,
        parts,
        bool(flags & TOMBSTONE),
        signature,
        until,
    )


def _read_fields(data: bytes) -> tuple[tuple[tuple[str, bytes], ...], str, Parts | None, float]:
    tags: list[tuple[str, bytes]] = []
    key, parts, until = "", None, NEVER
    position = 0
    while position < len(data):
        kind, length = _FIELD.unpack_from(data, position)
        position += _FIELD.size
        field = data[position : position + length]
        if len(field) < length:
            raise ValueError("a field is cut off")
        position += length
        if kind == TAG:
            tags.append((field[STAMP_BYTES:].decode("utf-8", "surrogatepass"), field[:STAMP_BYTES]))
        elif kind == KEY:
            key = field.decode("utf-8", "surrogatepass")
        elif kind == PARTS:
            parts = Parts(*_PARTS.unpack(field))
            if parts.number > MAX_PARTS:
                raise ValueError(f"nobody writes {parts.number} parts")
        elif kind == UNTIL:
            (until,) = TIME.unpack(field)
        else:
            raise ValueError(f"there is no field of kind {kind}")
    return tuple(tags), key, parts, until
