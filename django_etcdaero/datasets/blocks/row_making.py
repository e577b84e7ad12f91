"""How instances of a class of rows are taken apart and made, many at once.

A class is looked at for what ``dataclasses``, ``collections`` or msgspec have made of it. One that has a say in how its
instances are made (``__init__``, ``__post_init__``, ``__new__``) is called for each, and checks for itself what it is
given. Instances of other dataclasses with ``slots`` are filled without that, which takes a third of the time.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, TypeAlias

Values: TypeAlias = Sequence[Sequence[Any]]
"""Those of some rows, field by field."""

_GENERATED: Final = "<string>"
"""The file name of code that ``dataclasses`` and ``collections`` generate."""


def is_struct(row_type: type[Any]) -> bool:
    """Tell whether a class is a ``msgspec.Struct``; msgspec is not imported for that."""
    return hasattr(row_type, "__struct_config__")


def is_named_tuple(row_type: type[Any]) -> bool:
    """Tell whether a class is a ``NamedTuple``."""
    return issubclass(row_type, tuple) and hasattr(row_type, "_fields")


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def fields_of(row_type: Any) -> tuple[list[str], dict[str, Callable[[], Any]]]:
    """Return the names of the fields, and what makes their defaults."""
    if is_named_tuple(row_type):
        return list(row_type._fields), {name: _constant(each) for name, each in row_type._field_defaults.items()}
    if is_struct(row_type):
        import msgspec

        absent: Any = msgspec.NODEFAULT
        listed = [(each.name, each.default, each.default_factory) for each in msgspec.structs.fields(row_type)]
    else:
        absent = dataclasses.MISSING
        listed = [(each.name, each.default, each.default_factory) for each in dataclasses.fields(row_type) if each.init]
    defaults = {}
    for name, default, factory in listed:
        if factory is not absent:
            defaults[name] = factory
        elif default is not absent:
            defaults[name] = _constant(default)
    return [name for name, _, _ in listed], defaults


def makes_itself(row_type: Any) -> bool:
    """Tell whether a class has a say in how it is made."""
    if hasattr(row_type, "__post_init__"):
        return True
    if is_struct(row_type):
        return False
    if is_named_tuple(row_type):
        code = getattr(row_type.__new__, "__code__", None)
        return code is None or _GENERATED not in code.co_filename or row_type.__init__ is not object.__init__
    code = getattr(row_type.__init__, "__code__", None)
    return code is None or code.co_filename != _GENERATED or row_type.__new__ is not object.__new__


def taker(row_type: Any, names: Sequence[str]) -> Callable[[Sequence[Any]], Values]:
    """Return a function that gives what instances hold, field by field."""
    if is_named_tuple(row_type):
        return lambda rows: list(zip(*rows, strict=True))
    if is_struct(row_type):
        from msgspec.structs import astuple

        return lambda rows: list(zip(*map(astuple, rows), strict=True))
    getters = list(map(attrgetter, names))
    return lambda rows: [list(map(get, rows)) for get in getters]


def maker(row_type: Any, names: Sequence[str], own: bool) -> Callable[[list[Sequence[Any]], int], list[Any]]:
    """Return a function that makes a number of instances of what they hold, field by field.

    ``own``: the class has a say in how they are made.
    """
    if is_named_tuple(row_type) and not own:
        new = tuple.__new__
        return lambda columns, count: list(map(new, repeat(row_type, count), zip(*columns, strict=True)))
    filled = None if own or is_struct(row_type) else _filler(row_type, names)
    if filled is not None:
        return filled
    parameters = inspect.signature(row_type).parameters.values()
    if any(each.kind is each.KEYWORD_ONLY for each in parameters):
        return lambda columns, count: [
            row_type(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)
        ]
    return lambda columns, count: list(map(row_type, *columns))


def _filler(row_type: Any, names: Sequence[str]) -> Callable[[list[Sequence[Any]], int], list[Any]] | None:
    """Return what fills instances of a dataclass; ``None`` if its ``__init__`` does more, or they have no such slots.

    A frozen class takes nothing but by the descriptor of a slot, of which a call takes longer than all of this does for
    a field. So objects of a class of the same slots that can be set are filled, and become instances of the right one.
    """
    slots = [inspect.getattr_static(row_type, name, None) for name in names]
    if not names or not (
        all(type(each) is types.MemberDescriptorType for each in slots)
        and [each.name for each in dataclasses.fields(row_type)] == list(names)
        and set(inspect.signature(row_type).parameters) == set(names)
        and all(map(str.isidentifier, names))
    ):
        return None
    weak = ("__weakref__",) if row_type.__weakrefoffset__ else ()
    settable: Any = type(row_type.__name__, (), {"__slots__": (*names, *weak)})
    try:
        settable().__class__ = row_type
    except TypeError:  # its slots lie otherwise, such as those of a class with a base
        return None
    given = "".join([f"v{at}," for at in range(len(names))])
    setting = "; ".join([f"made.{name} = v{at}" for at, name in enumerate(names)])
    namespace: dict[str, Any] = {}
    source = (
        "def fill(settable, row_type, columns):\n"
        " all = []\n"
        f" for {given} in zip(*columns):\n"
        f"  made = settable(); {setting}; made.__class__ = row_type; all.append(made)\n"
        " return all"
    )
    exec(source, namespace)  # noqa: S102 - the names are those of the fields of a class
    fill: Callable[[Any, Any, Any], list[Any]] = namespace["fill"]
    return lambda columns, count: fill(settable, row_type, columns)
