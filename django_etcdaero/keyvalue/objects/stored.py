"""What collections return, and what their watches deliver: for ``match``, each kind of event is a class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from django_etcdaero.exceptions import InvalidObject
from django_etcdaero.keyvalue.client.watch import ResyncReason

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """An object with its name and its place in the store's history."""

    name: str
    """Relative to the collection."""
    object: T
    version: int
    """The revision of the object's last change: a greater one is newer, across the whole store."""
    created: int
    """The revision that created the object."""
    lease: int = 0
    """Id of the lease that it hangs on, 0 for none."""

    @property
    def is_new(self) -> bool:
        """True if the object was not changed since it was created."""
        return self.version == self.created


@dataclass(frozen=True, slots=True)
class Invalid:
    """Something stored in the collection that is no object of it."""

    name: str
    """Relative to the collection; what is not UTF-8 in it is escaped."""
    version: int
    value: bytes
    error: InvalidObject


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """Objects of a collection as of one moment. Iterate over it, take its length or an item."""

    items: tuple[Stored[T], ...]
    revision: int
    """The store's revision at that moment: what a further page is asked for with, and what a watch goes on from."""
    more: bool
    """True if there are more objects than ``limit``."""
    invalid: tuple[Invalid, ...] = ()
    """What was skipped with ``skip_invalid``."""

    def __iter__(self) -> Iterator[Stored[T]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Stored[T]:
        return self.items[index]


# --- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Created(Generic[T]):
    """An object came into being, or into the selection of the watch."""

    stored: Stored[T]


@dataclass(frozen=True, slots=True)
class Updated(Generic[T]):
    """An object was written again."""

    stored: Stored[T]
    previous: Stored[T] | None = None
    """What it was before; ``None`` in the first snapshot, and if the store has forgotten it or it cannot be read."""


@dataclass(frozen=True, slots=True)
class Deleted(Generic[T]):
    """An object is gone: deleted, expired, or not in the selection of the watch any more."""

    name: str
    revision: int
    """The revision of the change."""
    previous: Stored[T] | None = None
    """What it was before, with its last version; ``None`` if the store has forgotten it or it cannot be read."""


@dataclass(frozen=True, slots=True)
class Resynced(Generic[T]):
    """Events are missing; this stands for them. Who keeps a copy of the collection replaces it by ``items``."""

    reason: ResyncReason
    items: tuple[Stored[T], ...]
    """What there is as of ``revision``, in the order of the names, as far as the watch selects it."""
    revision: int
    invalid: tuple[Invalid, ...] = ()
    compact_revision: int = 0
    """The oldest revision that can still be read, where ``reason`` is ``COMPACTED``; 0: the store did not say."""


ObjectEvent: TypeAlias = "Created[T] | Updated[T] | Deleted[T] | Resynced[T] | Invalid"
