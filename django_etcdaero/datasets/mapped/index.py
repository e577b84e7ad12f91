"""Rows of a mapped file by the value of one of their fields: each process keeps where they are, and not the rows."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

from django_etcdaero.datasets.field_index import FieldIndex, Several, build_index, label_of
from django_etcdaero.exceptions import DuplicateKey, KeyNotFound

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


class Entries(Protocol[V_co]):
    """Rows that are found by the numbers of their entries."""

    def chunks(self) -> Iterator[tuple[Sequence[int], Sequence[Any], Sequence[V_co]]]:
        """Yield entries, their keys and their rows, some at a time."""

    def at(self, entry: int) -> tuple[Any, V_co]:
        """Return key and row of an entry."""


_NONE: Final[Any] = object()


class MappedIndex(FieldIndex[V]):
    """A :class:`FieldIndex` that decodes the rows it is asked for. ``found`` has entries: a number, or several."""

    __slots__ = ("_rows",)

    def __init__(self, label: str, found: dict[Any, Any], rows: Entries[V]) -> None:
        super().__init__(label, found)
        self._rows = rows

    def __getitem__(self, value: Any) -> tuple[V, ...]:
        entries = self.found.get(value, ())
        at = self._rows.at
        return (at(entries)[1],) if type(entries) is int else tuple([at(entry)[1] for entry in entries])

    def one(self, value: Any, default: Any = _NONE) -> V:
        """Return the one row with this value, or ``default`` if one is given and there is none.

        Raises ``KeyNotFound`` (a ``KeyError``) when there is none, ``DuplicateKey`` when there are several.
        """
        entries = self.found.get(value)
        if entries is None:
            if default is _NONE:
                raise KeyNotFound(f"{self._label}: no row has the value {value!r}")
            return default  # type: ignore[no-any-return]
        if type(entries) is not int:
            raise DuplicateKey(f"{self._label}: {len(entries):,} rows have the value {value!r}")
        return self._rows.at(entries)[1]

    def __reduce__(self) -> Any:
        found = {value: rows[0] if len(rows) == 1 else Several(rows) for value, rows in self.items()}
        return FieldIndex, (self._label, found)


def index_entries(dataset: str, field: str, rows: Entries[V]) -> MappedIndex[V]:
    """Return the index of ``rows`` by ``field``. Raises as :func:`.field_index.build_index` does."""
    found: dict[Any, Any] = {}
    for entries, keys, decoded in rows.chunks():
        entries_of = defaultdict(list)
        for entry, row in zip(entries, decoded, strict=True):
            entries_of[id(row)].append(entry)
        part = build_index(dataset, field, dict(zip(keys, decoded, strict=True)))
        for value, several in part.items():
            here = [entries_of[id(row)].pop(0) for row in several]
            known = found.get(value)
            if known is None:
                found[value] = here[0] if len(here) == 1 else array("I", here)
            elif type(known) is int:
                found[value] = array("I", [known, *here])
            else:
                known.extend(here)
    return MappedIndex(label_of(dataset, field), found, rows)
