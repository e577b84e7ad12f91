"""Rows by the value of one of their fields: what ``by()`` gives."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple, TypeVar

from django_etcdaero.exceptions import DuplicateKey, KeyNotFound, ValidationFailed
from django_etcdaero.system.native_types import native_class

V = TypeVar("V")
T = TypeVar("T")

_NONE: Final[Any] = object()
_MANY: Final[Any] = object()


class Several(NamedTuple):
    """Rows that have one value. A row that is alone stands by itself in an index: a tuple for each row of a million
    would take 50 MB, and make the garbage collector run."""

    rows: tuple[Any, ...]


class FieldIndex(Mapping[Any, tuple[V, ...]]):
    """The rows of one version by the value of a field: ``index["kitchen"]`` is a tuple of rows, in their order.

    It is empty for a value that no row has. Iteration goes through the values that there are.
    """

    __slots__ = ("_label", "found")

    def __init__(self, label: str, found: dict[Any, Any]) -> None:
        self._label = label
        self.found = found  # it belongs to the package

    def __getitem__(self, value: Any) -> tuple[V, ...]:
        rows = self.found.get(value, _NONE)
        return rows.rows if type(rows) is Several else () if rows is _NONE else (rows,)

    def get(self, value: Any, default: Any = ()) -> Any:
        """Return the rows with this value, or ``default`` where there are none."""
        return self[value] or default

    def one(self, value: Any, default: Any = _NONE) -> V:
        """Return the one row with this value, or ``default`` if one is given and there is none.

        Raises ``KeyNotFound`` (a ``KeyError``) when there is none, ``DuplicateKey`` when there are several.
        """
        row = self.found.get(value, default)
        if row is _NONE:
            raise KeyNotFound(f"{self._label}: no row has the value {value!r}")
        if type(row) is Several:
            raise DuplicateKey(f"{self._label}: {len(row.rows):,} rows have the value {value!r}")
        return row  # type: ignore[no-any-return]

    def __contains__(self, value: object) -> bool:
        return value in self.found

    def __iter__(self) -> Iterator[Any]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        return f"<{self._label}: {len(self.found):,} values>"


def label_of(dataset: str, field: str) -> str:
    """Return what errors call an index."""
    return f"index {field!r} of dataset {dataset!r}"


def build_index(dataset: str, field: str, rows: Mapping[Any, V]) -> FieldIndex[V]:
    """Return the index of ``rows`` by ``field``, a key of rows that are mappings and an attribute of others.

    Raises ``ValidationFailed`` naming a row that has no such field, or a value there that cannot be hashed.
    """
    label = label_of(dataset, field)
    found: dict[Any, Any] = {}
    several: dict[Any, list[V]] = {}
    getters: dict[type, Callable[[Any], Any]] = {}
    for key, row in rows.items():
        kind = type(row)
        try:
            get = getters[kind]
        except KeyError:
            get = getters[kind] = itemgetter(field) if issubclass(kind, Mapping) else attrgetter(field)
        try:
            value = get(row)
        except (KeyError, AttributeError):
            raise ValidationFailed(f"{label}: row {reprlib.repr(key)} has no {field!r}{_fields(row)}") from None
        try:
            first = found.get(value, _NONE)
        except TypeError:
            raise ValidationFailed(
                f"{label}: in row {reprlib.repr(key)} it is a {_kind(value)}, which cannot be looked up: "
                "index a field with a single value, or build what you need in prepare()"
            ) from None
        if first is _NONE:
            found[value] = row
        elif first is _MANY:
            several[value].append(row)
        else:
            found[value], several[value] = _MANY, [first, row]
    for value, each in several.items():
        found[value] = Several(tuple(each))
    return FieldIndex(label, found)


def _fields(row: Any) -> str:
    names = (
        list(row) if isinstance(row, Mapping) else getattr(row, "_fields", None) or list(getattr(row, "__dict__", ()))
    )
    return f"; it has {', '.join(map(str, names))}" if names else f": it is a {_kind(row)}"


def _kind(value: Any) -> str:
    """Return the name of a type as its owner knows it: a read-only list is a list."""
    return native_class(type(value)).__name__
