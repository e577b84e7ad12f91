"""Fetching a version, or putting that off: all processes of all hosts want a new version in one moment.

Who wants much waits a random time, unless somebody waits for the dataset in this process.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django_etcdaero.datasets.blocks.assembly import Assembled, assemble, missing_bytes
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.row_types import RowForm
from django_etcdaero.datasets.blocks.taking_over import taken_over
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.system.clocks import monotonic

if TYPE_CHECKING:
    from django_etcdaero.datasets.mapped.versions import MappedVersion, SharedVersions

SPLAY_BYTES = 1 << 20
"""Fetches of more than this many bytes are spread out."""


class Fetching:
    """The fetches of one dataset, whose options ``rows`` and ``row_type`` these are; ``splay``: the longest delay in
    seconds."""

    def __init__(self, rows: RowForm, row_type: type[Any] | None, *, splay: float) -> None:
        self.shared: SharedVersions | None = None
        """Where versions are mapped, if all processes of the host share them."""
        self._shared_dir = ""
        self._rows = rows
        self._row_type = row_type
        self._splay = splay
        self._put_off: tuple[str, float] | None = None
        """The announcement whose fetch is put off, and until when."""

    def share(self, dataset: Declared[Any, Any], stores: Stores, *, damaged: Callable[[], object]) -> None:
        """Map versions of a shared dataset from now on; ``damaged`` as :class:`.SharedVersions` has it."""
        if dataset.shared and stores.shared_dir != self._shared_dir:
            from django_etcdaero.datasets.mapped.versions import SharedVersions  # here: most datasets do not need it

            self._shared_dir = stores.shared_dir
            self.shared = SharedVersions(
                stores.shared_dir,
                dataset.layout(stores.prefix),
                rows=self._rows,
                row_type=self._row_type,
                cached=dataset.shared_cache,
                damaged=damaged,
            )

    def fetch(
        self,
        announcement: Announcement,
        blocks: BlockStore,
        *,
        before: Assembled | MappedVersion | None,
        wanted: bool,
        first_bytes: int,
    ) -> Assembled | MappedVersion | float:
        """Return the announced version in memory, or until when its fetch is put off, on the monotonic clock.

        ``before`` is the version held, ``first_bytes`` are those of all versions that the process still has to fetch
        for the first time; ``wanted``: it is not put off. Raises ``CorruptBlock``, and what the store raises.
        """
        if self.shared is not None:
            mapped = None if isinstance(before, Assembled) else before
            return self.shared.version(
                announcement,
                blocks,
                before=mapped,
                put_off=lambda size: self._until(
                    announcement, size if mapped is not None else max(size, first_bytes), wanted=wanted
                ),
            )
        before = before if isinstance(before, Assembled) else None
        if before is None:
            until = self._until(announcement, max(first_bytes, announcement.stored_bytes), wanted=wanted)
            if until is not None:
                return until
        held = None if before is None else before.manifest
        manifest = Manifest.load(blocks.fetch, bytes.fromhex(announcement.root), known=held)
        if before is not None:
            same = before.manifest.content.hex() == announcement.content != ""
            if same and (taken := taken_over(before, manifest)) is not None:
                return taken
            until = self._until(announcement, missing_bytes(before, manifest), wanted=wanted)
            if until is not None:
                return until
        return assemble(
            announcement.version, manifest, blocks.fetch, rows=self._rows, row_type=self._row_type, before=before
        )

    def _until(self, announcement: Announcement, size: float, *, wanted: bool) -> float | None:
        if wanted or not self._splay or size <= SPLAY_BYTES:
            return None
        now = monotonic()
        if self._put_off is None or self._put_off[0] != announcement.id:
            self._put_off = announcement.id, now + random.uniform(0, self._splay)
        until = self._put_off[1]
        return until if now < until else None
