"""What the annotation of a field allows, to check rows by.

Known are None, the types of values that rows may hold, ``list[…]``, ``tuple[…]``, ``dict[…]``, ``set[…]`` and
``frozenset[…]`` of them, ``Sequence``, ``Mapping`` and ``Set``, unions, ``Literal``, ``Annotated``, ``NewType`` and
``TypedDict``. A type counts as it is: ``int`` is not ``bool``, and ``date`` not ``datetime``; but for ``float`` an
``int`` will do, as it does for type checkers, and for a ``set`` a ``frozenset``, as which it is read. Whatever else an
annotation says is not checked.
"""

from __future__ import annotations

import types
import typing
from collections import abc
from collections.abc import Callable, Collection, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired, Required, TypeAlias, Union
from uuid import UUID

from django_etcdaero.system.native_types import native_class
from django_etcdaero.system.real_dates import real_class

from .stored_as import as_plain

Matches: TypeAlias = Callable[[Any], bool]

_SCALARS: Final[frozenset[Any]] = frozenset(
    map(real_class, (types.NoneType, bool, int, str, bytes, Decimal, UUID, date, time, datetime, timedelta))
)
_CLASSES: Final[dict[Any, tuple[type, ...]]] = {
    **{kind: (kind,) for kind in _SCALARS},
    None: (types.NoneType,),
    float: (float, int),
    list: (list,),
    tuple: (tuple,),
    dict: (dict,),
    set: (set, frozenset),
    frozenset: (frozenset,),
    abc.Sequence: (list, tuple),
    abc.Mapping: (dict,),
    abc.Set: (set, frozenset),
}


class Allowed(NamedTuple):
    """What a field may hold."""

    kinds: frozenset[type] | None
    """Classes of values; ``None``: all."""
    matches: Matches | None
    """Whether a value of these classes is allowed; ``None``: all are."""
    text: str
    """For errors."""

    def first_wrong(self, values: Iterable[Any]) -> int | None:
        """Return the place of the first value that is not allowed."""
        return next((at for at, value in enumerate(values) if not self.allows(value)), None)

    def allows(self, value: Any) -> bool:
        """Tell whether a value is allowed."""
        return self.has_class(type(value), value) and (self.matches is None or self.matches(value))

    def has_class(self, kind: type, value: Any = None) -> bool:
        """Tell whether a value of a class may be allowed, or would be stored as one of a class that may."""
        return self.kinds is None or kind in self.kinds or _stored_class(kind, value) in self.kinds

    def allow_all(self, values: Collection[Any], kinds: Iterable[type] | None = None) -> bool:
        """Tell whether all of some values are allowed; ``kinds`` are their classes, if they are known."""
        if self.kinds is None:
            return True
        if not self.kinds.issuperset(map(type, values) if kinds is None else kinds):
            return self.first_wrong(values) is None
        return self.matches is None or all(map(self.matches, values))


ANYTHING: Final = Allowed(None, None, "anything")


def allowed_by(annotation: Any) -> Allowed:
    """Return what an annotation allows, :data:`ANYTHING` if it is not known."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Annotated, Required, NotRequired):
        return allowed_by(args[0])
    if isinstance(annotation, typing.NewType):
        return allowed_by(annotation.__supertype__)
    if origin in (Union, types.UnionType):
        return _any_of([allowed_by(each) for each in args])
    if origin is Literal:
        choices = {(type(each), each) for each in args}
        text = " or ".join(map(repr, args))
        return Allowed(frozenset(map(type, args)), lambda value: (type(as_plain(value)), value) in choices, text)
    if typing.is_typeddict(annotation):
        return Allowed(frozenset((dict,)), _typed_dict(annotation), annotation.__name__)
    try:
        kinds = _CLASSES.get(origin or annotation)
    except TypeError:  # not hashable
        return ANYTHING
    if kinds is None:
        return ANYTHING
    text = str(annotation) if args else "None" if annotation in (None, types.NoneType) else _named(annotation)
    return Allowed(frozenset(kinds), _items(kinds, args), text)


def _any_of(members: list[Allowed]) -> Allowed:
    if any(each.kinds is None for each in members):
        return ANYTHING
    kinds = frozenset[type]().union(*[each.kinds or () for each in members])
    deep = any(each.matches is not None for each in members)
    matches: Matches | None = (lambda value: any(each.allows(value) for each in members)) if deep else None
    return Allowed(kinds, matches, " or ".join(dict.fromkeys(each.text for each in members)))


def _items(kinds: tuple[type, ...], args: tuple[Any, ...]) -> Matches | None:
    """Return what looks at the items of a container; ``None``: all are allowed."""
    if not args:
        return None
    if dict in kinds:
        of_keys, of_values = allowed_by(args[0]), allowed_by(args[1])
        return lambda value: of_keys.allow_all(value.keys()) and of_values.allow_all(value.values())
    if kinds == (tuple,) and not (len(args) == 2 and args[1] is ...):
        each = [allowed_by(arg) for arg in args if arg != ()]
        return lambda value: (
            len(value) == len(each) and all(allowed.allows(item) for allowed, item in zip(each, value, strict=True))
        )
    item = allowed_by(args[0])
    return None if item.kinds is None else lambda value: item.allow_all(value)


def _typed_dict(cls: Any) -> Matches:
    fields, required = typed_dict_fields(cls)
    allowed = {name: allowed_by(hint) for name, hint in fields.items()}
    return lambda value: (
        required <= value.keys() <= allowed.keys() and all(allowed[name].allows(item) for name, item in value.items())
    )


def typed_dict_fields(cls: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the annotations of a ``TypedDict`` and the names of the fields that it must have."""
    hints = typing.get_type_hints(cls, include_extras=True)
    # Of annotations that are texts the class does not know which are marked.
    marked = {name: typing.get_origin(hint) for name, hint in hints.items()}
    return hints, frozenset(
        name
        for name in hints
        if marked[name] is Required or (marked[name] is not NotRequired and name in cls.__required_keys__)
    )


def _stored_class(kind: type, value: Any) -> type:
    return real_class(native_class(type(as_plain(value)) if issubclass(kind, str) else kind))


def _named(annotation: Any) -> str:
    return str(getattr(annotation, "__name__", annotation))
