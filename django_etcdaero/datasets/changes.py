"""What ``load_changes()`` of a dataset returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Changes(Generic[K]):
    """What has changed in a source since a cursor.

    What is told need not be new: a row that is what it was, and a deletion of a key that is not there, change nothing.
    """

    upserts: Mapping[K, Any] | Iterable[tuple[K, Any]]
    """Rows that are new or other than they were, as ``load()`` gives them: a mapping, or ``(key, row)`` pairs."""
    deletions: Iterable[K]
    """Keys that are gone."""
    cursor: Any
    """Where the source stands: what the next ``load_changes()`` gets. Any value that a row may have, and small: at most
    512 bytes as it is stored."""
