"""The digest of each row of a version, so that a change is compared with it without a look at the rows.

It takes about 55 bytes a row. In each of many byte strings are some rows, one after the other: twelve bytes by which
the encoded key is told from others (Python's hash, with its secret of the process, and the CRC-32), and behind them the
digest of :mod:`.content`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final
from zlib import crc32

from .content import CONTENT_BYTES, content_of, sum_of_digests

MOST_ROWS: Final = 2_000_000
"""Rows of which digests are kept: more take too much memory."""

_PER_BUCKET: Final = 32
_MOST_BUCKETS: Final = MOST_ROWS // _PER_BUCKET
_NAME: Final = Struct("=qI")
_ENTRY: Final = Struct(f"=qI{CONTENT_BYTES}s")


class RowDigests:
    """The digests of the rows of one version; ``rows``: how many there will be, if that is known."""

    def __init__(self, rows: int | None = None) -> None:
        buckets = _MOST_BUCKETS if rows is None else min(_MOST_BUCKETS, rows // _PER_BUCKET + 1)
        self._buckets = [bytearray() for _ in range(buckets)]
        self._sum = 0
        self._rows = 0

    @property
    def content(self) -> bytes:
        """The digest of all rows (:mod:`.content`)."""
        return content_of(self._sum)

    @property
    def whole(self) -> bool:
        """Whether the digests of all rows are here; else it is only known what they come to."""
        return bool(self._buckets)

    def add(self, keys: Sequence[bytes], digests: Sequence[bytes]) -> None:
        """Add rows that are not there yet: their encoded keys, and the digest of each."""
        self._sum += sum_of_digests(digests)
        self._rows += len(keys)
        if self._rows > MOST_ROWS:
            self._buckets = []
        buckets, number, pack = self._buckets, len(self._buckets), _ENTRY.pack
        if not number:
            return
        for key, digest in zip(keys, digests, strict=True):
            key_hash = hash(key)
            buckets[key_hash % number] += pack(key_hash, crc32(key), digest)

    def get(self, key: bytes) -> bytes | None:
        """Return the digest of the row with an encoded key; ``None``: there is no such row."""
        bucket, at, _ = self._find(key)
        return None if at < 0 else bytes(bucket[at + _NAME.size : at + _ENTRY.size])

    def put(self, key: bytes, digest: bytes | None) -> None:
        """Note the digest of a row, or that there is none (``None``) with this encoded key."""
        bucket, at, name = self._find(key)
        old = () if at < 0 else (bytes(bucket[at + _NAME.size : at + _ENTRY.size]),)
        if at < 0:
            at = len(bucket)
        bucket[at : at + _ENTRY.size] = b"" if digest is None else name + digest
        self._rows += (digest is not None) - len(old)
        self._sum += (0 if digest is None else sum_of_digests((digest,))) - sum_of_digests(old)

    def _find(self, key: bytes) -> tuple[bytearray, int, bytes]:
        """Return in which bucket a key is, where in it (-1: it is not), and its name there."""
        key_hash = hash(key)
        name = _NAME.pack(key_hash, crc32(key))
        bucket = self._buckets[key_hash % len(self._buckets)]
        at = bucket.find(name)
        while at > 0 and at % _ENTRY.size:  # the same bytes, somewhere between two
            at = bucket.find(name, at + 1)
        return bucket, at, name


def digests_in(known: RowDigests, keys: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return the digests of the rows that there are with these encoded keys."""
    found = ((key, known.get(key)) for key in keys)
    return {key: digest for key, digest in found if digest is not None}
