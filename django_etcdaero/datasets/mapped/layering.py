"""Writing a layer, and folding layers into a new file of rows."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Sequence
from typing import BinaryIO, Final

from django_etcdaero.system.giving_way import GivingWay

from .changes import Change
from .changes_form import FLAG_BITS, MOST_LAYERS, ChangesHead, MappedChanges
from .form import digests_in
from .keys import mixed
from .stack import Stack, changes_between
from .writing import Entries, Part, Writer

GROWTH: Final = 2
"""A layer is at least so many times as large as the one above it; smaller ones are merged with that. So a row is
written again a few times until it is folded, and there are as few layers as changes make levels of such sizes."""
LARGEST: Final = 8_192
"""Rows of a layer that is not merged with those above it any more: who waits for a change does not wait for that."""
FLAGS_PER_ROW: Final = 16
"""Flags of the rows in layers, at least half as many: one in sixteen other rows, or fewer, is looked for in vain."""
_AT_ONCE: Final = 4096
FOLDED: Final = 64
"""Blocks that are folded at once: some milliseconds."""


def write_layer(file: BinaryIO, root: bytes, stack: Stack, change: Change, *, least: int = 0) -> None:
    """Write what changes a version as a layer over it, to a new, empty file; the lowest ``least`` layers stay apart.

    Raises ``CorruptBlock``.
    """
    kept, count = list(stack.layers), len(change.rows)
    merged: list[MappedChanges] = []
    while len(kept) > least and (kept[-1].head.entries < min(GROWTH * count, LARGEST) or len(kept) >= MOST_LAYERS - 1):
        merged.insert(0, kept.pop())
        count += merged[0].head.entries
    names = {
        block: name for layer in merged for block, name in zip(layer.numbers, digests_in(layer.names), strict=True)
    } | dict(change.names)
    entries = Entries(file)
    if merged:  # the lowest is the largest
        above = changes_between(merged[1:], 0, 1 << 32) | dict(change.rows)
        entries.merge(merged[0], 0, merged[0].head.entries, above, keep_gone=True)
    else:
        keys = sorted(change.rows, key=mixed)
        entries.append([mixed(key) for key in keys], keys, [key + (change.rows[key] or b"") for key in keys])
    flag_bits, flags = _flags(kept, entries)
    data_end = entries.end_data()
    numbers = sorted(names)
    below = b"".join(layer.head.root for layer in kept)
    head = ChangesHead(
        root=root,
        base=stack.base.head.root,
        data_end=data_end,
        rows=change.total,
        entries=len(entries),
        others=len(entries.others),
        blocks=stack.base.head.blocks,
        named=len(numbers),
        below=len(kept),
        flag_bits=flag_bits,
        ordered=int(change.ordered),
    )
    sections: list[Part] = [
        *entries.sections(),
        array("I", numbers),
        b"".join(map(names.__getitem__, numbers)),
        *entries.sections_of_others(),
        flags,
        below,
    ]
    entries.write(head, sections)


def _flags(kept: Sequence[MappedChanges], entries: Entries) -> tuple[int, bytearray]:
    """Return the flags of layers and of entries over them, and how many bits of a hash say which one is its own."""
    total = len(entries) + sum(layer.head.entries for layer in kept)
    bits = min(max((FLAGS_PER_ROW * total // 2).bit_length(), FLAG_BITS.start), FLAG_BITS.stop - 1)
    if kept and kept[-1].head.flag_bits >= bits:
        bits = kept[-1].head.flag_bits
        flags = bytearray(kept[-1].flags)
    else:
        bits = min(bits + 1, FLAG_BITS.stop - 1)
        flags = bytearray(1 << bits >> 3)
        for layer in kept:
            _set(flags, bits, layer.hashes[: layer.head.entries])
            _set(flags, bits, layer.other_hashes)
    _set(flags, bits, entries.hashes)
    _set(flags, bits, [form for form, _ in entries.others])
    return bits, flags


def _set(flags: bytearray, bits: int, hashes: Sequence[int] | memoryview) -> None:
    by_byte, by_bit, give_way = 35 - bits, 32 - bits, GivingWay()
    for begin in range(0, len(hashes), _AT_ONCE):
        for hashed in hashes[begin : begin + _AT_ONCE]:
            flags[hashed >> by_byte] |= 1 << (hashed >> by_bit & 7)
        give_way()


def fold(file: BinaryIO, stack: Stack) -> Generator[None]:
    """Write the file of rows of a version that has layers to a new, empty file, in steps of some milliseconds.

    Nothing is fetched for it. Raises ``CorruptBlock``.
    """
    blocks = stack.base.head.blocks
    writer = Writer(file, root=stack.root, blocks=blocks)
    for begin in range(0, blocks, FOLDED):
        until = min(begin + FOLDED, blocks)
        writer.merge(stack.base, begin, until, changes_between(stack.layers, *stack.hashes_of(begin, until)))
        yield
    writer.names[:] = b"".join(stack.names_of_blocks())
    writer.finish(stack.base.order if stack.ordered else None)
