"""What has changed from the version that is mapped to another one: rows by their encoded keys.

Where the other version has the blocks of the mapped one and further deltas, only those deltas are fetched, and two
roots. Else its pages are, and the blocks that differ; of those, each row is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from django_etcdaero.datasets.blocks.delta_reading import net_changes
from django_etcdaero.datasets.blocks.digests import Fetch, Kind, MissingRecords, fetched
from django_etcdaero.datasets.blocks.manifest_records import Root, root_of
from django_etcdaero.datasets.blocks.partition import block_of
from django_etcdaero.exceptions import CorruptBlock

from .building import FETCH, Block, rows_of
from .changes_form import UNKNOWN
from .stack import Stack

MOST_SHARE: Final = 1 / 8
"""Part of the blocks that may differ, and whose changes are held in memory; if more do, the file of rows is made anew,
block by block."""


class Change(NamedTuple):
    """What makes one version of another one."""

    rows: Mapping[bytes, bytes | None]
    """Encoded rows by encoded key, ``None`` for one that is gone; only what really differs."""
    names: Mapping[int, bytes]
    """Names of blocks that have another one."""
    total: int
    """How many rows there are with it."""
    ordered: bool
    """Whether the version keeps an order, which is the same then."""


def roots_of(held: bytes, wanted: bytes, fetch: Fetch) -> tuple[Root | None, Root]:
    """Return the root of the version held, if it is still stored, and that of the version that is wanted.

    Raises ``MissingRecords``, what :func:`.manifest_records.root_of` raises, and what ``fetch`` raises.
    """
    found = fetch([held, wanted])
    if wanted not in found:
        raise MissingRecords(f"{Kind.ROOT.name.lower()} {wanted.hex()} is missing", [wanted])
    new = root_of(wanted, found[wanted])
    try:
        return (root_of(held, found[held]) if held in found else None), new
    except CorruptBlock:  # nothing is to be made of that one
        return None, new


def by_deltas(stack: Stack, deltas: Iterable[bytes], root: Root, fetch: Fetch) -> Change:
    """Return what further deltas change. Raises ``CorruptBlock``, and what ``fetch`` raises."""
    net = net_changes(deltas, fetch)
    blocks = {block_of(key, root.blocks) for key in net}
    return _checked(stack, net, dict.fromkeys(blocks, UNKNOWN), root)


def by_blocks(stack: Stack, blocks: Iterable[Block], root: Root, fetch: Fetch) -> Change:
    """Return what blocks change that differ from those mapped. Raises as :func:`by_deltas` does."""
    wanted = list(blocks)
    stored = fetched([digest for block in wanted for digest in block.parts], fetch, at_once=FETCH, what="blocks")
    net: dict[bytes, bytes | None] = {}
    for block in wanted:
        new = rows_of(block, stored)
        old = stack.rows_of_blocks(block.number, block.number + 1)
        net.update((key, row) for key, row in new.items() if old.get(key) != row)
        net.update(dict.fromkeys(old.keys() - new.keys()))
    return _checked(stack, net, {block.number: block.name for block in wanted}, root)


def the_same(stack: Stack, blocks: Iterable[Block], root: Root) -> Change:
    """Return the change to a version with the same rows, which is made up of other ``blocks``."""
    return _checked(stack, {}, {block.number: block.name for block in blocks}, root)


def _checked(stack: Stack, net: Mapping[bytes, bytes | None], names: Mapping[int, bytes], root: Root) -> Change:
    changed: dict[bytes, bytes | None] = {}
    total = stack.rows
    for key, row in net.items():
        before = stack.row(key)
        if row != before:
            changed[key] = row
            total += (before is None) - (row is None)
    if total != root.rows:
        raise CorruptBlock(f"the version has {total:,} different keys, and its root says {root.rows:,}")
    return Change(changed, names, total, bool(root.order))
