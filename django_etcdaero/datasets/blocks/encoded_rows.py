"""The rows of a block as they are encoded one by one, in whichever form the block is."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from .codec import Encoder, array_header, decode, split
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


def rows_of_keys_in(blocks: Iterable[tuple[bytes, Collection[bytes]]]) -> dict[bytes, bytes]:
    """Return the encoded rows of some encoded keys; each block comes with those that are looked for in it.

    No other rows are made, and keys are told apart by what is equal: they are of types of which equal ones have equal
    encodings (:data:`.delta.KEY_TYPES`). Raises as :func:`encoded_pairs` does.
    """
    found: dict[bytes, bytes] = {}
    keys: list[bytes] = []
    rows: list[Any] = []
    for plain, wanted in blocks:
        if not is_by_fields(plain):
            named_here = frozenset(wanted)
            found.update((key, row) for key, row in encoded_pairs(plain) if key in named_here)
            continue
        named = dict(zip(decode(array_header(len(wanted)) + b"".join(wanted)), wanted, strict=True))
        block = read(plain, frozen=False, wanted=named)
        if block.keys:
            keys += map(named.__getitem__, block.keys)
            rows += block.shape.rows(block.columns, frozen=False)
    found.update(zip(keys, Encoder().rows(keys, rows), strict=True))
    return found
