"""What differs between two versions: only blocks that differ are looked at, and few of them are in memory at a time.

A row is in the block that the leading bits of a hash of its key say, and the number of blocks is a power of two. So
where two versions have different numbers of blocks, each block of the coarser one stands for some neighbours in the
finer one, and all differences are within such a *group*. Where the numbers are the same a group is one block.

Keys and rows are compared as they are encoded, which is canonical: equal means the same values of the same types, NaN
included. Rows that are stored field by field are encoded for that, one by one; others are not decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import NamedTuple, TypeAlias

from .applied import Applied
from .digests import Fetch
from .encoded_rows import encoded_pairs
from .manifest import Manifest
from .partition import EncodedBlock

FETCH = 256
"""Blocks in one fetch: they are held until they are compared."""
FEW = 32
"""Likewise for who wants to look at the clock in between."""

Plain: TypeAlias = Callable[[Collection[bytes]], Mapping[bytes, bytes]]
"""Takes digests and returns the plain bytes of each block. Raises ``CorruptBlock`` for what is missing or damaged."""


class Side(NamedTuple):
    """One of two versions."""

    total: int
    """Number of blocks, empty ones included."""
    indices: Sequence[int]
    """Which block each of ``blocks`` is, or is a part of."""
    blocks: Sequence[bytes]
    plain: Plain


class Pair(NamedTuple):
    """One key with its row in both versions, encoded; ``None``: it is not in that one."""

    key: bytes
    old: bytes | None
    new: bytes | None


def stored_side(manifest: Manifest, fetch: Fetch) -> Side:
    """Return a version that is in the record store. Raises ``CorruptBlock``, and what the store raises, for deltas."""
    applied = Applied(manifest, fetch)
    return Side(applied.count, applied.indices, applied.blocks, applied.plain)


def encoded_side(parts: Iterable[EncodedBlock], count: int, known: Collection[bytes]) -> Side:
    """Return a version that is being made. Of blocks that are ``known`` to the other side nothing is kept."""
    indices, blocks, kept = [], [], {}
    for part in parts:
        indices.append(part.index)
        blocks.append(part.digest)
        if part.digest not in known:
            kept[part.digest] = part.plain
    return Side(count, indices, blocks, lambda digests: {digest: kept[digest] for digest in digests})


def differences(old: Side, new: Side) -> Iterator[Pair]:
    """Yield what differs, in the order of the blocks. Raises ``CorruptBlock``, and what the stores raise."""
    return (pair for _, pair in walk(old, new) if pair is not None)


def walk(old: Side, new: Side, *, start: int = 0, fetch: int | None = None) -> Iterator[tuple[int, Pair | None]]:
    """Yield what differs from the group ``start`` on, each with its group, and ``None`` wherever another one begins.

    ``fetch``: blocks in one fetch. Raises as :func:`differences` does.
    """
    coarse, fine = (old, new) if old.total <= new.total else (new, old)
    group = start
    held: dict[bytes, bytes] = {}
    for at, is_fine, pairs in _differing(coarse, fine, start, fetch or FETCH):
        if at != group:
            yield from ((group, _pair(key, held[key], None, swapped=coarse is new)) for key in held)
            group, held = at, {}
            yield group, None
        if not is_fine:
            held.update(pairs)
            continue
        for key, row in pairs:
            other = held.pop(key, None)
            if other != row:
                yield group, _pair(key, other, row, swapped=coarse is new)
    yield from ((group, _pair(key, held[key], None, swapped=coarse is new)) for key in held)


def _pair(key: bytes, coarse: bytes | None, fine: bytes | None, *, swapped: bool) -> Pair:
    return Pair(key, fine, coarse) if swapped else Pair(key, coarse, fine)


def _differing(
    coarse: Side, fine: Side, start: int, fetch: int
) -> Iterator[tuple[int, bool, list[tuple[bytes, bytes]]]]:
    """Yield the blocks of the groups that differ, from ``start`` on: the group, whose block it is, its keys and rows.

    Of a group those of the coarser version come first. Parts that both have hold the same rows, and are left out.
    """
    ratio = fine.total // coarse.total
    in_coarse = ((index, digest) for index, digest in zip(coarse.indices, coarse.blocks, strict=True))
    in_fine = ((index // ratio, digest) for index, digest in zip(fine.indices, fine.blocks, strict=True))
    common = set(coarse.blocks) & set(fine.blocks)
    wanted = merge(
        ((group, False, digest) for group, digest in in_coarse if group >= start and digest not in common),
        ((group, True, digest) for group, digest in in_fine if group >= start and digest not in common),
        key=lambda each: each[:2],
    )
    while batch := list(islice(wanted, fetch)):
        plain = {
            False: coarse.plain([digest for _, is_fine, digest in batch if not is_fine]),
            True: fine.plain([digest for _, is_fine, digest in batch if is_fine]),
        }
        for group, is_fine, digest in batch:
            yield group, is_fine, encoded_pairs(plain[is_fine][digest])
