"""An immutable, consistent view of one version of a dataset."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from django_etcdaero.exceptions import ConfigurationError, KeyNotFound

from .blocks.held import read_only
from .declared import Declared
from .field_index import FieldIndex, build_index, change_index

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultingTypeVar  # typing has it from Python 3.13 on

    from .blocks.assembly import Difference
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

    Reading it is a dictionary lookup, of many rows two of them. It stays what it is while newer
    versions arrive; drop it to free the memory.
    Pickled it comes back as a snapshot with ordinary rows.
    ``Snapshot[K, V]``: the types of keys and rows; a third one is that of the index, ``Any`` by default.
    """

    __slots__ = ("__weakref__", "_fields", "_ordered", "_rows", "_sequence", "announcement", "index", "name")

    if not TYPE_CHECKING:

        def __class_getitem__(cls, item: Any) -> Any:
            return super().__class_getitem__((*item, Any) if isinstance(item, tuple) and len(item) == 2 else item)

    def __init__(
        self,
        name: str,
        rows: Mapping[K, V],
        index: Index,
        announcement: Announcement | None,
        *,
        ordered: bool = False,
        fields: Mapping[str, FieldIndex[V]] = MappingProxyType({}),
    ) -> None:
        self.name = name
        # A plain dict, because a read must cost what a dict costs, or many small ones; it belongs to the package.
        self._rows: Any = rows
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

    @property
    def rows(self) -> Mapping[K, V]:
        """The rows, as a read-only view of what they are in."""
        return read_only(self._rows)

    def __getitem__(self, key: K) -> V:
        try:
            return self._rows[key]  # type: ignore[no-any-return]
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
        return self._rows.keys()  # type: ignore[no-any-return]

    def values(self) -> ValuesView[V]:
        return self._rows.values()  # type: ignore[no-any-return]

    def items(self) -> ItemsView[K, V]:
        return self._rows.items()  # type: ignore[no-any-return]

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
        rows = self._rows
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
            sequence = self._sequence = tuple(self._rows.values())
        return sequence

    def __repr__(self) -> str:
        return f"<Snapshot {self.name} version {self.version}, {len(self._rows):,} rows>"

    def __reduce__(self) -> Any:
        make = partial(Snapshot, ordered=self._ordered, fields=dict(self._fields))
        return make, (self.name, self._rows, self.index, self.announcement)


def make_snapshot(
    dataset: Declared[K, V],
    rows: Mapping[K, V],
    announcement: Announcement | None,
    *,
    ordered: bool,
    before: Snapshot[K, V, Any] | None = None,
    difference: Difference | None = None,
) -> Snapshot[K, V, Any]:
    """Return the snapshot of rows, with all that is built of them: what ``prepare()`` makes, and the indexes.

    ``ordered``: the rows are in the order in which ``load()`` gave them. ``difference`` is what makes these rows of
    those of ``before``, if that is known: then indexes cost what it touches. Raises what ``prepare()`` raises, and
    ``ValidationFailed`` for rows that an index does not fit.
    """
    ordered = ordered or dataset.ordered
    index = dataset.prepare(read_only(rows))
    build = getattr(rows, "build_index", build_index)  # rows that are not held are found in another way
    fields: dict[str, FieldIndex[V]] = {}
    for field in dataset.indexes:
        made = None
        if before is not None and difference is not None and field in before._fields:
            held = before._fields[field]
            made = change_index(held, dataset.name, field, before._rows, *difference, ordered=ordered)
        build = getattr(rows, "build_index", build_index)  # rows that are not held are found in another way
        fields[field] = build(dataset.name, field, rows) if made is None else made
    return Snapshot(dataset.name, rows, index, announcement, ordered=ordered, fields=fields)


def rows_of(snapshot: Snapshot[K, V, Any]) -> Any:
    """Return the mapping itself that a snapshot has its rows in: for reads that must cost what a dict costs."""
    return snapshot._rows


def mappings_of(snapshot: Snapshot[Any, Any, Any]) -> list[Mapping[Any, Any]]:
    """Return those of the rows and of the indexes, to be freed bit by bit; the indexes', which hold rows, first.

    Rows that are not held are left out.
    """
    rows = [] if hasattr(snapshot._rows, "build_index") else [snapshot._rows]
    return [*(index.found for index in snapshot._fields.values()), *rows]


def one_version(rows: Mapping[K, V]) -> Mapping[K, V]:
    """Return the snapshot of a dataset that is given, and any other mapping as it is."""
    if isinstance(rows, Rows) and not isinstance(rows, Snapshot):
        snapshot: Mapping[K, V] = rows.snapshot()  # type: ignore[attr-defined] # Rows are snapshots and datasets
        return snapshot
    return rows
