"""What collections return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from django_etcdaero.exceptions import InvalidObject

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
