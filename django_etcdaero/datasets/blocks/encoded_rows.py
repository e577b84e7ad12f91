"""The rows of a block as they are encoded one by one, in whichever form the block is."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from .codec import Encoder, split
from .short_rows import is_by_fields, read


def encoded_pairs(plain: bytes) -> list[tuple[bytes, bytes]]:
    """Return the encoded key and row of each row of a block.

    Equal rows give equal bytes, in whichever form their blocks are. ``plain`` was checked against its
    digest. Raises ``DamagedRecord``.
    """
    if is_by_fields(plain):
        block = read(plain, frozen=False)
        return list(zip(*Encoder().encode(block.keys, block.shape.rows(block.columns, frozen=False)), strict=True))
    parts = split(plain)
    return list(zip(parts[::2], parts[1::2], strict=True))


def rows_of_keys_in(plain: bytes, keys: AbstractSet[bytes], encoder: Encoder) -> dict[bytes, bytes]:
    """Return the encoded rows of those of some encoded keys that are in a block; no other row is encoded.

    Raises as :func:`encoded_pairs` does.
    """
    if not is_by_fields(plain):
        return {key: row for key, row in encoded_pairs(plain) if key in keys}
    block = read(plain, frozen=False)
    at = {key: place for place, key in enumerate(encoder.keys(block.keys)) if key in keys}
    columns = [[column[place] for place in at.values()] for column in block.columns]
    rows = block.shape.rows(columns, frozen=False)
    return dict(zip(at, encoder.rows(list(at), rows), strict=True))
