"""A version made of its blocks and then its deltas: of those that are not held, beside the version that is."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from django_etcdaero.records.store import batches
from django_etcdaero.system.giving_way import GivingWay
from django_etcdaero.system.native_types import untrack

from .assembled import Assembled, Difference, Form, Nothing, absent, decoded_deltas, same_order
from .codec import Encoder
from .digests import DamagedRecord, Fetch, Kind, fetched
from .held import SLICE, Sharded
from .held_freeing import free_rows
from .held_making import Making
from .manifest import Manifest
from .partition import MAX_ROWS, block_of, decode_block
from .same_rows import with_old_objects

FETCH = 512
"""Blocks in one fetch: their stored bytes are held only until they are decoded."""
FEW = 1 / 8
"""Share of the blocks up to which what has changed is told row by row."""


def of_blocks(manifest: Manifest, fetch: Fetch, form: Form, before: Assembled | Nothing) -> Assembled:
    """Return a version of its blocks, of which those are fetched that are not held, and its deltas."""
    stale = _under_deltas(before) if isinstance(before, Assembled) and before.by_deltas else frozenset()
    wanted = [*absent(manifest.blocks, before.keys, stale)]
    dropped = _dropped(before.keys, manifest, stale, kept=len(manifest.blocks) - len(wanted))
    in_place = isinstance(before, Assembled) and same_order(before, manifest)
    own: Mapping[Any, Any] = {}
    if isinstance(before, Assembled) and before.manifest.order.chunks:
        # Texts that are equal stay the same objects: the sequence of keys goes by those.
        own = _texts(before.keys[digest] for digest in dropped)
    merged, keys = _kept(before, manifest, dropped, in_place=in_place)
    for each in before.by_deltas:
        merged.drop(each)
    held = before.rows if form.row_type is None else {}
    upserts: dict[Any, Any] | None = {}
    if len(wanted) > FEW * len(manifest.blocks) or not isinstance(before, Assembled):
        upserts = None
    for digest, block_keys, block_rows in _decoded(wanted, fetch, form):
        try:
            some = tuple(own.get(key, key) for key in block_keys) if own else tuple(block_keys)
            untrack(some)  # the garbage collector would find out as well, when it has looked at all of them
            some_rows = with_old_objects(some, block_rows, held) if held else block_rows
            merged.put(some, some_rows)
        except TypeError as error:  # a key that cannot be one
            raise DamagedRecord.of(Kind.BLOCK, digest, error) from error
        keys.put((digest,), (some,))
        if upserts is not None:
            upserts.update(zip(some, some_rows, strict=True))
    touched: list[list[Any]] = []
    for new, deletions in decoded_deltas(manifest.deltas, fetch, form):
        rows = with_old_objects([*new], [*new.values()], held) if held else [*new.values()]
        merged.drop(deletions)
        merged.put([*new], rows)
        touched.append([*new, *deletions])
        if upserts is not None:
            upserts.update(zip(new, rows, strict=True))
    made = merged.done()
    free_rows(own)
    difference = None
    if upserts is not None and (in_place or not manifest.order.chunks):
        difference = _difference(before, made, upserts, (before.keys[digest] for digest in dropped))
    return Assembled(manifest, made, keys.done(), (*touched,), difference)


def _difference(
    before: Assembled | Nothing,
    made: Mapping[Any, Any],
    upserts: Mapping[Any, Any],
    dropped: Iterable[Iterable[Any]],
) -> Difference:
    """Return what has changed of the rows that were put (``upserts``), and that are in no block any more."""
    old = before.rows
    gone = {key: None for keys in dropped for key in keys if key in old and key not in made}
    gone.update((key, None) for key in chain(*before.by_deltas, upserts) if key in old and key not in made)
    there = (key for key in upserts if key in made)
    return Difference({key: made[key] for key in there if key not in old or old[key] is not made[key]}, gone)


def _under_deltas(before: Assembled) -> frozenset[bytes]:
    """Return the blocks that are held, and of which deltas have replaced rows."""
    manifest, encoder = before.manifest, Encoder()
    indices: set[int] = set()
    give_way = GivingWay()
    for keys in before.by_deltas:
        indices.update(block_of(key, manifest.count) for key in encoder.keys(keys))
        give_way()
    found: set[bytes] = set()
    for index in indices:
        begin = bisect_left(manifest.indices, index)
        found.update(manifest.blocks[begin : bisect_right(manifest.indices, index, begin)])
    return frozenset(found)


def _dropped(held: Mapping[bytes, Any], manifest: Manifest, stale: Collection[bytes], *, kept: int) -> Sequence[bytes]:
    """Return the blocks that are held and not in ``manifest``, or stale; ``kept``: how many stay."""
    if kept == len(held):
        return ()
    named = Making(None, len(manifest.blocks))
    for some in batches(manifest.blocks, SLICE):
        named.put(some, some)
    digests = named.done()
    dropped = [*absent(held, digests, stale)]
    free_rows(digests)
    return dropped


def _texts(keys: Iterable[Sequence[Any]]) -> Mapping[Any, Any]:
    """Return those of the keys that are texts, each under itself."""
    texts = [[key for key in some if type(key) is str] for some in keys]
    found = Making(None, sum(map(len, texts)))
    for some in texts:
        found.put(some, some)
    return found.done()


def _kept(
    before: Assembled | Nothing, manifest: Manifest, dropped: Sequence[bytes], *, in_place: bool
) -> tuple[Making, Making]:
    """Return the rows and keys of the blocks that stay, to be added to.

    ``in_place``: the new version has the same keys in the same order, so that rows are replaced where they stand.
    """
    if not in_place and len(dropped) * 2 > len(before.keys):
        merged, keys = Making(None, _expected(manifest)), Making(None, len(manifest.blocks))
        gone = frozenset(dropped)
        for digest in manifest.blocks:
            if digest in before.keys and digest not in gone:
                some = before.keys[digest]
                keys.put((digest,), (some,))
                there = [key for key in some if key in before.rows]
                merged.put(there, [before.rows[key] for key in there])
        return merged, keys
    merged, keys = Making(before.rows, _expected(manifest)), Making(before.keys, len(manifest.blocks))
    for digest in dropped:
        if not in_place or isinstance(before.rows, Sharded):
            merged.drop(before.keys[digest])
    keys.drop(dropped)
    return merged, keys


def _expected(manifest: Manifest) -> int:
    """Return for how many rows to make room: for those of its root, unless so many are never in such blocks.

    What a root says is not believed before the rows are there.
    """
    return min(manifest.rows, 2 * MAX_ROWS * manifest.count + sum(manifest.delta_sizes))


def _decoded(wanted: Iterable[bytes], fetch: Fetch, form: Form) -> Iterable[tuple[bytes, Sequence[Any], Sequence[Any]]]:
    for digest, stored in fetched(wanted, fetch, at_once=FETCH, what="blocks"):
        block = decode_block(digest, stored, rows=form.rows, row_type=form.row_type)
        yield digest, block.keys, block.rows
