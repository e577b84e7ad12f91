"""A class of rows: which fields it has, what they may hold, and how instances are made of columns.

Rows are found by the names of their fields, so a class may change while rows of before are read. A field that was added
has its default for them, one that was removed is left out. A field without a default that rows do not have, or one that
holds something else now, is told by name.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Any, Final, TypeAlias

from django_etcdaero.exceptions import ConfigurationError, EncodeError
from django_etcdaero.system.error_text import message_of
from django_etcdaero.system.interruption import interrupts
from django_etcdaero.system.native_types import native_class, untrack

from .explain import shown
from .field_types import ANYTHING, Allowed, allowed_by, typed_dict_fields
from .row_making import Values, fields_of, maker, makes_itself, taker
from .row_shapes import DICTS, Shape, columns_of
from .short_values import all_of, kinds_of

_Plan: TypeAlias = list[tuple[str, int | None, frozenset[type] | None]]
_PLANS: Final = 1000
_HAVE_GC: Final = 1 << 14
"""``Py_TPFLAGS_HAVE_GC`` (CPython, ``object.h``)."""


@dataclass(frozen=True, eq=False)
class RowClass:
    """What is known of a class of rows. Made by :func:`row_class`."""

    row_type: type[Any]
    fields: Mapping[str, Allowed]
    """What each field may hold, in the order of the fields."""
    defaults: Mapping[str, Callable[[], Any]]
    """What makes the value of a field that a row does not have; other fields are needed."""
    optional: frozenset[str]
    """Fields that rows need not have, and then do not have when they are read: of a ``TypedDict``."""
    take: Callable[[Sequence[Any]], Values]
    """Gives the columns of instances, one for each field."""
    make: Callable[[list[Sequence[Any]], int], list[Any]]
    """Makes instances of columns, one for each field."""
    may_untrack: bool
    """Whether the garbage collector may leave out instances that hold nothing which can be changed."""
    is_dict: bool = False
    """Whether its rows are dicts."""
    _plans: dict[tuple[Shape, int], _Plan] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """For errors."""
        return self.row_type.__qualname__

    # --- publishing --------------------------------------------------------------------------------------------------

    def columns_of(self, rows: Sequence[Any]) -> tuple[Shape, Values] | None:
        """Return the fields of rows that are all instances, or all of one other shape; else ``None``."""
        if self.is_dict or set(map(type, rows)) != {self.row_type}:
            return columns_of(rows)
        return Shape(DICTS, tuple(self.fields)), self.take(rows)

    def plain(self, rows: Sequence[Any]) -> list[Any]:
        """Return rows with a dict in place of each instance."""
        if self.is_dict:
            return list(rows)
        return [
            {name: getattr(row, name) for name in self.fields} if type(row) is self.row_type else row for row in rows
        ]

    def check(self, keys: Sequence[Any], rows: Sequence[Any]) -> None:
        """Refuse rows of which no instance can be made, or with something else in a field than it may hold.

        Raises ``EncodeError`` naming row and field.
        """
        for key, row in zip(keys, rows, strict=True):
            shape, columns = self._of_row(key, row, EncodeError)
            self.check_columns([key], shape, columns, list(map(kinds_of, columns)))

    def check_columns(
        self, keys: Sequence[Any], shape: Shape, columns: Values, kinds: Sequence[frozenset[type]]
    ) -> None:
        """Likewise for rows that have one shape; ``kinds`` are the classes of the values of each column."""
        named = self._named(keys[0], shape, columns, EncodeError)
        unknown = next((name for name in named if name not in self.fields), None)
        if unknown is not None:
            raise EncodeError(self._misfit(keys[0], f"it has a field {unknown!r}, which the class does not have"))
        self._needed(keys[0], named, EncodeError)
        for (name, values), found in zip(named.items(), kinds, strict=True):
            allowed = self.fields[name]
            if not allowed.allow_all(values, found):
                at = allowed.first_wrong(values) or 0
                raise EncodeError(self._wrong(keys[at], name, values[at], allowed))

    # --- reading -----------------------------------------------------------------------------------------------------

    def made(self, keys: Sequence[Any], rows: Sequence[Any], *, frozen: bool) -> list[Any]:
        """Return an instance for each row. Raises ``ConfigurationError`` naming a row that does not fit."""
        found = columns_of(rows) if rows else None
        if found is not None:
            return self.made_of_columns(keys, *found, frozen=frozen)
        made: list[Any] = []
        for key, row in zip(keys, rows, strict=True):
            made += self.made_of_columns([key], *self._of_row(key, row, ConfigurationError), frozen=frozen)
        return made

    def made_of_columns(self, keys: Sequence[Any], shape: Shape, columns: Values, *, frozen: bool) -> list[Any]:
        """Likewise for rows that have one shape; what they hold is ``frozen``, or as it was written."""
        plan = self._plans.get((shape, len(columns)))
        if plan is None:
            plan = self._plan(keys[0], shape, columns)
        count = len(keys)
        ready: list[Sequence[Any]] = []
        for name, at, kinds in plan:
            if at is None:
                ready.append([self.defaults[name]() for _ in repeat(None, count)])
                continue
            values = columns[at]
            if kinds is not None and not kinds.issuperset(map(type, values)):
                self._refuse_changed(keys, name, values)
            ready.append(values)
        if self.is_dict:
            return Shape(DICTS, tuple([name for name, _, _ in plan])).rows(ready, frozen=frozen, count=count)
        try:
            made = self.make(ready, count)
        except Exception as error:  # whatever a __post_init__ raises
            if interrupts(error):
                raise
            raise ConfigurationError(self._misfit(*self._failing(keys, ready, error))) from error
        if frozen and self.may_untrack:
            all_of(map(untrack, made))
        return made

    def _plan(self, key: Any, shape: Shape, columns: Values) -> _Plan:
        """Return what is made of columns: for each field where it is, if it is there, and its classes."""
        named = list(self._named(key, shape, columns, ConfigurationError))
        self._needed(key, dict.fromkeys(named), ConfigurationError)
        plan = [
            (name, named.index(name) if name in named else None, allowed.kinds)
            for name, allowed in self.fields.items()
            if name in named or name not in self.optional
        ]
        if len(self._plans) < _PLANS:
            self._plans[shape, len(columns)] = plan
        return plan

    def _refuse_changed(self, keys: Sequence[Any], name: str, values: Sequence[Any]) -> None:
        allowed = self.fields[name]
        at = next((at for at, value in enumerate(values) if not allowed.has_class(type(value), value)), None)
        if at is not None:
            advice = "if its type was changed, raise schema of the dataset, or let the field have both types"
            raise ConfigurationError(f"{self._wrong(keys[at], name, values[at], allowed)}: {advice}")

    def _failing(self, keys: Sequence[Any], columns: list[Sequence[Any]], error: Exception) -> tuple[Any, str]:
        for at, key in enumerate(keys):
            try:
                self.make([[values[at]] for values in columns], 1)
            except Exception as own:
                return key, message_of(own)
        return keys[0], message_of(error)

    # --- both --------------------------------------------------------------------------------------------------------

    def _of_row(self, key: Any, row: Any, error: type[Exception]) -> tuple[Shape, Values]:
        if not isinstance(row, dict | list | tuple):
            raise error(self._misfit(key, f"a {type(row).__name__} has no fields; it takes a dict, list or tuple"))
        found = columns_of([row])
        if found is None and row:
            raise error(self._misfit(key, "its fields are not named by text"))
        return found or (Shape(DICTS, ()), [])

    def _named(self, key: Any, shape: Shape, columns: Values, error: type[Exception]) -> dict[str, Sequence[Any]]:
        if shape.kind == DICTS:
            return dict(zip(shape.names, columns, strict=True))
        if len(columns) > len(self.fields) or self.is_dict:
            raise error(self._misfit(key, f"it has {len(columns)} fields without names, the class {len(self.fields)}"))
        return dict(zip(self.fields, columns, strict=False))

    def _needed(self, key: Any, named: Mapping[str, Any], error: type[Exception]) -> None:
        for name in self.fields:
            if name not in named and name not in self.defaults and name not in self.optional:
                advice = "give it a default, so that rows of before can be read"
                raise error(self._misfit(key, f"it has no field {name!r}: {advice}"))

    def _wrong(self, key: Any, name: str, value: Any, allowed: Allowed) -> str:
        kind = native_class(type(value))
        is_shown = "" if value is None or allowed.kinds is None or kind not in allowed.kinds else f" {shown(value)}"
        found = "None" if value is None else kind.__name__
        return self._misfit(key, f"its field {name!r} is {found}{is_shown}, expected {allowed.text}")

    def _misfit(self, key: Any, what: str) -> str:
        return f"row {shown(key)} does not fit the row type {self.name}: {what}"


def row_class(row_type: type[Any]) -> RowClass:
    """Look at a class of rows: a dataclass, ``NamedTuple``, ``TypedDict`` or ``msgspec.Struct``."""
    given: Any = row_type
    return _looked_at(given)


@cache
def _looked_at(row_type: Any) -> RowClass:
    if typing.is_typeddict(row_type):
        hints, required = typed_dict_fields(row_type)
        optional = frozenset(hints.keys() - required)
        allowed = {name: allowed_by(hint) for name, hint in hints.items()}
        return RowClass(
            row_type, allowed, {}, optional, lambda rows: [], lambda columns, count: [], may_untrack=False, is_dict=True
        )
    names, defaults = fields_of(row_type)
    own = makes_itself(row_type)
    annotations = {} if own else _hints(row_type)
    allowed = {name: allowed_by(annotations[name]) if name in annotations else ANYTHING for name in names}
    # Only what the garbage collector may track: an object of another class has no place for that (structs, gc=False).
    may_untrack = not own and row_type.__dictoffset__ == 0 and bool(row_type.__flags__ & _HAVE_GC)
    return RowClass(
        row_type, allowed, defaults, frozenset(), taker(row_type, names), maker(row_type, names, own), may_untrack
    )


def _hints(row_type: type[Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(row_type, include_extras=True)
    except Exception:  # names that are imported for type checkers only: its rows are not checked
        return {}
