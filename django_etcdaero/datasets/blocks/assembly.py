"""Putting the rows of a version together, re-using what the one before it holds, and freeing those of old versions."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.records.store import batches

from .digests import MissingRecords
from .manifest import Fetch, Manifest
from .partition import decode_block
from .row_types import RowForm

FETCH = 512
"""Blocks in one fetch: their stored bytes are held only until they are decoded."""

SLICE = 500
"""Rows that are freed before other threads get a chance to run."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A version in memory."""

    announcement: Announcement
    manifest: Manifest
    rows: dict[Any, Any]
    keys: dict[bytes, Sequence[Any]]
    """The keys of each block, by digest: what has to go when the block goes."""

    def own_rows(self, other: Assembled) -> int:
        """Return how many rows are in blocks that ``other`` does not have."""
        return sum(len(self.keys[digest]) for digest in self.keys.keys() - other.keys.keys())

    @property
    def view(self) -> Mapping[Any, Any]:
        """The rows, read-only."""
        return MappingProxyType(self.rows)


def missing_blocks(before: Assembled | None, manifest: Manifest) -> list[bytes]:
    """Return the blocks of ``manifest`` that are not in memory."""
    known = before.keys if before is not None else {}
    return [digest for digest in dict.fromkeys(manifest.blocks) if digest not in known]


def assemble(
    announcement: Announcement,
    manifest: Manifest,
    fetch: Fetch,
    *,
    rows: RowForm,
    row_type: type[Any] | None = None,
    before: Assembled | None = None,
) -> Assembled:
    """Fetch, verify and decode the blocks that are missing, and build the new rows beside the old ones.

    ``rows`` and ``row_type`` are the dataset's options of these names. Unchanged rows are the same objects in both
    versions. Raises ``CorruptBlock`` for what is missing or damaged, and what the stores raise.
    """
    wanted = missing_blocks(before, manifest)
    merged, keys = ({}, {}) if before is None else _kept(before, manifest)
    for digest, block_keys, block_rows in _decoded(wanted, fetch, rows, row_type):
        keys[digest] = block_keys
        merged.update(zip(block_keys, block_rows, strict=True))
    if len(merged) != manifest.rows:
        if before is not None:  # something has changed the rows that were held: they are of no use any more
            return assemble(announcement, manifest, fetch, rows=rows, row_type=row_type)
        raise CorruptBlock(
            f"version {announcement.version} has {len(merged):,} different keys, and its root says {manifest.rows:,}"
        )
    return Assembled(announcement, manifest, merged, keys)


def _kept(before: Assembled, manifest: Manifest) -> tuple[dict[Any, Any], dict[bytes, Sequence[Any]]]:
    """Return the rows and keys of the blocks that stay, in new dictionaries."""
    needed = set(manifest.blocks)
    dropped = [digest for digest in before.keys if digest not in needed]
    merged: dict[Any, Any]
    keys: dict[bytes, Sequence[Any]]
    if len(dropped) * 2 > len(before.keys):
        merged, keys = {}, {}
        for digest in before.keys.keys() & needed:
            keys[digest] = before.keys[digest]
            merged.update((key, before.rows[key]) for key in keys[digest] if key in before.rows)
    else:
        merged, keys = before.rows.copy(), before.keys.copy()
        for digest in dropped:
            for key in keys.pop(digest):
                merged.pop(key, None)
    return merged, keys


def _decoded(
    wanted: Iterable[bytes], fetch: Fetch, rows: RowForm, row_type: type[Any] | None
) -> Iterable[tuple[bytes, Sequence[Any], Sequence[Any]]]:
    for batch in batches(wanted, FETCH):
        stored = fetch(batch)
        absent = tuple(digest for digest in batch if digest not in stored)
        if absent:
            raise MissingRecords(f"{len(absent)} blocks are missing, among them {absent[0].hex()}", absent)
        for digest in batch:
            block = decode_block(digest, stored[digest], rows=rows, row_type=row_type)
            yield digest, block.keys, block.rows


def _references(rows: dict[Any, Any]) -> int:
    return sys.getrefcount(rows)


def _references_of_one_holder() -> int:
    rows: dict[Any, Any] = {}
    return _references(rows)


_ALONE = _references_of_one_holder()
"""What ``getrefcount`` says in a function whose caller is the only holder; it differs between Python versions."""


def free_rows(rows: dict[Any, Any]) -> None:
    """Empty a dictionary that nobody else uses, a slice at a time.

    Dropping a million rows at once would stop every other thread for as long as that takes (the interpreter frees them
    without a break). Nothing is done when somebody still holds the rows: then the last holder drops them.
    """
    if sys.getrefcount(rows) > _ALONE:
        return
    pop = rows.popitem
    try:
        while True:
            for _ in range(SLICE):
                pop()
    except KeyError:
        return
