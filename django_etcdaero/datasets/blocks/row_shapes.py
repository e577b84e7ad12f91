"""What rows have in common that have the same fields: their shape, and their values field by field."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import cache, lru_cache
from itertools import chain, repeat
from sys import intern
from typing import Any, Final, NamedTuple

from django_etcdaero.system.native_types import untrack

from .digests import DamagedRecord
from .frozen import FrozenDict, FrozenList
from .short_values import all_of

WIDEST: Final = 1000
"""Fields of rows that are stored field by field."""

DICTS, TUPLES, LISTS = range(3)

_KINDS: Final[dict[type, int]] = {dict: DICTS, FrozenDict: DICTS, tuple: TUPLES, list: LISTS, FrozenList: LISTS}
_TEXT: Final = frozenset((str,))


class Shape(NamedTuple):
    """What rows have in common that are stored field by field."""

    kind: int
    names: tuple[str, ...]
    """Of the fields of dicts; empty for tuples and lists."""

    def rows(self, columns: Sequence[Sequence[Any]], *, frozen: bool, count: int = 0) -> list[Any]:
        """Return the rows of some columns: dicts, tuples or lists, with ``frozen`` those of :mod:`.frozen`.

        ``count`` is needed where there may be no column.
        """
        if self.kind == DICTS:
            made = dicts(self.names, columns) if columns else [{} for _ in range(count)]
            return _frozen(FrozenDict, dict.update, made) if frozen else made
        if self.kind == TUPLES:
            return list(zip(*columns, strict=True))
        lists = list(map(list, zip(*columns, strict=True)))
        return _frozen(FrozenList, list.extend, lists) if frozen else lists


class Columns(NamedTuple):
    """The rows of a block, field by field."""

    shape: Shape
    keys: Sequence[Any]
    columns: Sequence[Sequence[Any]]

    def of_keys(self, wanted: Container[Any]) -> Columns:
        """Return the rows with some keys."""
        places = [at for at, key in enumerate(self.keys) if key in wanted]
        columns = [[column[at] for at in places] for column in self.columns]
        return Columns(self.shape, [self.keys[at] for at in places], columns)


def columns_of(rows: Sequence[Any]) -> tuple[Shape, Sequence[Sequence[Any]]] | None:
    """Return what rows have, field by field; ``None`` if they have not the same fields."""
    first = rows[0]
    kinds = {_KINDS.get(kind) for kind in set(map(type, rows))}
    kind = kinds.pop()
    if kind is None or kinds or not 0 < len(first) <= WIDEST or len(set(map(len, rows))) > 1:
        return None
    if kind != DICTS:
        return Shape(kind, ()), list(zip(*rows, strict=True))
    names, width = list(first), len(first)
    flat = list(chain.from_iterable(rows))
    # A text that is equal can be of another class, such as an enum's, which is refused.
    if flat != names * len(rows) or not _TEXT.issuperset(map(type, flat)):
        return None
    values = list(chain.from_iterable(map(dict.values, rows)))
    return Shape(kind, tuple(names)), [values[at::width] for at in range(width)]


def shape_of(row: Any) -> tuple[Shape, int] | None:
    """Return the shape and number of fields of a row that may be stored field by field, else ``None``."""
    kind = _KINDS.get(type(row))
    if kind is None or not 0 < len(row) <= WIDEST:
        return None
    if kind != DICTS:
        return Shape(kind, ()), len(row)
    return (Shape(kind, tuple(row)), len(row)) if _TEXT.issuperset(map(type, row)) else None


@lru_cache(1000)  # the blocks of a version have few
def stored_shape(kind: Any, names: tuple[Any, ...], width: int) -> Shape:
    """Return the shape that was stored. Raises ``DamagedRecord``."""
    if (
        kind not in (DICTS, TUPLES, LISTS)
        or type(kind) is not int
        or not 0 < width <= WIDEST
        or not len(set(names)) == len(names) == (width if kind == DICTS else 0)
        or not _TEXT.issuperset(map(type, names))
    ):
        raise DamagedRecord("its names and columns do not fit together")
    return Shape(kind, tuple(map(intern, names)))  # as those in source code are: a look-up finds the very object


def dicts(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Return a dict for each row of some columns."""
    return _maker(len(names))(names, columns)


@cache
def _maker(width: int) -> Callable[[Any, Any], list[dict[str, Any]]]:
    """Return a function that makes dicts of so many fields: a display takes half the time of ``dict(zip(…))``.

    Its source depends on the number alone.
    """
    if width > 100:
        return lambda names, columns: [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    names = "".join([f"k{at}," for at in range(width)])
    row = "".join([f"v{at}," for at in range(width)])
    items = ",".join([f"k{at}:v{at}" for at in range(width)])
    namespace: dict[str, Any] = {}
    exec(  # noqa: S102 - nothing that was stored is in the text
        f"def make(names, columns):\n    {names} = names\n    return [{{{items}}} for {row} in zip(*columns)]",
        namespace,
    )
    made: Callable[[Any, Any], list[dict[str, Any]]] = namespace["make"]
    return made


def _frozen(cls: Any, fill: Callable[[Any, Any], object], content: Sequence[Any]) -> list[Any]:
    base = dict if cls is FrozenDict else list
    made = list(map(base.__new__, repeat(cls, len(content))))
    all_of(map(fill, made, content))
    all_of(map(untrack, made))
    return made
