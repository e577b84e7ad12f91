"""The rows that are current, as validators look at them: fetched when they are first looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django_etcdaero.datasets.blocks.assembly import assemble
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.exceptions import EtcdAeroError, ResponseError

if TYPE_CHECKING:
    from django_etcdaero.datasets.blocks.block_store import BlockStore


class OldRowsGone(EtcdAeroError):
    """The rows that are current cannot be read any more."""


class OldRows(Mapping[Any, Any]):
    """The rows that are current, for validators: the number is known, the rows are fetched when first looked at.

    They are plain, as ``load()`` gives them, whatever the dataset's ``rows`` option. Looking at them raises
    :class:`OldRowsGone` when the record store does not have them any more.
    """

    def __init__(self, blocks: BlockStore, announcement: Announcement) -> None:
        self._blocks = blocks
        self._announcement = announcement

    @cached_property
    def _rows(self) -> Mapping[Any, Any]:
        try:
            manifest = Manifest.load(self._blocks.fetch, bytes.fromhex(self._announcement.root))
            return assemble(self._announcement, manifest, self._blocks.fetch, rows="plain").view
        except ResponseError as error:
            raise OldRowsGone(f"version {self._announcement.version} cannot be read any more: {error}") from error

    def __getitem__(self, key: Any) -> Any:
        return self._rows[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __len__(self) -> int:
        return self._announcement.rows
