"""Validators that look at each row: which fields it has, and what is in them."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias, Union

from django_etcdaero.exceptions import ConfigurationError, ValidationFailed
from django_etcdaero.system.native_types import native_class

from .blocks.row_class import row_class
from .blocks.row_types import is_row_type
from .validators import Accepted, Rows, changed_rows

Kinds: TypeAlias = tuple[type, ...]


@dataclass(frozen=True, slots=True, init=False)
class NoNulls:
    """Refuse rows in which one of the ``fields`` is ``None`` or missing."""

    fields: tuple[str, ...]

    def __init__(self, *fields: str) -> None:
        if not fields or not all(isinstance(each, str) for each in fields):
            raise ConfigurationError(f"NoNulls{fields!r}: expected the names of fields")
        object.__setattr__(self, "fields", fields)

    def __call__(self, old: Rows | None, new: Rows) -> Accepted:
        found = _Wrong(len(new))
        for key, row in changed_rows(new).items():
            fields = _fields_of(row)
            if fields is None:
                found.add(key, f"is {_name(type(row))} and has no fields")
                continue
            for name in self.fields:
                if fields.get(name) is None:
                    found.add(key, f"{name!r} is {'None' if name in fields else 'missing'}")
                    break
        return found.verdict()


@dataclass(frozen=True, slots=True)
class Schema:
    """Refuse rows that do not have these fields, of these types: ``Schema({"sku": str, "note": str | None})``.

    A type is a class, several joined by ``|``, or ``Any``, and counts as it is: ``int`` is not ``bool``, nor ``float``.
    Fields in ``optional`` may be missing. ``extra``: whether a row may have fields that are not named.
    """

    fields: Mapping[str, Any]
    optional: Mapping[str, Any] = field(default_factory=dict)
    extra: bool = True

    def __post_init__(self) -> None:
        for name, kind in (*self.fields.items(), *self.optional.items()):
            _kinds(name, kind)

    @classmethod
    def of(cls, row_type: type[Any], *, extra: bool = False) -> Self:
        """Make one of a dataclass, ``NamedTuple``, ``TypedDict`` or ``msgspec.Struct``.

        Fields with a default are optional. Of types such as ``list[str]`` only the outer one counts. Raises
        ``ConfigurationError``.
        """
        if not is_row_type(row_type):
            raise ConfigurationError(
                f"Schema.of({row_type!r}): expected a dataclass, a NamedTuple, a TypedDict or a msgspec.Struct class"
            )
        hints, known = typing.get_type_hints(row_type), row_class(row_type)
        may_miss = known.optional | known.defaults.keys()
        return cls(
            {name: hints[name] for name in known.fields if name not in may_miss},
            {name: hints[name] for name in known.fields if name in may_miss},
            extra=extra,
        )

    def __call__(self, old: Rows | None, new: Rows) -> Accepted:
        required = {name: _kinds(name, kind) for name, kind in self.fields.items()}
        known = required | {name: _kinds(name, kind) for name, kind in self.optional.items()}
        found = _Wrong(len(new))
        for key, row in changed_rows(new).items():
            said = self._complaint(row, required, known)
            if said is not None:
                found.add(key, said)
        return found.verdict()

    def _complaint(self, row: Any, required: Mapping[str, Kinds], known: Mapping[str, Kinds]) -> str | None:
        fields = _fields_of(row)
        if fields is None:
            return f"is {_name(type(row))} and has no fields"
        if not fields.keys() >= required.keys():
            return f"{next(name for name in required if name not in fields)!r} is missing"
        for name, value in fields.items():
            kinds = known.get(name)
            if kinds is None:
                if not self.extra:
                    return f"{name!r} is not in the schema"
            elif kinds and type(value) not in kinds and _as_loaded(type(value)) not in kinds:
                return f"{name!r} is {_name(native_class(type(value)))}, expected {' or '.join(map(_name, kinds))}"
        return None


def _fields_of(row: Any) -> Mapping[Any, Any] | None:
    """Return the fields of a row, also of an instance of a class for rows; ``None``: it has none."""
    if isinstance(row, Mapping):
        return row
    if not is_row_type(type(row)):
        return None
    return {name: getattr(row, name) for name in row_class(type(row)).fields}


class _Wrong:
    """Counts rows that are wrong and remembers the first."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._wrong = 0
        self._first = ""

    def add(self, key: object, said: str) -> None:
        if not self._wrong:
            shown = repr(key)
            self._first = f"{shown if len(shown) <= 100 else shown[:100] + '…'}: {said}"
        self._wrong += 1

    def verdict(self) -> Accepted:
        """Accept if none was wrong. Raises ``ValidationFailed``."""
        figures = {"rows": self._rows, "wrong": self._wrong}
        if self._wrong:
            raise ValidationFailed(f"{self._wrong:,} of {self._rows:,} rows are wrong; row {self._first}", figures)
        return Accepted(f"{self._rows:,} rows", figures)


def _kinds(name: str, kind: Any) -> Kinds:
    """Return the classes that an annotation allows; none: it allows all. Raises ``ConfigurationError``."""
    if kind is Any:
        return ()
    if kind is None:
        return (types.NoneType,)
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        found = [_kinds(name, one) for one in typing.get_args(kind)]
        return () if () in found else tuple(dict.fromkeys(one for kinds in found for one in kinds))
    if origin is Literal:
        return tuple(dict.fromkeys(map(type, typing.get_args(kind))))
    if isinstance(origin or kind, type):
        return (origin or kind,)
    raise ConfigurationError(f"Schema: the type of {name!r} is {kind!r}, expected a class, several joined by |, or Any")


def _as_loaded(kind: type) -> type:
    """Return the class that a value had before it was made read-only."""
    return set if kind is frozenset else native_class(kind)


def _name(kind: type) -> str:
    return "None" if kind is types.NoneType else kind.__name__
