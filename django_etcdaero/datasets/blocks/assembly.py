"""Putting the rows of a version together, re-using what the one before it holds.

What is held is never changed: the new rows stand beside the old ones (:mod:`.held`), and share all that is the same.
A version that only adds deltas to the one that is held costs what they change; any other one costs its blocks that are
not held, and then its deltas.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, NamedTuple

from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.records.store import batches
from django_etcdaero.system.giving_way import GivingWay
from django_etcdaero.system.native_types import untrack

from .codec import Encoder
from .delta import decode_delta, fetch_deltas
from .digests import DamagedRecord, Fetch, Kind, fetched
from .held import SLICE, InSequence, Sharded, read_only
from .held_freeing import free_rows
from .held_making import Making, changed
from .manifest import Manifest
from .order import NO_ORDER, in_order
from .partition import MAX_ROWS, block_of, decode_block
from .row_types import RowForm
from .same_rows import with_old_objects

FETCH = 512
"""Blocks in one fetch: their stored bytes are held only until they are decoded."""
FEW = 1 / 8
"""Share of the blocks up to which what has changed is told row by row."""


class Difference(NamedTuple):
    """What makes the rows of one version those of the next. Rows that are not in it are the same objects."""

    upserts: dict[Any, Any]
    deletions: dict[Any, None]


@dataclass(frozen=True, slots=True)
class Assembled:
    """A version in memory."""

    manifest: Manifest
    rows: Mapping[Any, Any]
    """A ``dict`` or, of many rows, what :mod:`.held` makes."""
    keys: Mapping[bytes, Sequence[Any]]
    """The keys of each block, by digest: what has to go when the block goes."""
    by_deltas: tuple[list[Any], ...] = ()
    """The keys that each of the deltas of the version has put or deleted: what the blocks say of them does not hold."""
    difference: Difference | None = None
    """To the version that this was made from, if it is small."""

    damaged: ClassVar[str | None] = None
    """What is wrong with what holds the rows: nothing can be, in memory."""

    @property
    def ordered(self) -> bool:
        """Whether the rows are in the order in which they were loaded."""
        return bool(self.manifest.order.chunks)

    @property
    def view(self) -> Mapping[Any, Any]:
        """The rows, read-only."""
        return read_only(self.rows)


def missing_bytes(before: Assembled | None, manifest: Manifest) -> int:
    """Return the stored size of the blocks and deltas of ``manifest`` that are not in memory."""
    if before is not None and _goes_on(before.manifest, manifest):
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
    form = _Form(rows, row_type)
    if before is None:
        made = _of_blocks(manifest, fetch, form, _NOTHING)
    elif _goes_on(before.manifest, manifest):
        made = _with_deltas(before, manifest, fetch, form)
    else:
        made = _of_blocks(manifest, fetch, form, before)
    if len(made.rows) == manifest.rows:
        return made if manifest.order.chunks == () else _ordered(made, before, fetch)
    if before is not None:  # something has changed the rows that were held: they are of no use any more
        return assemble(version, manifest, fetch, rows=rows, row_type=row_type)
    count = len(made.rows)
    raise CorruptBlock(f"version {version} has {count:,} different keys, and its root says {manifest.rows:,}")


class _Form(NamedTuple):
    """What rows are to be."""

    rows: RowForm
    row_type: type[Any] | None


class _Nothing(NamedTuple):
    """What is held before the first version."""

    rows: Mapping[Any, Any]
    keys: Mapping[bytes, Sequence[Any]]
    by_deltas: tuple[list[Any], ...]


_NOTHING = _Nothing({}, {}, ())


# --- deltas ----------------------------------------------------------------------------------------------------------


def _goes_on(before: Manifest, manifest: Manifest) -> bool:
    """Tell whether a version has the blocks of the one before it, and its deltas, and maybe more."""
    same = (manifest.count, manifest.pages, manifest.order_pages) == (before.count, before.pages, before.order_pages)
    return same and manifest.deltas[: len(before.deltas)] == before.deltas


def _with_deltas(before: Assembled, manifest: Manifest, fetch: Fetch, form: _Form) -> Assembled:
    """Return the version that further deltas make of the one before it.

    Rows of a delta are not what they were before it, so they are not compared with what is held.
    """
    difference = Difference({}, {})
    touched: list[list[Any]] = []
    for upserts, deletions in _changes(manifest.deltas[len(before.manifest.deltas) :], fetch, form):
        for key in deletions:
            difference.upserts.pop(key, None)
            difference.deletions[key] = None
        for key in upserts.keys() & difference.deletions.keys():
            del difference.deletions[key]
        difference.upserts.update(upserts)
        touched.append([*upserts, *deletions])
    return Assembled(
        manifest,
        changed(before.rows, difference.upserts, difference.deletions),
        before.keys,
        (*before.by_deltas, *touched),
        difference,
    )


def _changes(digests: Iterable[bytes], fetch: Fetch, form: _Form) -> Iterator[tuple[dict[Any, Any], Sequence[Any]]]:
    give_way = GivingWay()
    for digest, stored in fetch_deltas(digests, fetch):
        yield decode_delta(digest, stored, rows=form.rows, row_type=form.row_type)
        give_way()


def _keep_old_objects(rows: dict[Any, Any], held: Mapping[Any, Any]) -> None:
    rows.update(zip(rows, with_old_objects(list(rows), list(rows.values()), held), strict=True))


# --- blocks ----------------------------------------------------------------------------------------------------------


def _of_blocks(manifest: Manifest, fetch: Fetch, form: _Form, before: Assembled | _Nothing) -> Assembled:
    """Return a version of its blocks, of which those are fetched that are not held, and its deltas."""
    stale = _under_deltas(before) if isinstance(before, Assembled) and before.by_deltas else frozenset()
    wanted = [*_absent(manifest.blocks, before.keys, stale)]
    dropped = _dropped(before.keys, manifest, stale, kept=len(manifest.blocks) - len(wanted))
    in_place = isinstance(before, Assembled) and _same_order(before, manifest)
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
    for changes, deletions in _changes(manifest.deltas, fetch, form):
        if held:
            _keep_old_objects(changes, held)
        merged.drop(deletions)
        merged.put(list(changes), list(changes.values()))
        touched.append([*changes, *deletions])
        if upserts is not None:
            upserts.update(changes)
    made = merged.done()
    free_rows(own)
    difference = None
    if upserts is not None and (in_place or not manifest.order.chunks):
        difference = _difference(before, made, upserts, (before.keys[digest] for digest in dropped))
    return Assembled(manifest, made, keys.done(), (*touched,), difference)


def _difference(
    before: Assembled | _Nothing,
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


def _absent(digests: Iterable[bytes], held: Mapping[bytes, Any], stale: Collection[bytes] = ()) -> Iterator[bytes]:
    """Yield those of the digests that are not held, or stale."""
    give_way = GivingWay()
    for number, digest in enumerate(digests):
        if digest not in held or digest in stale:
            yield digest
        if number % SLICE == 0:
            give_way()


def _dropped(held: Mapping[bytes, Any], manifest: Manifest, stale: Collection[bytes], *, kept: int) -> Sequence[bytes]:
    """Return the blocks that are held and not in ``manifest``, or stale; ``kept``: how many stay."""
    if kept == len(held):
        return ()
    named = Making(None, len(manifest.blocks))
    for some in batches(manifest.blocks, SLICE):
        named.put(some, some)
    digests = named.done()
    dropped = [*_absent(held, digests, stale)]
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
    before: Assembled | _Nothing, manifest: Manifest, dropped: Sequence[bytes], *, in_place: bool
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


def _decoded(
    wanted: Iterable[bytes], fetch: Fetch, form: _Form
) -> Iterable[tuple[bytes, Sequence[Any], Sequence[Any]]]:
    for digest, stored in fetched(wanted, fetch, at_once=FETCH, what="blocks"):
        block = decode_block(digest, stored, rows=form.rows, row_type=form.row_type)
        yield digest, block.keys, block.rows


# --- order -----------------------------------------------------------------------------------------------------------


def _same_order(before: Assembled, manifest: Manifest) -> bool:
    return bool(manifest.order.chunks) and manifest.order.chunks == before.manifest.order.chunks


def _ordered(made: Assembled, before: Assembled | None, fetch: Fetch) -> Assembled:
    """Return a version with its rows in their order."""
    rows, manifest = made.rows, made.manifest
    if before is not None and _same_order(before, manifest):
        if not isinstance(rows, Sharded):
            return made  # replaced where they stood
        if isinstance(before.rows, InSequence):
            return _with_rows(made, InSequence(rows, before.rows.chunks))
    fresh = [*_absent(manifest.blocks, {} if before is None else before.keys)]
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
