"""The hashes by which keys find their blocks, of many keys at once."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

_GOLDEN: Final = 0x9E3779B1
"""2**32 over the golden ratio. CRC-32 is linear, and for keys in some patterns (UUIDs that differ only in their upper
half) its own bits leave every second block empty; multiplied by this, the leading ones do not."""
_BITS: Final = 0xFFFFFFFF


def hash_of(key: bytes) -> int:
    """Return the hash of an encoded key: 32 bits, of which the leading ones say in which block its row is."""
    return crc32(key) * _GOLDEN & _BITS


def hashes_of(checksums: Iterable[int]) -> Sequence[int]:
    """Return the hashes of keys with these CRC-32 checksums.

    All are multiplied as one number, in which each has 64 bits: so no product touches the next one. That takes a
    third of the time of a multiplication for each.
    """
    lanes = array("Q", checksums)
    number = int.from_bytes(lanes.tobytes(), sys.byteorder) * _GOLDEN & _mask(len(lanes))
    hashes = array("Q")
    hashes.frombytes(number.to_bytes(8 * len(lanes), sys.byteorder))
    return hashes


@lru_cache(8)  # all but the last rows of a version come in parts of one length
def _mask(lanes: int) -> int:
    return int.from_bytes(array("Q", [_BITS]) * lanes, sys.byteorder)
