"""The stored form of a record: one header byte, then the plain bytes as they are or compressed with LZ4.

======  ==============================================================================
header  followed by
======  ==============================================================================
0x10    the plain bytes
0x11    an LZ4 block with the plain length in front (4 bytes, little endian)
======  ==============================================================================

The high half of the header is the version of this form, the low half the compression. Compressed bytes depend on the
version of the LZ4 library, so nothing is ever named or compared by them.
"""

from __future__ import annotations

from collections.abc import Mapping

import lz4.block

from django_etcdaero.exceptions import CorruptBlock

from .digests import DamagedRecord, Kind, digest_of

RAW = 0x10
LZ4 = 0x11

STORED_OVERHEAD = 1
"""Bytes by which the stored form can be longer than the plain bytes."""

MAX_PLAIN_BYTES = 64 * 1024 * 1024
"""No record is larger, whatever the store would take: it bounds what a damaged length can make a reader allocate."""

_LENGTH_BYTES = 4
_MAX_RATIO = 255
"""LZ4 cannot compress better than this: a run takes one byte for each 255 bytes (LZ4 block format, "Matchlength")."""


def store_form(plain: bytes) -> bytes:
    """Return the stored form of ``plain``: compressed, unless that is not smaller."""
    compressed: bytes = lz4.block.compress(plain)
    if len(compressed) < len(plain):
        return b"\x11" + compressed
    return b"\x10" + plain


def plain_form(stored: bytes) -> bytes:
    """Undo :func:`store_form`. Raises ``DamagedRecord`` (without a digest) for anything that it cannot have made."""
    header = stored[0] if stored else None
    if header == RAW:
        return stored[1:]
    if header != LZ4:
        shown = "nothing" if header is None else f"0x{header:02x}"
        raise DamagedRecord(f"unknown stored form (header {shown}): damaged, or written by a newer version")
    body = memoryview(stored)[1:]
    length = int.from_bytes(body[:_LENGTH_BYTES], "little")
    if len(body) < _LENGTH_BYTES or length > min(MAX_PLAIN_BYTES, _MAX_RATIO * len(body)):
        raise DamagedRecord(f"a stored record of {len(stored)} bytes claims to hold {length} bytes")
    try:
        plain: bytes = lz4.block.decompress(body)
    except (lz4.block.LZ4BlockError, ValueError) as error:
        raise DamagedRecord(f"a stored record does not decompress: {error}") from error
    return plain


def verified(kind: Kind, digest: bytes, stored: bytes) -> bytes:
    """Return the plain bytes of a stored record after checking them against its name.

    Raises ``DamagedRecord``, with the digest, when they are not what the name says.
    """
    try:
        plain = plain_form(stored)
    except DamagedRecord as error:
        raise DamagedRecord.of(kind, digest, error) from error
    if digest_of(kind, plain) != digest:
        raise DamagedRecord.of(kind, digest, "its content has another digest")
    return plain


def damaged(kinds: Mapping[bytes, Kind], stored: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the names of those of ``kinds`` that ``stored`` lacks, or has something else for."""
    found = []
    for digest, kind in kinds.items():
        try:
            verified(kind, digest, stored.get(digest, b""))
        except CorruptBlock:
            found.append(digest)
    return found
