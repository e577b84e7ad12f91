"""What watches of a collection deliver. Made for ``match``: each kind of event is a class of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from django_etcdaero.keyvalue.client.watch import ResyncReason

from .stored import Invalid, Stored

T = TypeVar("T")


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


ObjectEvent: TypeAlias = "Created[T] | Updated[T] | Deleted[T] | Resynced[T] | Invalid"
