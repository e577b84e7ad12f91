"""The rows of a version made of those that are held, and of blocks and deltas that are not.

Rows of these blocks that are what they were before are neither dropped nor put: what a few changed rows cost is the
reading of their blocks, and not the copying of all shards that have a row of one of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress
from typing import Any, Final

from django_etcdaero.records.store import batches
from django_etcdaero.system.giving_way import GivingWay
from django_etcdaero.system.native_types import untrack

from .assembled import Assembled, Difference, Form, Nothing, absent, same_order
from .codec import Encoder
from .delta_reading import DecodedDelta
from .digests import DamagedRecord, Kind
from .held import SLICE, Sharded
from .held_freeing import free_rows
from .held_making import Making
from .manifest import Manifest
from .partition import MAX_ROWS, DecodedBlock, block_of
from .same_rows import with_old_objects

FEW = 1 / 8
"""Share of the blocks up to which what has changed is told row by row."""

_EXACT: Final = frozenset((str, int, bytes))
"""Of these, two that are equal and of one type are the same."""

_NONE: Final = object()


class Merging:
    """A version in the making: :meth:`put` the ``wanted`` blocks, :meth:`drop_what_is_gone`, :meth:`apply` the deltas,
    in this order, and then it is :meth:`done`."""

    def __init__(self, manifest: Manifest, form: Form, before: Assembled | Nothing) -> None:
        self._manifest = manifest
        self._before = before
        stale = _under_deltas(before) if isinstance(before, Assembled) and before.by_deltas else frozenset()
        self.wanted = [*absent(manifest.blocks, before.keys, stale)]
        """Digests of the blocks that are not held."""
        dropped = dropped_blocks(before.keys, manifest, stale, kept=len(manifest.blocks) - len(self.wanted))
        self._in_place = isinstance(before, Assembled) and same_order(before, manifest)
        self._anew = not self._in_place and len(dropped) * 2 > len(before.keys)
        few = len(self.wanted) <= FEW * len(manifest.blocks) and isinstance(before, Assembled)
        self._own: Making | None = None
        """The keys that blocks and deltas of before had, and none of the blocks has yet."""
        if (dropped or before.by_deltas) and (not self._anew or few or manifest.order.chunks):
            self._own = _own_keys(before, dropped)
        self._rows, self._keys = _kept(before, manifest, dropped, anew=self._anew)
        self._held = before.rows if form.row_type is None else {}
        """Rows of before with which new ones are compared."""
        self._upserts: dict[Any, Any] | None = {} if few else None
        self._gone: Mapping[Any, Any] = {}
        """Keys that no block has any more."""
        self._by_deltas: list[list[Any]] = []
        self._named: list[bytes] = []
        self._names: list[Sequence[Any]] = []

    def put(self, blocks: Sequence[tuple[bytes, DecodedBlock]]) -> None:
        """Add the rows of blocks, some hundred; each comes with its digest.

        Raises ``DamagedRecord`` for a key without a hash.
        """
        keys: list[Any] = []
        rows: list[Any] = []
        try:
            for digest, block in blocks:
                new, new_rows = self._of_block(digest, block)
                keys += new
                rows += new_rows
            self._rows.put(keys, rows)
        except TypeError as error:  # a key that cannot be one
            raise DamagedRecord.of(Kind.BLOCK, _without_hash(blocks), error) from error
        if len(self._named) >= SLICE:
            self._note_keys()
        if self._upserts is not None:
            self._upserts.update(zip(keys, rows, strict=True))

    def _of_block(self, digest: bytes, block: DecodedBlock) -> tuple[Sequence[Any], Sequence[Any]]:
        """Note the keys of a block and drop others that are equal; return keys and rows that are to be put."""
        own, held = self._own, self._held
        keys = tuple(block.keys if own is None else _old_objects(block.keys, own))
        untrack(keys)  # the garbage collector would find out as well, when it has looked at all of them
        rows = with_old_objects(keys, block.rows, held) if held else block.rows
        self._named.append(digest)
        self._names.append(keys)
        if own is None:
            return keys, rows
        new: Sequence[Any] = keys
        if not self._anew:
            others, new, rows = _that_differ(keys, rows, own, held)
            # Else they are the same, in the same order.
            if not self._in_place or isinstance(self._before.rows, Sharded):
                self._rows.drop(others)
        own.drop(keys)
        return new, rows

    def _note_keys(self) -> None:
        self._keys.put(self._named, self._names)
        self._named, self._names = [], []

    def drop_what_is_gone(self) -> None:
        """Drop the rows that no block has any more."""
        self._note_keys()
        if self._own is not None:
            self._gone = self._own.done()
        if not self._anew:
            for keys in batches(self._gone, SLICE):
                self._rows.drop(keys)

    def apply(self, delta: DecodedDelta) -> None:
        """Put and drop what a delta says."""
        keys, rows = [*delta.upserts], [*delta.upserts.values()]
        if self._held:
            rows = with_old_objects(keys, rows, self._held)
        self._rows.drop(delta.deletions)
        self._rows.put(keys, rows)
        self._by_deltas.append([*keys, *delta.deletions])
        if self._upserts is not None:
            self._upserts.update(zip(keys, rows, strict=True))

    def done(self) -> Assembled:
        """Return the version."""
        before, manifest = self._before, self._manifest
        made = self._rows.done()
        difference = None
        if self._upserts is not None and (self._in_place or not manifest.order.chunks):
            touched = chain(self._gone, *before.by_deltas, *self._by_deltas)
            difference = _difference(before, made, self._upserts, touched)
        free_rows(self._gone)
        return Assembled(manifest, made, self._keys.done(), (*self._by_deltas,), difference)


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


def _without_hash(blocks: Iterable[tuple[bytes, DecodedBlock]]) -> bytes:
    """Return the digest of the block that has a key without a hash."""
    for digest, block in blocks:
        try:
            hash(tuple(block.keys))
        except TypeError:
            return digest
    raise AssertionError("all keys have a hash")
