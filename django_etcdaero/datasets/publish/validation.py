"""Whether freshly loaded rows may be announced: validators accept them, and they load as readers will load them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from django_etcdaero.datasets.blocks.assembly import FETCH, Assembled, assemble
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.difference import differences, encoded_side, stored_side
from django_etcdaero.datasets.blocks.digests import Fetch, fetched
from django_etcdaero.datasets.blocks.frozen import freeze
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.partition import decode_block, partition
from django_etcdaero.datasets.blocks.row_class import row_class
from django_etcdaero.datasets.blocks.row_stream import StreamedRows
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.field_index import build_index
from django_etcdaero.datasets.snapshot import make_snapshot
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.datasets.validators import RowCounts, ValidatorResult, validate
from django_etcdaero.exceptions import ConfigurationError, EtcdAeroError, ResponseError, ValidationFailed
from django_etcdaero.records.store import batches
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.interruption import interrupts

from .base import Base
from .changing import ChangedRows, Difference
from .source import STREAM_FROM
from .stored_rows import StoredRows
from .thresholds import choose_validators

logger = logging.getLogger("django_etcdaero.datasets")


class OldRowsGone(EtcdAeroError):
    """The rows that are current cannot be read any more."""


class OldRows(Mapping[Any, Any]):
    """The rows that are current, for validators: the number is known, the rows are fetched when first looked at.

    :meth:`changes` counts what differs and fetches only blocks that do.

    ``streamed``: few of them are held at a time where there are many.

    They are read-only, and of the types that ``load()`` gives, whatever the dataset declares. Looking at them raises
    :class:`OldRowsGone` when the record store does not have them any more.
    """

    def __init__(
        self,
        blocks: BlockStore,
        announcement: Announcement,
        row_type: type[Any] | None = None,
        *,
        manifest: Manifest | None = None,
        streamed: bool = False,
    ) -> None:
        self._blocks = blocks
        self._streamed = streamed and announcement.rows > STREAM_FROM
        self._row_type = row_type
        self._announcement = announcement
        self._known = manifest
        self._counted: tuple[Mapping[Any, Any], RowCounts] | None = None

    @cached_property
    def _manifest(self) -> Manifest:
        if self._known is not None:
            return self._known
        return Manifest.load(self._blocks.fetch, bytes.fromhex(self._announcement.root))

    @cached_property
    def _rows(self) -> Mapping[Any, Any]:
        if self._streamed:
            with self._telling_what_is_gone():
                manifest = self._manifest
            return StoredRows(manifest, self._blocks.fetch, self._telling_what_is_gone)
        with self._telling_what_is_gone():
            return assemble(self._announcement.version, self._manifest, self._blocks.fetch, rows="frozen").view

    def changes(self, new: Mapping[Any, Any]) -> RowCounts:
        """Count the rows that differ from ``new``, which are encoded for that; the count is remembered.

        Raises ``EncodeError`` and ``RecordTooBig`` for rows that could not be stored either.
        """
        if self._counted is None or self._counted[0] is not new:
            with self._telling_what_is_gone():
                count, stored = self._manifest.count, stored_side(self._manifest, self._blocks.fetch)
            if isinstance(new, StreamedRows):
                side = new.side(count)
            else:
                parts = partition(
                    new.as_loaded if isinstance(new, NewRows) else new,
                    max_value_bytes=self._blocks.max_value_bytes,
                    previous_count=count,
                    row_type=self._row_type,
                )
                side = encoded_side(parts, parts.count, frozenset(stored.blocks))
            with self._telling_what_is_gone():
                pairs = differences(stored, side)
                found = Counter((pair.old is None, pair.new is None) for pair in pairs)
            counts = RowCounts(added=found[True, False], removed=found[False, True], changed=found[False, False])
            self._counted = new, counts
        return self._counted[1]

    def counted(self, new: Mapping[Any, Any], counts: RowCounts) -> None:
        """Take it from who knows how many rows differ from ``new``."""
        self._counted = new, counts

    @contextmanager
    def _telling_what_is_gone(self) -> Iterator[None]:
        try:
            yield
        except ResponseError as error:
            raise OldRowsGone(f"version {self._announcement.version} cannot be read any more: {error}") from error

    def __getitem__(self, key: Any) -> Any:
        return self._rows[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def items(self) -> ItemsView[Any, Any]:
        """Return keys and rows."""
        return self._rows.items()

    def values(self) -> ValuesView[Any]:
        """Return the rows."""
        return self._rows.values()

    def __len__(self) -> int:
        return self._announcement.rows


class NewRows(Mapping[Any, Any]):
    """The rows just loaded, for validators: each is a read-only copy, so that what they change is not published."""

    def __init__(self, rows: Mapping[Any, Any]) -> None:
        self.as_loaded = rows

    def __getitem__(self, key: Any) -> Any:
        return freeze(self.as_loaded[key])

    def __contains__(self, key: object) -> bool:
        return key in self.as_loaded

    def __iter__(self) -> Iterator[Any]:
        return iter(self.as_loaded)

    def __len__(self) -> int:
        return len(self.as_loaded)


def run_validators(
    dataset: Declared[Any, Any],
    stores: Stores,
    latest: Announcement | None,
    rows: Mapping[Any, Any],
    results: list[ValidatorResult],
    *,
    changed: tuple[Base, Difference] | None = None,
) -> None:
    """Run the dataset's validators on ``rows`` and those of ``latest``; what each says is added to ``results``.

    ``changed``: only what differs from ``latest`` was loaded, and ``rows`` are not looked at. Raises
    ``ValidationFailed``, store errors, and where only changes were loaded :class:`OldRowsGone`.
    """
    layout = dataset.layout(stores.prefix)
    chosen = choose_validators(stores.kv, layout, tuple(dataset.validators))
    results += chosen.notes
    blocks = BlockStore(stores.records, layout)
    if changed is not None and latest is not None:
        base, found = changed
        old = OldRows(blocks, latest, dataset.row_type, manifest=base.manifest, streamed=True)
        with_changes = ChangedRows(old, found)
        old.counted(with_changes, found.counts)
        validate(chosen.validators, old, with_changes, overridden=chosen.overridden, results=results)
        return
    streamed = isinstance(rows, StreamedRows)
    current = None if latest is None else OldRows(blocks, latest, dataset.row_type, streamed=streamed)
    new = rows if streamed else NewRows(rows)
    try:
        validate(chosen.validators, current, new, overridden=chosen.overridden, results=results)
    except OldRowsGone as error:
        # A validator that compares with rows that nobody has any more must not keep the dataset from healing.
        logger.warning("dataset %s: validated without the old rows: %s", dataset.name, error)
        results[:] = chosen.notes
        validate(chosen.validators, None, new, overridden=chosen.overridden, results=results)


def trial_of_changes(
    dataset: Declared[Any, Any],
    announcement: Announcement,
    manifest: Manifest,
    fetch: Fetch,
    *,
    base: Base,
    found: Difference,
) -> Assembled | None:
    """Make what a change brings in the form that the dataset declares, and all that is built of all rows.

    Rows and indexes are made of the changed rows alone: the others have been through it. Where there is a ``prepare()``
    it is given all rows, which are returned for the next time. Raises as :func:`trial_load` does.
    """
    if type(dataset).prepare is not Declared.prepare:
        return trial_load(dataset, announcement, manifest, fetch, before=base.assembled)
    if dataset.row_type is None and not dataset.indexes:
        return None
    try:
        keys, rows = list(found.upserts), list(found.upserts.values())
        made = None if dataset.row_type is None else row_class(dataset.row_type)
        if made is not None:
            rows = made.plain(rows)
        if dataset.rows == "frozen":
            rows = [freeze(row) for row in rows]
        if made is not None:
            rows = made.made(keys, rows, frozen=dataset.rows == "frozen")
        for field in dataset.indexes:
            build_index(dataset.name, field, dict(zip(keys, rows, strict=True)))
    except ConfigurationError as error:  # rows that do not fit the declared type, or lack a field of an index
        raise ValidationFailed(f"no process could load the new rows: {error}") from error
    return None


def trial_load(
    dataset: Declared[Any, Any],
    announcement: Announcement,
    manifest: Manifest,
    fetch: Fetch,
    *,
    before: Assembled | None = None,
) -> Assembled | None:
    """Make the rows in the form that the dataset declares, and all that is built of them.

    A version that no process could load would leave every new process without data, and the refresh would look like a
    success. Reading the blocks is left out where no code of the dataset takes part in loading: what was written is
    named by its digest. ``before``: a version that is held in memory. Returns the one that was made, if one was. Raises
    ``ValidationFailed`` when loading does not work, and what ``fetch`` raises.
    """
    if dataset.row_type is None and type(dataset).prepare is Declared.prepare and not dataset.indexes:
        return None
    try:
        if type(dataset).prepare is Declared.prepare and not manifest.deltas:
            _try_blocks(dataset, manifest, fetch)
            return None
        made = assemble(
            announcement.version, manifest, fetch, rows=dataset.rows, row_type=dataset.row_type, before=before
        )
        make_snapshot(dataset, made.rows, announcement, ordered=bool(manifest.order.chunks))
    except ConfigurationError as error:  # rows that do not fit the declared type
        raise ValidationFailed(f"no process could load the new rows: {error}") from error
    except EtcdAeroError:
        raise
    except BaseException as error:
        if interrupts(error):
            raise
        raise ValidationFailed(f"prepare() raised {text_of(error)}") from error
    return made


def _try_blocks(dataset: Declared[Any, Any], manifest: Manifest, fetch: Fetch) -> None:
    """Make the rows, and indexes of them, some blocks at a time; none is held."""
    for names in batches(manifest.blocks, FETCH):
        some: dict[Any, Any] = {}
        for digest, stored in fetched(names, fetch, at_once=FETCH, what="blocks"):
            block = decode_block(digest, stored, rows=dataset.rows, row_type=dataset.row_type)
            some.update(zip(block.keys, block.rows, strict=True))
        for field in dataset.indexes:
            build_index(dataset.name, field, some)
