"""How far the rows that changes had told had drifted from the source, found when everything is loaded."""

from __future__ import annotations

from typing import Any

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.codec import Encoder
from django_etcdaero.datasets.blocks.difference import differences, stored_side
from django_etcdaero.datasets.blocks.digests import Fetch
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.declared import Declared

from .changing import read_changes
from .position import Position


def drift_of(
    dataset: Declared[Any, Any],
    position: Position,
    base: Manifest,
    manifest: Manifest,
    blocks: BlockStore,
    fetch: Fetch,
) -> int | None:
    """Count the rows that differ between two versions and that ``load_changes()`` does not name.

    ``base`` is the version that changes have made, ``manifest`` that of the full load, which ``fetch`` can read. What
    has changed since ``base`` is asked for after the full load, so that no row counts that is only newer. ``None``:
    ``load_changes()`` cannot tell. Raises what it raises, ``CorruptBlock``, and what the store raises.
    """
    given = read_changes(dataset, position)
    if given is None:
        return None
    keys = [*given.upserts, *given.deletions]
    named = set(Encoder().encode(keys, [None] * len(keys))[0])
    return sum(
        pair.key not in named for pair in differences(stored_side(base, blocks.fetch), stored_side(manifest, fetch))
    )
