"""The rows of a block as they are encoded one by one, in whichever form the block is."""

from __future__ import annotations

from .codec import Encoder, split
from .columns import is_by_columns, read


def encoded_pairs(plain: bytes) -> list[tuple[bytes, bytes]]:
    """Return the encoded key and row of each row of a block.

    Equal rows give equal bytes, whether their blocks are by columns or by rows. ``plain`` was checked against its
    digest. Raises ``DamagedRecord``.
    """
    if is_by_columns(plain):
        block = read(plain, frozen=False)
        return list(zip(*Encoder().encode(block.keys, block.shape.rows(block.columns, frozen=False)), strict=True))
    parts = split(plain)
    return list(zip(parts[::2], parts[1::2], strict=True))
