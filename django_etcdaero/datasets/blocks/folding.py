"""Folding deltas into blocks: those blocks that they concern are made anew, and no others are looked at."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from .applied import read_blocks, rows_made_of
from .codec import decode
from .digests import Fetch
from .manifest import Manifest
from .partition import EncodedBlock, block_of, block_of_kept
from .row_encoding import gathering_of

AT_ONCE: Final = 32
"""Blocks that are fetched together: making them anew takes 10 to 20 ms."""


class FoldedBlock(NamedTuple):
    """A block that takes the place of another one."""

    number: int
    """Which it is."""
    records: list[EncodedBlock]
    """Its records; none: it is empty."""
    plain_bytes: int
    """Uncompressed size of the one before."""


def by_block(
    items: Iterable[tuple[bytes, bytes | None]], count: int, into: dict[int, dict[bytes, bytes | None]]
) -> None:
    """Add changes (items of :func:`.delta_reading.net_changes`) to those of each of ``count`` blocks, by its number."""
    for key, row in items:
        into.setdefault(block_of(key, count), {})[key] = row


def fold(
    manifest: Manifest,
    changes: Mapping[int, Mapping[bytes, bytes | None]],
    fetch: Fetch,
    *,
    max_value_bytes: int,
    by_fields: bool | None = None,
) -> Iterator[FoldedBlock]:
    """Yield the blocks of a version that change when ``changes`` (:func:`by_block`) are applied to its blocks.

    ``max_value_bytes`` and ``by_fields`` as for :func:`.partition.partition`. Raises ``CorruptBlock``, and what
    ``fetch`` raises.
    """
    gathering = gathering_of(max_value_bytes=max_value_bytes, by_fields=by_fields)
    todo = iter(sorted(changes))
    while indices := list(islice(todo, AT_ONCE)):
        parts = {}
        for index in indices:
            begin = bisect_left(manifest.indices, index)
            parts[index] = manifest.blocks[begin : bisect_right(manifest.indices, index, begin)]
        plain = read_blocks(dict.fromkeys(digest for names in parts.values() for digest in names), fetch)
        for index in indices:
            blocks = [plain[digest] for digest in parts[index]]
            rows = rows_made_of(blocks, changes[index])
            keys, values = list(map(decode, rows)), list(map(decode, rows.values()))
            encoded = gathering.keys(keys)
            kept = sorted(gathering.rows(keys, encoded, values)) if keys else []
            yield FoldedBlock(index, list(block_of_kept(index, kept, gathering)), sum(map(len, blocks)))
