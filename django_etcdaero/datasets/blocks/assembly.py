"""Putting the rows of a version together, re-using what the one before it holds, and freeing those of old versions."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.records.store import batches

from .delta import decode_delta, fetch_deltas
from .digests import Fetch, MissingRecords
from .manifest import Manifest
from .order import NO_ORDER, in_order
from .partition import decode_block
from .row_types import RowForm

FETCH = 512
"""Blocks in one fetch: their stored bytes are held only until they are decoded."""

SLICE = 500
"""Rows that are freed before other threads get a chance to run."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A version in memory."""

    manifest: Manifest
    rows: dict[Any, Any]
    keys: dict[bytes, Sequence[Any]]
    """The keys of each block, by digest: what has to go when the block goes."""

    damaged: ClassVar[str | None] = None
    """What is wrong with what holds the rows: nothing can be, in memory."""

    @property
    def ordered(self) -> bool:
        """Whether the rows are in the order in which they were loaded."""
        return bool(self.manifest.order.chunks)

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
    version: int,
    manifest: Manifest,
    fetch: Fetch,
    *,
    rows: RowForm,
    row_type: type[Any] | None = None,
    before: Assembled | None = None,
) -> Assembled:
    """Fetch, verify and decode the blocks that are missing, and build the new rows beside the old ones.

    ``rows`` and ``row_type`` are the dataset's options of these names. Unchanged rows are the same objects in both
    versions. They are in the order that the version keeps, if it does. Raises ``CorruptBlock`` for what is missing or
    damaged, and what the stores raise.
    """
    if before is not None and before.manifest.deltas and not _goes_on(before.manifest, manifest):
        before = None  # which rows the deltas have replaced is not known any more
    wanted = missing_blocks(before, manifest)
    own: dict[Any, Any] = {}
    applied = len(before.manifest.deltas) if before is not None else 0
    order, order_before = manifest.order, before.manifest.order if before is not None else NO_ORDER
    if before is None:
        merged, keys = _nothing()
    else:
        dropped = before.keys.keys() - set(manifest.blocks)
        if order_before.chunks:  # texts that are equal stay the same objects: the sequence of keys goes by those
            own = {key: key for digest in dropped for key in before.keys[digest] if type(key) is str}
        in_place = bool(order.chunks) and order.chunks == order_before.chunks
        merged, keys = _kept(before, manifest, dropped, in_place=in_place)
    for digest, block_keys, block_rows in _decoded(wanted, fetch, rows, row_type):
        keys[digest] = [own.get(key, key) for key in block_keys] if own else block_keys
        merged.update(zip(keys[digest], block_rows, strict=True))
    for digest, stored in fetch_deltas(manifest.deltas[applied:], fetch):
        delta = decode_delta(digest, stored, rows=rows, row_type=row_type)
        merged.update(delta.upserts)
        for key in delta.deletions:
            merged.pop(key, None)
    if len(merged) != manifest.rows:
        if before is not None:  # something has changed the rows that were held: they are of no use any more
            return assemble(version, manifest, fetch, rows=rows, row_type=row_type)
        raise CorruptBlock(f"version {version} has {len(merged):,} different keys, and its root says {manifest.rows:,}")
    if order.chunks and order.chunks != order_before.chunks:
        fresh = [keys[digest] for digest in wanted]
        merged = in_order(merged, order, fetch, before=order_before, ordered=before.rows if before else (), fresh=fresh)
    return Assembled(manifest, merged, keys)


def _goes_on(before: Manifest, manifest: Manifest) -> bool:
    """Tell whether a version has the blocks of the one before it, and its deltas, and maybe more."""
    return manifest.blocks == before.blocks and manifest.deltas[: len(before.deltas)] == before.deltas


def _nothing() -> tuple[dict[Any, Any], dict[bytes, Sequence[Any]]]:
    return {}, {}


def _kept(
    before: Assembled, manifest: Manifest, dropped: Collection[bytes], *, in_place: bool
) -> tuple[dict[Any, Any], dict[bytes, Sequence[Any]]]:
    """Return the rows and keys of the blocks that stay, in new dictionaries.

    ``in_place``: the new version has the same keys in the same order, so that rows are replaced where they stand.
    """
    if not in_place and len(dropped) * 2 > len(before.keys):
        merged, keys = _nothing()
        for digest in before.keys.keys() & set(manifest.blocks):
            keys[digest] = before.keys[digest]
            merged.update((key, before.rows[key]) for key in keys[digest] if key in before.rows)
        return merged, keys
    merged, keys = before.rows.copy(), before.keys.copy()
    for digest in dropped:
        gone = keys.pop(digest)
        if not in_place:
            for key in gone:
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
