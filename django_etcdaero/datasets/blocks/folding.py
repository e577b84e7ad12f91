"""Folding deltas into blocks: those blocks that they concern are made anew, and no others are looked at."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from .applied import made_of, read_blocks
from .digests import Fetch
from .manifest import Manifest
from .partition import PART_BYTES, EncodedBlock, block_of, encode_block, longest_body

AT_ONCE: Final = 256
"""Blocks that are held in memory together."""


class FoldedBlock(NamedTuple):
    """A block that takes the place of another one."""

    number: int
    """Which it is."""
    records: list[EncodedBlock]
    """Its records; none: it is empty."""
    plain_bytes: int
    """Uncompressed size of the one before."""


def fold(
    manifest: Manifest, net: Mapping[bytes, bytes | None], fetch: Fetch, *, max_value_bytes: int
) -> Iterator[FoldedBlock]:
    """Yield the blocks of a version that change when ``net`` (:func:`.delta.net_changes`) is applied to its blocks.

    Raises ``CorruptBlock``, and what ``fetch`` raises.
    """
    part_bytes = min(PART_BYTES, longest_body(max_value_bytes))
    changes: dict[int, dict[bytes, bytes | None]] = {}
    for key, row in net.items():
        changes.setdefault(block_of(key, manifest.count), {})[key] = row
    todo = iter(sorted(changes))
    while indices := list(islice(todo, AT_ONCE)):
        parts = {}
        for index in indices:
            begin = bisect_left(manifest.indices, index)
            parts[index] = manifest.blocks[begin : bisect_right(manifest.indices, index, begin)]
        plain = read_blocks(dict.fromkeys(digest for names in parts.values() for digest in names), fetch)
        for index in indices:
            blocks = [plain[digest] for digest in parts[index]]
            pairs = made_of(blocks, changes[index])
            yield FoldedBlock(index, list(encode_block(index, pairs, part_bytes)), sum(map(len, blocks)))
