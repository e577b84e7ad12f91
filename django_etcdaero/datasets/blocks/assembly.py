"""Putting the rows of a version together, re-using what the one before it holds.

What is held is never changed: the new rows stand beside the old ones (:mod:`.held`), and share all that is the same.
A version that only adds deltas to the one that is held costs what they change; any other one costs its blocks that are
not held, and then its deltas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.system.giving_way import GivingWay

from .assembled import NOTHING, Assembled, Difference, Form, absent, decoded_deltas, goes_on, same_order
from .digests import Fetch
from .held import SLICE, InSequence, Sharded
from .held_front import changed_in_front
from .manifest import Manifest
from .of_blocks import FETCH, of_blocks
from .order import NO_ORDER, in_order
from .row_types import RowForm

__all__ = ("FETCH", "Assembled", "Difference", "assemble", "missing_bytes")


def missing_bytes(before: Assembled | None, manifest: Manifest) -> int:
    """Return the stored size of the blocks and deltas of ``manifest`` that are not in memory."""
    if before is not None and goes_on(before.manifest, manifest):
        return sum(manifest.delta_sizes[len(before.manifest.deltas) :])
    size, give_way, held = sum(manifest.delta_sizes), GivingWay(), {} if before is None else before.keys
    for number, (digest, stored) in enumerate(zip(manifest.blocks, manifest.sizes, strict=True)):
        if digest not in held:
            size += stored
        if number % SLICE == 0:
            give_way()
    return size


def assemble(
    version: int,
    manifest: Manifest,
    fetch: Fetch,
    *,
    rows: RowForm,
    row_type: type[Any] | None = None,
    before: Assembled | None = None,
) -> Assembled:
    """Fetch, verify and decode what is missing, and build the new rows beside the old ones.

    ``rows`` and ``row_type`` are the dataset's options of these names. Unchanged rows are the same objects in both
    versions. They are in the order that the version keeps, if it does. Raises ``CorruptBlock`` for what is missing or
    damaged, and what the stores raise.
    """
    form = Form(rows, row_type)
    if before is None:
        made = of_blocks(manifest, fetch, form, NOTHING)
    elif goes_on(before.manifest, manifest):
        made = _with_deltas(before, manifest, fetch, form)
    else:
        made = of_blocks(manifest, fetch, form, before)
    if len(made.rows) == manifest.rows:
        return made if manifest.order.chunks == () else _ordered(made, before, fetch)
    if before is not None:  # something has changed the rows that were held: they are of no use any more
        return assemble(version, manifest, fetch, rows=rows, row_type=row_type)
    count = len(made.rows)
    raise CorruptBlock(f"version {version} has {count:,} different keys, and its root says {manifest.rows:,}")


def _with_deltas(before: Assembled, manifest: Manifest, fetch: Fetch, form: Form) -> Assembled:
    """Return the version that further deltas make of the one before it.

    Rows of a delta are not what they were before it, so they are not compared with what is held.
    """
    difference = Difference({}, {})
    touched: list[list[Any]] = []
    for upserts, deletions in decoded_deltas(manifest.deltas[len(before.manifest.deltas) :], fetch, form):
        for key in deletions:
            difference.upserts.pop(key, None)
            difference.deletions[key] = None
        for key in upserts.keys() & difference.deletions.keys():
            del difference.deletions[key]
        difference.upserts.update(upserts)
        touched.append([*upserts, *deletions])
    return Assembled(
        manifest,
        changed_in_front(before.rows, difference.upserts, difference.deletions),
        before.keys,
        (*before.by_deltas, *touched),
        difference,
    )


def _ordered(made: Assembled, before: Assembled | None, fetch: Fetch) -> Assembled:
    """Return a version with its rows in their order."""
    rows, manifest = made.rows, made.manifest
    if before is not None and same_order(before, manifest):
        if not isinstance(rows, Sharded):
            return made  # replaced where they stood
        if isinstance(before.rows, InSequence):
            return _with_rows(made, InSequence(rows, before.rows.chunks))
    fresh = [*absent(manifest.blocks, {} if before is None else before.keys)]
    ordered = in_order(
        rows,
        manifest.order,
        fetch,
        before=NO_ORDER if before is None else before.manifest.order,
        ordered=() if before is None else before.rows,
        fresh=(made.keys[digest] for digest in fresh),
    )
    return _with_rows(made, ordered)


def _with_rows(made: Assembled, rows: Mapping[Any, Any]) -> Assembled:
    return Assembled(made.manifest, rows, made.keys, made.by_deltas, made.difference)
