"""A digest of all rows of a version that does not depend on their order, nor on how the version was made.

It is the sum, modulo 2**256, of the BLAKE2b-256 digests of each row: of its encoded key followed by the encoded row, as
:mod:`.codec` encodes them. So a change of few rows takes away what those rows were and adds what they are, without a
look at the others. Whoever can choose rows freely can make two contents with one sum (the sum is no hash against
forgery): it compares what one's own source gives, and names nothing. Records are named by their own digests.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

CONTENT_BYTES: Final = 32
_MODULUS: Final = 1 << 8 * CONTENT_BYTES


def row_digest(pair: bytes) -> bytes:
    """Return the digest of a row: of its encoded key followed by the encoded row."""
    return blake2b(pair, digest_size=CONTENT_BYTES).digest()


def sum_of_digests(digests: Iterable[bytes]) -> int:
    """Return what rows with these digests add to the sum."""
    return sum([int.from_bytes(digest, "big") for digest in digests])


def content_of(total: int) -> bytes:
    """Return the digest: ``CONTENT_BYTES`` bytes. ``total`` is a sum of :func:`sum_of_digests`, or of several."""
    return (total % _MODULUS).to_bytes(CONTENT_BYTES, "big")


def content_after(before: bytes, *, gone: Iterable[bytes], added: Iterable[bytes]) -> bytes:
    """Return the digest when rows with the digests ``gone`` are gone and others were added; ``before`` is a digest."""
    return content_of(int.from_bytes(before, "big") - sum_of_digests(gone) + sum_of_digests(added))
