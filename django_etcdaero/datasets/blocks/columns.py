"""Blocks by columns: rows that have the same fields are stored field by field.

That is read in a third of the time that rows take one by one, because what is done for each value is done in C. The
plain form of such a block is the byte 0xC1, with which nothing begins in MessagePack, and a MessagePack array

    ``[kind, names, forms, keys, column, …]``

``kind`` is 0 for dicts, 1 for tuples and 2 for lists; ``names`` the fields of the dicts, else empty; ``forms`` a text
with a letter for the keys and one for each column: see :mod:`.column_forms`. Rows are in the order of their encoded
keys, as in a block by rows (:mod:`.partition`).

A block is written so if all its rows have one class and the same fields in the same order, named by text, and if there
are at least ``FEWEST`` of them. That depends on nothing but these rows, so equal rows give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import cache, lru_cache
from itertools import chain, repeat
from sys import intern
from typing import Any, Final, NamedTuple

from django_etcdaero.system.native_types import untrack

from . import column_forms as forms
from .codec import UNPACKING_ERRORS, Encoder, decode
from .digests import DamagedRecord
from .frozen import FrozenDict, FrozenList

COLUMNS: Final = True
"""Whether blocks may be written by columns."""

MARK: Final = b"\xc1"
FEWEST: Final = 4
"""Rows of a block that is written by columns; for fewer it would be longer, and no faster."""
WIDEST: Final = 1000
"""Fields of rows that are written by columns."""

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


# --- writing ---------------------------------------------------------------------------------------------------------


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


def write(
    shape: Shape, ways: Sequence[forms.Way], keys: Sequence[Any], columns: Sequence[Sequence[Any]], encoder: Encoder
) -> bytes:
    """Return the plain form of a block of columns that :func:`.column_forms.shorten` has made.

    Raises one of ``PACKING_ERRORS``.
    """
    packed = [forms.pack(keys, encoder)]
    for way, values in zip(ways, columns, strict=True):
        same = way.form == forms.PLAIN and forms.is_same(values, keys)
        packed.append((forms.SAME, None) if same else forms.finish(way, values, encoder))
    letters = "".join([form for form, _ in packed])
    return MARK + encoder.scalars([shape.kind, shape.names, letters, *[stored for _, stored in packed]])


# --- reading ---------------------------------------------------------------------------------------------------------


def is_by_columns(plain: bytes) -> bool:
    """Tell whether a block is one by columns."""
    return plain[:1] == MARK


def read(plain: bytes, *, frozen: bool) -> Columns:
    """Return what a block by columns holds; containers in its rows are ``frozen``, or as they were written.

    Raises ``DamagedRecord`` for anything that :func:`write` cannot have made.
    """
    try:
        shape, letters, keys, stored = _parts(plain)
        count = len(keys)
        columns = [
            values
            if form == forms.PLAIN and type(values) is list and len(values) == count
            else keys
            if form == forms.SAME
            else forms.unpack(form, values, count, frozen=frozen)
            for form, values in zip(letters[1:], stored, strict=True)
        ]
    except (*UNPACKING_ERRORS, LookupError, AttributeError) as error:
        raise DamagedRecord(f"it does not decode: {error}") from error
    return Columns(shape, keys, columns)


def read_some(plain: bytes, wanted: Container[Any]) -> Columns:
    """Return what a block by columns holds of the rows of some keys: nothing is made of the others.

    Containers in rows are as they were written. ``plain`` was checked against its digest. Raises ``DamagedRecord``.
    """
    try:
        shape, letters, keys, stored = _parts(plain)
        count = len(keys)
        places = [at for at, key in enumerate(keys) if key in wanted]
        found = [keys[at] for at in places]
        columns = [
            [values[at] for at in places]
            if form == forms.PLAIN and type(values) is list and len(values) == count
            else found
            if form == forms.SAME
            else forms.unpack_some(form, values, count, places)
            for form, values in zip(letters[1:], stored, strict=True)
        ]
    except (*UNPACKING_ERRORS, LookupError, AttributeError) as error:
        raise DamagedRecord(f"it does not decode: {error}") from error
    return Columns(shape, found, columns)


def _parts(plain: bytes) -> tuple[Shape, str, Sequence[Any], list[Any]]:
    """Return the shape of the rows of a block, the letters of its forms, its keys, and what is stored of each column.

    Raises what :func:`read` makes a ``DamagedRecord`` of.
    """
    kind, names, letters, stored_keys, *stored = decode(plain[1:])
    shape = _shape(kind, tuple(names), len(stored))
    if type(letters) is not str or len(letters) != len(stored) + 1 or type(names) is not list:
        raise DamagedRecord("its names and columns do not fit together")
    return shape, letters, _keys(letters[0], stored_keys), stored


@lru_cache(1000)  # the blocks of a version have few
def _shape(kind: Any, names: tuple[Any, ...], width: int) -> Shape:
    if (
        kind not in (DICTS, TUPLES, LISTS)
        or type(kind) is not int
        or not 0 < width <= WIDEST
        or not len(set(names)) == len(names) == (width if kind == DICTS else 0)
        or not _TEXT.issuperset(map(type, names))
    ):
        raise DamagedRecord("its names and columns do not fit together")
    return Shape(kind, tuple(map(intern, names)))  # as those in source code are: a look-up finds the very object


_KEY_BYTES: Final = {forms.DATES: 4, forms.UUIDS: 16}


def _keys(form: str, stored: Any) -> Sequence[Any]:
    if form == forms.GENERAL:  # in keys are tuples and frozensets, which cannot be changed anyway
        count = len(decode(stored))
    elif form == forms.DATETIMES:
        count = len(stored[1]) // 10
    elif form == forms.UUIDS and isinstance(stored, list):
        count = len(stored[0]) // 16 + len(stored[1])
    elif form == forms.DECIMALS:
        count = stored.count(",") + 1
    else:
        count = len(stored) // _KEY_BYTES.get(form, 1)
    if not count:
        raise DamagedRecord("it has no rows")
    return tuple(forms.unpack(form, stored, count, frozen=False))


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
    forms.all_of(map(fill, made, content))
    forms.all_of(map(untrack, made))
    return made
