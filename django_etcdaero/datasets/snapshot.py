"""An immutable, consistent view of one version of a dataset."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from django_etcdaero.exceptions import ConfigurationError, KeyNotFound

from .declared import Declared
from .field_index import FieldIndex, build_index

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

    __slots__ = ("__weakref__", "_fields", "_ordered", "_sequence", "announcement", "index", "name", "rows")

    if not TYPE_CHECKING:

        def __class_getitem__(cls, item: Any) -> Any:
            return super().__class_getitem__((*item, Any) if isinstance(item, tuple) and len(item) == 2 else item)

    def __init__(
        self,
        name: str,
        rows: dict[K, V],
        index: Index,
        announcement: Announcement | None,
        *,
        ordered: bool = False,
        fields: Mapping[str, FieldIndex[V]] = MappingProxyType({}),
    ) -> None:
        self.name = name
        # `rows` is a plain dict because a read must cost what a dict costs; it belongs to the package.
        self.rows = rows
        self.index = index
        self.announcement = announcement
        self._ordered = ordered
        self._fields = fields
        self._sequence: tuple[V, ...] | None = None

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

    def by(self, field: str) -> FieldIndex[V]:
        """Return the rows by the values of a field that the dataset's ``indexes`` name.

        Raises ``KeyNotFound`` for another one.
        """
        try:
            return self._fields[field]
        except KeyError:
            known = ", ".join(self._fields) or "none"
            raise KeyNotFound(f"dataset {self.name!r} has no index {field!r}; its indexes: {known}") from None

    def get_many(self, keys: Iterable[K]) -> dict[K, V]:
        """Return the rows of those ``keys`` that exist, by key, in the order of ``keys``."""
        rows = self.rows
        return {key: rows[key] for key in keys if key in rows}

    def sequence(self) -> tuple[V, ...]:
        """Return all rows in order, to be counted, sliced and paged; made once for each version.

        Raises ``ConfigurationError`` when the dataset is not ``ordered``: the pages of two processes would not fit
        together.
        """
        if not self._ordered:
            raise ConfigurationError(f"dataset {self.name!r} keeps no order: declare it with ordered = True")
        sequence = self._sequence
        if sequence is None:
            sequence = self._sequence = tuple(self.rows.values())
        return sequence

    @property
    def dictionaries(self) -> list[dict[Any, Any]]:
        """Those of the rows and of the indexes, for who frees them bit by bit; the indexes', which hold rows, first."""
        return [*(index.found for index in self._fields.values()), self.rows]

    def __repr__(self) -> str:
        return f"<Snapshot {self.name} version {self.version}, {len(self.rows):,} rows>"


def make_snapshot(
    dataset: Declared[K, V], rows: dict[K, V], announcement: Announcement | None, *, ordered: bool
) -> Snapshot[K, V, Any]:
    """Return the snapshot of rows, with all that is built of them: what ``prepare()`` makes, and the indexes.

    ``ordered``: the rows are in the order in which ``load()`` gave them. Raises what ``prepare()`` raises, and
    ``ValidationFailed`` for rows that an index does not fit.
    """
    index = dataset.prepare(MappingProxyType(rows))
    fields = {field: build_index(dataset.name, field, rows) for field in dataset.indexes}
    return Snapshot(dataset.name, rows, index, announcement, ordered=ordered or dataset.ordered, fields=fields)
