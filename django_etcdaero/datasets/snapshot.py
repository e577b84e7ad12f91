"""An immutable, consistent view of one version of a dataset."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from .state.announcement import Announcement


class Snapshot(Mapping[Any, Any]):
    """The rows of one version, with the ``index`` that ``prepare()`` built from exactly these rows.

    Reading it is a dictionary lookup. It stays what it is while newer versions arrive; drop it to free the memory.
    """

    __slots__ = ("__weakref__", "announcement", "index", "name", "rows")

    def __init__(self, name: str, rows: dict[Any, Any], index: Any, announcement: Announcement | None) -> None:
        self.name = name
        # `rows` is a plain dict because a read must cost what a dict costs; it belongs to the package.
        self.rows = rows
        self.index = index
        self.announcement = announcement

    @property
    def version(self) -> int:
        """The version's number (0 for rows set by a test)."""
        return self.announcement.version if self.announcement else 0

    @property
    def published_at(self) -> float:
        """When the version was published, seconds since the epoch."""
        return self.announcement.published_at if self.announcement else 0.0

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.rows[key]
        except KeyError:
            raise KeyError(f"dataset {self.name!r} has no key {key!r}") from None

    def get(self, key: Any, default: Any = None) -> Any:
        return self.rows.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self.rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def keys(self) -> KeysView[Any]:
        return self.rows.keys()

    def values(self) -> ValuesView[Any]:
        return self.rows.values()

    def items(self) -> ItemsView[Any, Any]:
        return self.rows.items()

    def __repr__(self) -> str:
        return f"<Snapshot {self.name} version {self.version}, {len(self.rows):,} rows>"
