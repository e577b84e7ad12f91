"""An immutable, consistent view of one version of a dataset."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultingTypeVar  # typing has it from Python 3.13 on

    from .state.announcement import Announcement

    Index = DefaultingTypeVar("Index", default=Any)
else:
    Index = TypeVar("Index")

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class Rows(Mapping[K, V]):
    """Keys and rows: a mapping whose ``get()`` takes ``default`` by name as well."""

    __slots__ = ()

    if TYPE_CHECKING:

        @overload
        def get(self, key: K, default: None = None) -> V | None: ...
        @overload
        def get(self, key: K, default: V) -> V: ...
        @overload
        def get(self, key: K, default: T) -> V | T: ...
        def get(self, key: Any, default: Any = None) -> Any: ...


class Snapshot(Rows[K, V], Generic[K, V, Index]):
    """The rows of one version, with the ``index`` that ``prepare()`` built from exactly these rows.

    Reading it is a dictionary lookup. It stays what it is while newer versions arrive; drop it to free the memory.
    ``Snapshot[K, V]``: the types of keys and rows; a third one is that of the index, ``Any`` by default.
    """

    __slots__ = ("__weakref__", "announcement", "index", "name", "rows")

    if not TYPE_CHECKING:

        def __class_getitem__(cls, item: Any) -> Any:
            return super().__class_getitem__((*item, Any) if isinstance(item, tuple) and len(item) == 2 else item)

    def __init__(self, name: str, rows: dict[K, V], index: Index, announcement: Announcement | None) -> None:
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

    def __getitem__(self, key: K) -> V:
        try:
            return self.rows[key]
        except KeyError:
            raise KeyError(f"dataset {self.name!r} has no key {key!r}") from None

    if not TYPE_CHECKING:

        def get(self, key: Any, default: Any = None) -> Any:
            """Return the row, or ``default``."""
            return self.rows.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self.rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[K]:
        return iter(self.rows)

    def keys(self) -> KeysView[K]:
        return self.rows.keys()

    def values(self) -> ValuesView[V]:
        return self.rows.values()

    def items(self) -> ItemsView[K, V]:
        return self.rows.items()

    def __repr__(self) -> str:
        return f"<Snapshot {self.name} version {self.version}, {len(self.rows):,} rows>"
