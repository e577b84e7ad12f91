"""The version that a change goes on from, as the process that published it remembers it.

A change needs the list of blocks of that version, to find those of some keys, and what its deltas come to. Both are
kept in memory from one publication to the next: the list is some bytes for each block, and deltas are few. A process
that has not published the version reads them, its pages and deltas only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from django_etcdaero.datasets.blocks.assembly import Assembled
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.content import row_digest
from django_etcdaero.datasets.blocks.delta import EncodedDelta
from django_etcdaero.datasets.blocks.delta_reading import net_changes
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.row_digests import RowDigests
from django_etcdaero.datasets.layout import Layout
from django_etcdaero.exceptions import ResponseError


@dataclass(slots=True)
class Base:
    """A version to go on from."""

    manifest: Manifest
    net: dict[bytes, bytes | None] = field(default_factory=dict)
    """What its deltas come to (:func:`.delta_reading.net_changes`)."""
    assembled: Assembled | None = None
    """It in memory, where code of the project takes part in loading it."""


MOST_DELTAS: Final = 256
"""Records of deltas beside the blocks of a version: each names itself in the root, which every reader fetches."""
MOST_SHARE: Final = 0.25
"""Stored bytes of deltas for one of blocks, at most. Whoever reads the version anew reads them besides; and the less it
is, the more often blocks are written and fetched that have few rows that changed."""
IDLE: Final = 0.5
"""Part of these limits from which deltas are folded when nothing has changed, and so nobody waits for a change."""
LEAST_BYTES: Final = 1 << 16
"""So many bytes of deltas are no matter, however small the version is."""


def fits(manifest: Manifest, deltas: Sequence[EncodedDelta]) -> bool:
    """Tell whether further deltas leave a version readable in little more time than its blocks take alone."""
    size = sum(manifest.delta_sizes) + sum(len(delta.plain) for delta in deltas)
    number = len(manifest.deltas) + len(deltas)
    return number <= MOST_DELTAS and size <= _most_bytes(manifest)


def is_to_fold(manifest: Manifest) -> bool:
    """Tell whether a version has so many deltas that they are folded when there is time for it."""
    number, size = len(manifest.deltas), sum(manifest.delta_sizes)
    return number > IDLE * MOST_DELTAS or size > IDLE * _most_bytes(manifest)


def _most_bytes(manifest: Manifest) -> float:
    return max(LEAST_BYTES, MOST_SHARE * manifest.stored_bytes)


_held: dict[bytes, Base] = {}
"""By the start of the dataset's records: what this process has published last."""


def base_of(root: bytes, blocks: BlockStore, layout: Layout) -> Base | None:
    """Return a version to go on from; ``None``: it cannot be read, or its root is gone. Raises store errors."""
    held = _held.get(layout.records)
    if held is not None and held.manifest.root_digest == root:
        return held if blocks.exists([root]) else None
    try:
        manifest = Manifest.load(blocks.fetch, root, known=held.manifest if held is not None else None)
        return Base(manifest, net_changes(manifest.deltas, blocks.fetch))
    except ResponseError:
        return None


_rows: dict[bytes, RowDigests] = {}
"""By the start of the dataset's records: those of the rows that this process has published last."""


def remember_rows(digests: RowDigests, layout: Layout) -> None:
    """Keep the digests of the rows that were published, if there are not too many."""
    if digests.whole:
        _rows[layout.records] = digests
    else:
        _rows.pop(layout.records, None)


def known_rows(base: Base, content: bytes, layout: Layout) -> RowDigests | None:
    """Return the digests of the rows of a version with this digest of all; ``None``: they are not known.

    Those of a version before it become those of this one by its deltas, whoever has published them.
    """
    known = _rows.get(layout.records)
    if known is not None and known.content != content:
        for key, row in base.net.items():
            known.put(key, None if row is None else row_digest(key + row))
        if known.content != content:
            del _rows[layout.records]
            return None
    return known


def held(layout: Layout) -> Base | None:
    """Return what this process has published last, or found there to be nothing new in."""
    return _held.get(layout.records)


def remember(base: Base, layout: Layout) -> None:
    """Keep what was published, for the next change."""
    _held[layout.records] = base


def forget(layout: Layout) -> None:
    """Keep nothing: what was published is not what was held."""
    _held.pop(layout.records, None)
