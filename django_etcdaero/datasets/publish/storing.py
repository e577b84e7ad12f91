"""Encoding the rows of a refresh and writing what the record store does not have yet.

New records are written with a time to live, those about to expire are given a new one, and all are made permanent
together, right before the announcement: a refresh that fails or is killed on the way leaves nothing behind for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.codec import ROWS_CODEC
from django_etcdaero.datasets.blocks.compression import damaged
from django_etcdaero.datasets.blocks.delta import EncodedDelta
from django_etcdaero.datasets.blocks.digests import Kind
from django_etcdaero.datasets.blocks.folding import FoldedBlock
from django_etcdaero.datasets.blocks.manifest import Entry, Manifest
from django_etcdaero.datasets.blocks.partition import EncodedBlock, Partition, partition
from django_etcdaero.datasets.blocks.row_digests import RowDigests
from django_etcdaero.datasets.blocks.row_stream import StreamedPartition, StreamedRows
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.exceptions import ResponseError
from django_etcdaero.system.temporary_bytes import TemporaryValues

from .source import STEP, Progress

WINDOW = 512
"""Blocks that are looked up and written together."""


def load_manifest(blocks: BlockStore, announcement: Announcement | None) -> Manifest | None:
    """Return the manifest of an announced version, or ``None`` when it cannot be read any more.

    Raises what the store raises when it is away.
    """
    if announcement is None:
        return None
    try:
        return Manifest.load(blocks.fetch, bytes.fromhex(announcement.root))
    except (ResponseError, ValueError):
        return None


class Storing:
    """Brings one version into the record store.

    ``base`` is a version whose blocks are certain to stay (the announced one); ``verify`` reads back what exists
    already and rewrites what is damaged; with ``dry_run`` nothing is written, but kept in memory for :meth:`fetch`.
    ``ttl``: seconds that what is written lives unless it is made permanent.
    """

    def __init__(
        self,
        dataset: Declared[Any, Any],
        blocks: BlockStore,
        base: Manifest | None,
        *,
        verify: bool,
        dry_run: bool,
        ttl: int,
        progress: Progress | None,
    ) -> None:
        self._dataset = dataset
        self._blocks = blocks
        self._base = base
        self._verify = verify
        self._dry_run = dry_run
        self._ttl = ttl
        self._progress = progress
        self._written: dict[bytes, int] = {}
        """Stored bytes of each record that was (or, in a dry run, would be) written."""
        self._kept: MutableMapping[bytes, bytes] = {}
        """In a dry run: the stored form of what would be written."""
        self.digests: RowDigests | None = None
        """Those of the rows, where :meth:`store` was asked for them."""
        self.bytes_total = 0
        """Stored bytes of the whole version: blocks, pages and root. Known after :meth:`store`."""
        self._mortal: set[bytes] = set()
        """Records that are part of the version and vanish after a while unless :meth:`make_permanent` comes first."""

    @cached_property
    def _sizes(self) -> dict[bytes, int]:
        """Stored size of each block and chunk of the base."""
        base = self._base
        if base is None:
            return {}
        return dict(zip((*base.blocks, *base.order.chunks), (*base.sizes, *base.order.sizes), strict=True))

    @cached_property
    def _certain(self) -> set[bytes]:
        return set(self._base.digests()) if self._base is not None else set()

    @property
    def content(self) -> bytes:
        """Digest of all rows, where :meth:`store` was asked for those of the rows."""
        return b"" if self.digests is None else self.digests.content

    @property
    def written(self) -> Mapping[bytes, int]:
        """Stored bytes of each record that was not there."""
        return self._written

    @property
    def bytes_written(self) -> int:
        """Stored bytes of the records that were not there."""
        return sum(self._written.values())

    def store(
        self,
        rows: Mapping[Any, Any] | StreamedRows,
        *,
        contents: bool = False,
        by_fields: bool = True,
        same: bytes = b"",
    ) -> Manifest:
        """Encode ``rows`` and write the missing records. Raises ``EncodeError``, ``RecordTooBig``, and store errors.

        ``by_fields``: rows may be written field by field. ``contents``: the digests of the rows are wanted, and are in
        ``digests`` then. ``same`` is the digest of all rows of the base, if it is known: where the rows are those of
        the base, and all of that is there, it stays as it is, with its deltas.
        """
        parts = self._partition(rows, contents=contents, by_fields=by_fields)
        self.digests = parts.digests
        base = self._base
        if base is not None and base.deltas and same == self.content and not self._verify and self._stays():
            self.bytes_total = base.stored_bytes + sum(base.delta_sizes)
            return base
        manifest = Manifest.build(
            self._stored(iter(parts), Kind.BLOCK, self._counter("write", len(rows))),
            name=self._dataset.name,
            schema=self._dataset.schema,
            count=parts.count,
            order=self._stored(iter(parts.order), Kind.ORDER, lambda keys: None),
        )
        self.store_manifest(manifest)
        return manifest

    def _partition(
        self, rows: Mapping[Any, Any] | StreamedRows, *, contents: bool, by_fields: bool
    ) -> Partition | StreamedPartition:
        count = self._base.count if self._base is not None else None
        if isinstance(rows, StreamedRows):  # they were encoded as they came
            self._kept = TemporaryValues(rows.another_file())
            return rows.partition(count, by_fields=by_fields)
        return partition(
            rows,
            max_value_bytes=self._blocks.max_value_bytes,
            previous_count=count,
            ordered=self._dataset.ordered,
            contents=contents,
            row_type=self._dataset.row_type,
            by_fields=None if by_fields else False,
            progress=self._counter("encode", len(rows)),
        )

    def store_manifest(self, manifest: Manifest) -> None:
        """Write the pages and the root of a version whose other records were stored. Raises store errors."""
        records = manifest.records()
        self.bytes_total = manifest.stored_bytes + sum(map(len, records.values()))
        self._bring(dict.fromkeys(records, Kind.PAGE) | {manifest.root_digest: Kind.ROOT}, records)

    def store_deltas(self, base: Manifest, deltas: Iterable[EncodedDelta], *, rows: int, content: bytes) -> Manifest:
        """Write deltas that go on from a version that is there; return the manifest of what they make of it.

        ``rows`` and ``content`` are those of the result. Looks at no other record. Raises store errors.
        """
        stored = {delta.digest: delta.stored() for delta in deltas}
        self._bring(dict.fromkeys(stored, Kind.DELTA), stored)
        manifest = base.changed(
            [(delta.digest, len(stored[delta.digest])) for delta in deltas],
            rows=rows,
            content=content,
            codec=max((delta.codec for delta in deltas), default=ROWS_CODEC),
        )
        self._bring({manifest.root_digest: Kind.ROOT}, {manifest.root_digest: manifest.root_record()})
        return manifest

    def store_folded(self, blocks: Sequence[FoldedBlock]) -> dict[int, list[Entry]]:
        """Write blocks that take the place of others; return what a manifest lists of each, by its number.

        Raises store errors.
        """
        found: dict[int, list[Entry]] = {each.number: [] for each in blocks}
        records = (record for each in blocks for record in each.records)
        for entry in self._stored(records, Kind.BLOCK, lambda rows: None):
            found[entry.index].append(entry)
        return found

    def add(self, names: Iterable[bytes], written: Mapping[bytes, int]) -> None:
        """Take records into the version that were stored before; ``written``: bytes of those that were not there."""
        self._mortal.update(names)
        self._written.update(written)

    def fetch(self, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the stored bytes of the digests that exist, or would exist after a dry run; nothing is verified."""
        wanted = set(digests)
        kept = {digest: self._kept[digest] for digest in wanted & self._kept.keys()}
        return kept | self._blocks.fetch(wanted - kept.keys())

    def make_permanent(self) -> None:
        """Make all records of the version permanent. Raises ``ResponseError`` when the store has lost one already."""
        lost = self._mortal - self._blocks.keep_forever(self._mortal)
        if lost:
            raise ResponseError(f"the record store lost {len(lost)} of {len(self._mortal)} records just written")

    def _stays(self) -> bool:
        """Tell whether all records of the base are there, and none is about to go."""
        found = self._blocks.exists(self._certain)
        return found.keys() == self._certain and all(meta.ttl is None for meta in found.values())

    def _counter(self, phase: str, total: int) -> Any:
        done = 0

        def count(rows: int) -> None:
            nonlocal done
            before, done = done, done + rows
            if self._progress is not None and (done // STEP != before // STEP or done == total):
                self._progress(phase, done, total)

        return count

    def _stored(self, parts: Iterator[EncodedBlock], kind: Kind, count: Callable[[int], object]) -> Iterator[Entry]:
        while window := list(islice(parts, WINDOW)):
            by_digest = {block.digest: block for block in window}
            stored = _Lazily(by_digest)
            self._bring(dict.fromkeys(by_digest, kind), stored)
            for block in window:
                size = self._sizes.get(block.digest)
                yield block.entry(len(stored[block.digest]) if size is None else size)
                count(block.rows)

    def _bring(self, kinds: Mapping[bytes, Kind], stored: Mapping[bytes, bytes]) -> None:
        """See to it that the records exist, are sound (if asked to verify) and will stay."""
        found = self._blocks.exists(kinds)
        absent = [digest for digest in kinds if digest not in found]
        if self._verify and found:
            absent += damaged({digest: kinds[digest] for digest in found}, self._blocks.fetch(found))
        if self._dry_run:
            self._kept.update((digest, stored[digest]) for digest in absent)
        else:
            # Blocks outside the base may be given a time to live at this moment, by a publisher that retired them: the
            # touch brings a new generation, which makes that publisher stay away.
            mortal = {digest for digest, meta in found.items() if meta.ttl is not None}
            unsure = found.keys() - mortal - self._certain
            gone = (unsure - self._blocks.keep_forever(unsure)) | (mortal - self._blocks.renew(mortal, self._ttl))
            absent += gone - set(absent)
            if absent:
                self._blocks.write({digest: stored[digest] for digest in absent}, self._ttl)
            self._mortal.update(mortal, absent)
        for digest in absent:
            self._written[digest] = len(stored[digest])


class _Lazily(Mapping[bytes, bytes]):
    """The stored form of blocks, compressed when first asked for."""

    def __init__(self, blocks: Mapping[bytes, EncodedBlock]) -> None:
        self._blocks = blocks
        self._done: dict[bytes, bytes] = {}

    def __getitem__(self, digest: bytes) -> bytes:
        if digest not in self._done:
            self._done[digest] = self._blocks[digest].stored()
        return self._done[digest]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)
