"""A version made of its blocks and then its deltas: of those that are not held, beside the version that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .assembled import Assembled, Form, Nothing, decoded_deltas
from .compression import verified
from .digests import Fetch, Kind, fetched
from .manifest import Manifest
from .merging import Merging
from .partition import DecodedBlock, decode_blocks

FETCH = 512
"""Blocks in one fetch: their stored bytes are held only until they are decoded."""
TOGETHER = 16
"""Blocks that are decoded together, or fewer ..."""
TOGETHER_BYTES = 1 << 16
"""... if they take so many bytes: that is one step, of about a millisecond."""


def of_blocks(manifest: Manifest, fetch: Fetch, form: Form, before: Assembled | Nothing) -> Assembled:
    """Return a version of its blocks, of which those are fetched that are not held, and its deltas."""
    merging = Merging(manifest, form, before)
    for blocks in _decoded(merging.wanted, fetch, form):
        merging.put(blocks)
    merging.drop_what_is_gone()
    for delta in decoded_deltas(manifest.deltas, fetch, form):
        merging.apply(delta)
    return merging.done()


def _decoded(wanted: Iterable[bytes], fetch: Fetch, form: Form) -> Iterable[list[tuple[bytes, DecodedBlock]]]:
    """Yield blocks with their digests, some at a time."""
    some: list[tuple[bytes, bytes]] = []
    size = 0
    for digest, stored in fetched(wanted, fetch, at_once=FETCH, what="blocks"):
        some.append((digest, verified(Kind.BLOCK, digest, stored)))
        size += len(some[-1][1])
        if len(some) == TOGETHER or size >= TOGETHER_BYTES:
            yield _with_digests(some, form)
            some, size = [], 0
    if some:
        yield _with_digests(some, form)


def _with_digests(blocks: Sequence[tuple[bytes, bytes]], form: Form) -> list[tuple[bytes, DecodedBlock]]:
    decoded = decode_blocks(blocks, rows=form.rows, row_type=form.row_type)
    return list(zip([digest for digest, _ in blocks], decoded, strict=True))
