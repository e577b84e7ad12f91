"""Rows by the value of one of their fields: what ``by()`` gives."""

from __future__ import annotations

import gc
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple, TypeVar

from django_etcdaero.exceptions import DuplicateKey, KeyNotFound, ValidationFailed
from django_etcdaero.system.native_types import native_class, untrack

from .blocks.held import SLICE, SMALL
from .blocks.held_making import Making

V = TypeVar("V")
T = TypeVar("T")

_NONE: Final[Any] = object()
_MANY: Final[Any] = object()


class _Several(NamedTuple):
    """Rows that have one value. A row that is alone stands by itself in an index: a tuple for each row of a million
    would take 50 MB, and make the garbage collector run."""

    rows: tuple[Any, ...]


class FieldIndex(Mapping[Any, tuple[V, ...]]):
    """The rows of one version by the value of a field: ``index["kitchen"]`` is a tuple of rows, in their order.

    It is empty for a value that no row has. Iteration goes through the values that there are.
    """

    __slots__ = ("_label", "found")

    def __init__(self, label: str, found: Mapping[Any, Any]) -> None:
        self._label = label
        self.found = found  # it belongs to the package

    def __getitem__(self, value: Any) -> tuple[V, ...]:
        rows = self.found.get(value, _NONE)
        return rows.rows if type(rows) is _Several else () if rows is _NONE else (rows,)

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
        if type(row) is _Several:
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


def build_index(dataset: str, field: str, rows: Mapping[Any, V]) -> FieldIndex[V]:
    """Return the index of ``rows`` by ``field``, a key of rows that are mappings and an attribute of others.

    Raises ``ValidationFailed`` naming a row that has no such field, or a value there that cannot be hashed.
    """
    look = _Look(dataset, field)
    found = Making(None, 0, at_most=len(rows))
    several: dict[Any, list[V]] = {}
    all_keys, all_rows = iter(rows), iter(rows.values())
    while keys := list(islice(all_keys, SLICE)):
        some = list(islice(all_rows, SLICE))
        values = list(map(look.value, keys, some))
        for value, row in zip(values, some, strict=True):
            first = found.setdefault(value, _NONE)
            if first is _NONE:
                found.put((value,), (row,))
            elif first is _MANY:
                several[value].append(row)
            else:
                found.put((value,), (_MANY,))
                several[value] = [first, row]
                untrack(several[value])  # for the time being: the collector would look at all that is added
        found.look_at(values, some)
    for value, each in several.items():
        found.put((value,), (_entry(each),))
    return FieldIndex(look.label, found.done())


def change_index(
    index: FieldIndex[V],
    dataset: str,
    field: str,
    before: Mapping[Any, V],
    upserts: Mapping[Any, V],
    deletions: Iterable[Any],
    *,
    ordered: bool,
) -> FieldIndex[V] | None:
    """Return the index of the rows that come of ``before``, whose index is ``index``, by a change.

    Only values that a row of the change has or had are looked at. Returns ``None`` where the index has to be built: the
    rows are ``ordered`` and one of them is to come in between others, or a row was changed by somebody since. Raises
    what :func:`build_index` raises.
    """
    look = _Look(dataset, field)
    touched: dict[Any, _Touched] = {}

    def at(key: Any, row: V) -> _Touched:
        return touched.setdefault(look.value(key, row), _Touched({}, []))

    for key in deletions:
        old = before.get(key, _NONE)
        if old is not _NONE:
            at(key, old).gone.setdefault(id(old), []).append(_NONE)
    for key, row in upserts.items():
        old = before.get(key, _NONE)
        there = at(key, row)
        if old is not _NONE and at(key, old) is there:
            there.gone.setdefault(id(old), []).append(row)
            continue
        if ordered:
            return None
        there.added.append(row)
        if old is not _NONE:
            at(key, old).gone.setdefault(id(old), []).append(_NONE)
    change = Making(index.found, len(index.found) + len(touched))
    for value, each in touched.items():
        new = each.new
        rows = each.of(index[value])
        if rows is None:
            return None
        if rows:
            known = not gc.is_tracked(index.found.get(value))
            change.put((value,), (_entry(rows, new=[*new, rows[0]] if known else rows),))
        else:
            change.drop((value,))
    return FieldIndex(look.label, change.done())


class _Touched(NamedTuple):
    """What happens to the rows with one value."""

    gone: dict[int, list[Any]]
    """By the ``id`` of a row what takes its place, ``_NONE``: nothing; once for each time that the row is there."""
    added: list[Any]

    @property
    def new(self) -> list[Any]:
        """The rows that come in; look before :meth:`of`."""
        return [*self.added, *(row for each in self.gone.values() for row in each if row is not _NONE)]

    def of(self, rows: Iterable[Any]) -> list[Any] | None:
        """Return the rows after the change, or ``None`` if one that is to go is not there."""
        made: list[Any] = []
        for row in rows:
            instead = self.gone.get(id(row))
            if instead:
                row = instead.pop()
                if row is _NONE:
                    continue
            made.append(row)
        return None if any(self.gone.values()) else made + self.added


class _Look:
    """Looks up one field of rows."""

    def __init__(self, dataset: str, field: str) -> None:
        self.label = f"index {field!r} of dataset {dataset!r}"
        self._field = field
        self._getters: dict[type, Callable[[Any], Any]] = {}

    def value(self, key: Any, row: Any) -> Any:
        """Return the value of a row. Raises ``ValidationFailed``."""
        kind, field = type(row), self._field
        try:
            get = self._getters[kind]
        except KeyError:
            get = self._getters[kind] = itemgetter(field) if issubclass(kind, Mapping) else attrgetter(field)
        try:
            value = get(row)
        except (KeyError, AttributeError):
            raise ValidationFailed(f"{self.label}: row {reprlib.repr(key)} has no {field!r}{_fields(row)}") from None
        try:
            hash(value)
        except TypeError:
            raise ValidationFailed(
                f"{self.label}: in row {reprlib.repr(key)} it is a {_kind(value)}, which cannot be looked up: "
                "index a field with a single value, or build what you need in prepare()"
            ) from None
        return value


def _entry(rows: list[Any], *, new: list[Any] | None = None) -> Any:
    """Return what an index has for rows with one value. Others get their turn while a long tuple is made.

    ``new``: those of them of which it is not known that the garbage collector has nothing to do with them.
    """
    if len(rows) == 1:
        return rows[0]
    made = _Several(tuple(rows) if len(rows) <= SMALL else tuple(row for row in rows))
    new = rows if new is None else new
    if not any(map(gc.is_tracked, new)) and dict not in set(map(type, new)):
        untrack(made.rows)
        untrack(made)
    return made


def _fields(row: Any) -> str:
    names = (
        list(row) if isinstance(row, Mapping) else getattr(row, "_fields", None) or list(getattr(row, "__dict__", ()))
    )
    return f"; it has {', '.join(map(str, names))}" if names else f": it is a {_kind(row)}"


def _kind(value: Any) -> str:
    """Return the name of a type as its owner knows it: a read-only list is a list."""
    return native_class(type(value)).__name__
