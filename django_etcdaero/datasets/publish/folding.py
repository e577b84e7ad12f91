"""Folding the deltas of a version into its blocks, some of them at a time.

What is written on the way has a time to live, and nothing of what is announced names it: a fold can be left at any
moment. It is of the deltas that there were when it began. Further ones that come meanwhile stay beside the blocks that
it makes, so it goes on whatever changes are published; and it is dropped when the blocks are other ones, or these
deltas are gone, after a full load, a rollback or the fold of another process. A refresh announces it, as it announces
everything.

A process that serves folds between its refreshes, without the lock, for as long as nobody waits for one
(:func:`fold_on`).
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.folding import AT_ONCE, by_block, fold
from django_etcdaero.datasets.blocks.manifest import Entry, Manifest
from django_etcdaero.datasets.blocks.partition import block_count
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.formats import allowed
from django_etcdaero.datasets.state.schedule import request_load
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import CorruptBlock

from .base import Base, held, is_to_fold
from .storing import Storing

logger = logging.getLogger("django_etcdaero.datasets")

KEYS: Final = 20_000
"""Keys that are assigned to their blocks in one step, which takes about as long as making blocks does."""


class Fold:
    """The deltas of a version on their way into its blocks.

    ``net`` is what they come to, ``rows`` how many rows that gives; ``by_fields``: rows may be written field by field.
    """

    def __init__(
        self,
        manifest: Manifest,
        net: Mapping[bytes, bytes | None],
        *,
        rows: int,
        by_fields: bool,
        max_value_bytes: int,
    ) -> None:
        self.by_fields = by_fields
        self.manifest: Manifest | None = None
        """That of the version without these deltas, once it is made."""
        self._base = manifest
        self._rows = rows
        self._net = dict(net)
        self._todo = iter(self._net.items())
        self._changes: dict[int, dict[bytes, bytes | None]] = {}
        self._folded = fold(
            manifest,
            self._changes,
            lambda digests: self._storing.fetch(digests),
            max_value_bytes=max_value_bytes,
            by_fields=None if by_fields else False,
        )
        self._replaced: dict[int, list[Entry]] = {}
        self._gone = 0
        self._names: set[bytes] = set()
        self._written: dict[bytes, int] = {}
        self._total = 0
        self._failed = False
        self._storing: Storing

    def step(self, storing: Storing) -> bool:
        """Do some more of it, and write that by ``storing``; tell whether it is through.

        Raises ``CorruptBlock`` for blocks that are missing or damaged, and store errors. Then it is of no use any more.
        """
        if self.manifest is not None:
            return True
        self._storing = storing
        try:
            self._step(storing)
        except BaseException:
            self._failed = True
            raise
        return self.manifest is not None

    def _step(self, storing: Storing) -> None:
        some = list(islice(self._todo, KEYS))
        by_block(some, self._base.count, self._changes)
        if some:
            return
        blocks = list(islice(self._folded, AT_ONCE))
        self._replaced |= storing.store_folded(blocks)
        self._gone += sum(each.plain_bytes for each in blocks)
        self._note(storing, [record.digest for each in blocks for record in each.records])
        if not blocks:
            made = replace(self._base, rows=self._rows).folded(self._replaced, plain_bytes=self._gone)
            storing.store_manifest(made)
            self._note(storing, [*made.pages, made.root_digest])
            self.manifest, self._total = made, storing.bytes_total

    def _note(self, storing: Storing, names: Collection[bytes]) -> None:
        self._names.update(names)
        self._written.update((name, storing.written[name]) for name in names if name in storing.written)

    def goes_before(self, manifest: Manifest) -> bool:
        """Tell whether a version is the one that is folded, or what further deltas have made of it."""
        base = self._base
        same = (manifest.count, manifest.pages) == (base.count, base.pages) and not self._failed
        return same and manifest.deltas[: len(base.deltas)] == base.deltas

    def then(self, base: Base, storing: Storing) -> Base:
        """Return what this makes of a version that it goes before: other blocks, and the further deltas.

        ``storing`` gets all that it has written; the root of the result is still to be stored if it has deltas.
        """
        assert self.manifest is not None, "it is not through"
        first = len(self._base.deltas)
        later = list(zip(base.manifest.deltas[first:], base.manifest.delta_sizes[first:], strict=True))
        storing.add(self._names, self._written)
        storing.bytes_total = self._total + sum(size for _, size in later)
        if not later:
            return Base(self.manifest)
        after = self.manifest.changed(later, rows=base.manifest.rows, content=base.manifest.content)
        folded, absent = self._net, object()
        net = {key: row for key, row in base.net.items() if folded.get(key, absent) is not row}
        return Base(after, net)


_begun: dict[bytes, Fold] = {}
"""What this process is folding, by the start of the dataset's records."""


def begun(layout: Layout, manifest: Manifest, *, by_fields: bool) -> Fold | None:
    """Return the fold that is under way and goes before a version. One that does not is dropped."""
    found = _begun.get(layout.records)
    if found is not None and not (found.goes_before(manifest) and found.by_fields == by_fields):
        drop(layout)
        return None
    return found


def begin(layout: Layout, base: Base, *, by_fields: bool, max_value_bytes: int) -> Fold:
    """Begin to fold the deltas of a version; arguments as for :class:`Fold`."""
    manifest = base.manifest
    made = Fold(manifest, base.net, rows=manifest.rows, by_fields=by_fields, max_value_bytes=max_value_bytes)
    _begun[layout.records] = made
    return made


def drop(layout: Layout) -> None:
    """Fold no further: it was announced, or what was folded is gone."""
    _begun.pop(layout.records, None)


def is_ready(layout: Layout, announced: Announcement | None) -> bool:
    """Tell whether what is announced was folded by this process, and only has to be announced."""
    found, base = _begun.get(layout.records), held(layout)
    if found is None or base is None or announced is None or found.manifest is None:
        return False
    return announced.root == base.manifest.root_digest.hex() and found.goes_before(base.manifest)


class Left(enum.Enum):
    """What is left to do of a fold."""

    NOTHING = enum.auto()
    MORE = enum.auto()
    """Further steps."""
    TO_ANNOUNCE = enum.auto()
    """It is through: the next refresh that finds nothing new announces it."""


def fold_on(dataset: Declared[Any, Any], stores: Stores) -> Left:
    """Do a step of folding what this process has published, if there is something to fold; tell what is left to do.

    Nothing is done when something else was announced meanwhile. Where a block is missing or damaged a repair is asked
    for. Raises what the stores raise.
    """
    layout = dataset.layout(stores.prefix)
    base = held(layout)
    if base is None or not is_to_fold(base.manifest):
        return Left.NOTHING
    manifest, form = base.manifest, allowed(stores.kv, dataset.name, dataset.schema, newest=stores.newest_format)
    fits = block_count(manifest.rows, manifest.count) == manifest.count and manifest.codec <= form.forms.codec
    if not (fits and form.deltas):
        return Left.NOTHING  # the next refresh makes blocks of all of it at once
    found = begun(layout, manifest, by_fields=form.by_fields)
    if found is not None and found.manifest is not None:
        return Left.TO_ANNOUNCE
    announced = Announcement.believe(stores.kv.get(layout.announcement))
    if announced is None or announced.root != manifest.root_digest.hex():
        return Left.NOTHING
    blocks = BlockStore(stores.records, layout)
    if found is None:
        found = begin(layout, base, by_fields=form.by_fields, max_value_bytes=blocks.max_value_bytes)
    storing = Storing(dataset, blocks, None, verify=False, dry_run=False, ttl=stores.garbage_ttl, progress=None)
    try:
        return Left.TO_ANNOUNCE if found.step(storing) else Left.MORE
    except CorruptBlock as error:
        logger.warning("dataset %s: a repair is asked for, while deltas are folded: %s", dataset.name, error)
        request_load(dataset, stores, repair=True)
        return Left.NOTHING
