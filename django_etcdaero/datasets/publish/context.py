"""What a publication goes by from its beginning to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.host import Host
from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.stored_state import StoredState
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.keyvalue.queue.lock import Lock

from .permission import Permission


@dataclass(frozen=True, slots=True)
class PublishingContext:
    """The dataset, the stores, and what was read of it when the refresh began."""

    dataset: Declared[Any, Any]
    host: Host
    stores: Stores
    state: StoredState
    """What was read under ``lock``."""
    lock: Lock | None
    """Without one nothing is written: rows are loaded, validated, encoded and loaded on trial only."""
    permission: Permission
    """That to announce."""

    @property
    def layout(self) -> Layout:
        """The names of the dataset's keys and records."""
        return self.dataset.layout(self.stores.prefix)

    @property
    def blocks(self) -> BlockStore:
        """The dataset's records."""
        return BlockStore(self.stores.records, self.layout)
