"""A version made of its blocks and then its deltas: of those that are not held, beside the version that is."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress
from typing import Any, Final

from django_etcdaero.records.store import batches
from django_etcdaero.system.giving_way import GivingWay
from django_etcdaero.system.native_types import untrack

from .assembled import Assembled, Difference, Form, Nothing, absent, decoded_deltas, same_order
from .codec import Encoder
from .compression import verified
from .digests import DamagedRecord, Fetch, Kind, fetched
from .held import SLICE, Sharded
from .held_freeing import free_rows
from .held_making import Making
from .manifest import Manifest
from .partition import MAX_ROWS, DecodedBlock, block_of, decode_blocks
from .same_rows import with_old_objects

FETCH = 512
"""Blocks in one fetch: their stored bytes are held only until they are decoded."""
TOGETHER = 16
"""Blocks that are decoded together, or fewer ..."""
TOGETHER_BYTES = 1 << 16
"""... if they take so many bytes: that is one step, of about a millisecond."""
FEW = 1 / 8
"""Share of the blocks up to which what has changed is told row by row."""


def of_blocks(manifest: Manifest, fetch: Fetch, form: Form, before: Assembled | Nothing) -> Assembled:
    """Return a version of its blocks, of which those are fetched that are not held, and its deltas.

    Rows of these blocks that are what they were before are neither dropped nor put: what a few changed rows cost is
    the reading of their blocks, and not the copying of all shards that have a row of one of them.
    """
    stale = _under_deltas(before) if isinstance(before, Assembled) and before.by_deltas else frozenset()
    wanted = [*absent(manifest.blocks, before.keys, stale)]
    dropped = dropped_blocks(before.keys, manifest, stale, kept=len(manifest.blocks) - len(wanted))
    in_place = isinstance(before, Assembled) and same_order(before, manifest)
    anew = not in_place and len(dropped) * 2 > len(before.keys)
    few = len(wanted) <= FEW * len(manifest.blocks) and isinstance(before, Assembled)
    own: Making | None = None
    """The keys that blocks and deltas of before had, and none of the blocks has yet."""
    if (dropped or before.by_deltas) and (not anew or few or manifest.order.chunks):
        own = _own_keys(before, dropped)
    merged, keys = _kept(before, manifest, dropped, anew=anew)
    held = before.rows if form.row_type is None else {}
    upserts: dict[Any, Any] | None = {} if few else None
    named: list[bytes] = []
    names: list[Sequence[Any]] = []
    for blocks in _decoded(wanted, fetch, form):
        put: list[Any] = []
        put_rows: list[Any] = []
        try:
            for digest, block in blocks:
                some = tuple(block.keys if own is None else _old_objects(block.keys, own))
                untrack(some)  # the garbage collector would find out as well, when it has looked at all of them
                rows = with_old_objects(some, block.rows, held) if held else block.rows
                named.append(digest)
                names.append(some)
                new: Sequence[Any] = some
                if own is not None and not anew:
                    others, new, rows = _that_differ(some, rows, own, held)
                    if not in_place or isinstance(before.rows, Sharded):  # else they are the same, in the same order
                        merged.drop(others)
                if own is not None:
                    own.drop(some)
                put += new
                put_rows += rows
            merged.put(put, put_rows)
        except TypeError as error:  # a key that cannot be one
            raise DamagedRecord.of(Kind.BLOCK, _without_hash(blocks), error) from error
        if len(named) >= SLICE:
            keys.put(named, names)
            named, names = [], []
        if upserts is not None:
            upserts.update(zip(put, put_rows, strict=True))
    keys.put(named, names)
    gone: Mapping[Any, Any] = {} if own is None else own.done()
    if not anew:
        for each in batches(gone, SLICE):
            merged.drop(each)
    touched: list[list[Any]] = []
    for new_rows, deletions in decoded_deltas(manifest.deltas, fetch, form):
        rows = with_old_objects([*new_rows], [*new_rows.values()], held) if held else [*new_rows.values()]
        merged.drop(deletions)
        merged.put([*new_rows], rows)
        touched.append([*new_rows, *deletions])
        if upserts is not None:
            upserts.update(zip(new_rows, rows, strict=True))
    made = merged.done()
    difference = None
    if upserts is not None and (in_place or not manifest.order.chunks):
        difference = _difference(before, made, upserts, chain(gone, *before.by_deltas, *touched))
    free_rows(gone)
    return Assembled(manifest, made, keys.done(), (*touched,), difference)


def _difference(
    before: Assembled | Nothing, made: Mapping[Any, Any], upserts: Mapping[Any, Any], touched: Iterable[Any]
) -> Difference:
    """Return what has changed of the rows that were put (``upserts``), and of other keys that may have no row now."""
    old, give_way = before.rows, GivingWay()
    found = Difference({}, {})
    for number, key in enumerate(chain(touched, upserts)):
        if key in old and key not in made:
            found.deletions[key] = None
        if number % SLICE == 0:
            give_way()
    for number, key in enumerate(upserts):
        if key in made and (key not in old or old[key] is not made[key]):
            found.upserts[key] = made[key]
        if number % SLICE == 0:
            give_way()
    return found


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


def dropped_blocks(
    held: Mapping[bytes, Any], manifest: Manifest, stale: Collection[bytes], *, kept: int
) -> Sequence[bytes]:
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


def _own_keys(before: Assembled | Nothing, dropped: Iterable[bytes]) -> Making:
    """Return the keys of the blocks, and those of the deltas, each under itself."""
    lists = [*(before.keys[digest] for digest in dropped), *before.by_deltas]
    found = Making(None, sum(map(len, lists)))
    for each in lists:
        for some in batches(each, SLICE):
            found.put(some, some)
    return found


def _old_objects(keys: Iterable[Any], own: Making) -> Iterator[Any]:
    """Yield keys, and in place of each of those that are just what it is the one of ``own``.

    Texts that are equal stay the same objects: the sequence of keys goes by those.
    """
    for key in keys:
        old = own.get(key, key)
        yield old if type(old) is type(key) in _EXACT else key


def _that_differ(
    keys: Sequence[Any], rows: Sequence[Any], own: Making, held: Mapping[Any, Any]
) -> tuple[list[Any], Sequence[Any], Sequence[Any]]:
    """Return the keys in whose place another object may stand, or none, and the keys and rows that are to be put.

    Without ``held`` rows to compare with, all are.
    """
    stays = [key if type(key) in _EXACT and own.get(key) is key else _NONE for key in keys]
    others = [key for key, there in zip(keys, stays, strict=True) if there is _NONE]
    if not held:
        return others, keys, rows
    new = [held.get(key, _NONE) is not row for key, row in zip(stays, rows, strict=True)]
    return others, list(compress(keys, new)), list(compress(rows, new))


_EXACT: Final = frozenset((str, int, bytes))
"""Of these, two that are equal and of one type are the same."""

_NONE: Final = object()


def _kept(
    before: Assembled | Nothing, manifest: Manifest, dropped: Sequence[bytes], *, anew: bool
) -> tuple[Making, Making]:
    """Return rows and keys to be added to, with the keys of the blocks that stay.

    The rows are those of before: what has gone of them is still to be dropped. ``anew``: they are those of the blocks
    that stay, of which there are few.
    """
    if anew:
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
    keys.drop(dropped)
    return merged, keys


def _expected(manifest: Manifest) -> int:
    """Return for how many rows to make room: for those of its root, unless so many are never in such blocks.

    What a root says is not believed before the rows are there.
    """
    return min(manifest.rows, 2 * MAX_ROWS * manifest.count + sum(manifest.delta_sizes))


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


def _without_hash(blocks: Iterable[tuple[bytes, DecodedBlock]]) -> bytes:
    """Return the digest of the block that has a key without a hash."""
    for digest, block in blocks:
        try:
            hash(tuple(block.keys))
        except TypeError:
            return digest
    raise AssertionError("all keys have a hash")
