"""An immutable, consistent view of one version of a dataset."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

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
    """Keys and rows: a mapping whose ``get()`` takes ``default`` by name as well.

    It is copied like a number is: a copy is the same object. A ``dict`` that can be changed comes from ``thaw()``.
    """

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

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
    Pickled it comes back as a snapshot with ordinary rows.
    ``Snapshot[K, V]``: the types of keys and rows; a third one is that of the index, ``Any`` by default.
    """

    __slots__ = ("__weakref__", "_rows", "announcement", "index", "name")

    if not TYPE_CHECKING:

        def __class_getitem__(cls, item: Any) -> Any:
            return super().__class_getitem__((*item, Any) if isinstance(item, tuple) and len(item) == 2 else item)

    def __init__(self, name: str, rows: dict[K, V], index: Index, announcement: Announcement | None) -> None:
        self.name = name
        # A plain dict, because a read must cost what a dict costs; it belongs to the package.
        self._rows = rows
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

    @property
    def rows(self) -> Mapping[K, V]:
        """The rows, as a read-only view of the dictionary that they are in."""
        return MappingProxyType(self._rows)

    def __getitem__(self, key: K) -> V:
        try:
            return self._rows[key]
        except KeyError:
            raise KeyError(f"dataset {self.name!r} has no key {key!r}") from None

    if not TYPE_CHECKING:

        def get(self, key: Any, default: Any = None) -> Any:
            """Return the row, or ``default``."""
            return self._rows.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    def keys(self) -> KeysView[K]:
        return self._rows.keys()

    def values(self) -> ValuesView[V]:
        return self._rows.values()

    def items(self) -> ItemsView[K, V]:
        return self._rows.items()

    def __repr__(self) -> str:
        return f"<Snapshot {self.name} version {self.version}, {len(self._rows):,} rows>"

    def __reduce__(self) -> Any:
        return Snapshot, (self.name, self._rows, self.index, self.announcement)


def rows_of(snapshot: Snapshot[K, V, Any]) -> dict[K, V]:
    """Return the dictionary itself that a snapshot has its rows in: for reads that must cost what a dict costs."""
    return snapshot._rows


def one_version(rows: Mapping[K, V]) -> Mapping[K, V]:
    """Return the snapshot of a dataset that is given, and any other mapping as it is."""
    if isinstance(rows, Rows) and not isinstance(rows, Snapshot):
        snapshot: Mapping[K, V] = rows.snapshot()  # type: ignore[attr-defined] # Rows are snapshots and datasets
        return snapshot
    return rows
