"""From a type annotation to its form.

Understood are the scalars of :mod:`.scalars`, ``list``, ``tuple``, ``set``, ``frozenset``, ``dict`` (and ``Sequence``,
``Mapping``, which come back as list and dict) with what they hold, ``X | None``, unions whose members can be told apart
in JSON, ``Any``, ``NewType``, dataclasses (nested, recursive), and classes with the methods ``to_json()`` and
``from_json()``, the latter a classmethod. Everything else is refused when the collection is declared.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system.interruption import interrupts
from django_etcdaero.system.real_dates import real_class

from .containers import ANY, array_form, dict_form, fixed_tuple_form
from .forms import Form, Json, Misfit, expected, named
from .scalars import SCALARS, enum_form, literal_form

KIND: Final = "kind"
"""The name under which the class is written where there are several."""

_OBJECT = frozenset((dict,))


class Annotations:
    """Makes forms, each once. ``strict``: a field that is stored and not declared is an error, else it is ignored."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._known: dict[Any, Form] = dict(SCALARS)
        self._known[Any] = self._known[object] = ANY

    def form(self, annotation: Any) -> Form:
        """Return the form of an annotation. Raises ``ConfigurationError`` naming one that cannot be stored."""
        try:
            known = self._known.get(annotation)
        except TypeError:  # the values of a Literal need not be hashable
            known = None
        if known is None:
            known = self._make(annotation)
            self._known[annotation] = known
        return known

    def tagged(self, classes: Mapping[str, type]) -> Form:
        """Return the form of objects of several classes: the name of the class is written as ``kind``.

        Names are compared without regard to case. Stored objects without a kind are of the first class, so that a class
        can be added to what held one class only. Raises ``ConfigurationError``.
        """
        names = {cls: name for name, cls in classes.items()}
        by_name = {name.casefold(): cls for name, cls in classes.items()}
        if len(by_name) != len(classes) or len(names) != len(classes):
            raise ConfigurationError(f"the kinds {', '.join(classes)} are not distinct")
        first = next(iter(classes.values()))
        for cls in classes.values():
            if dataclasses.is_dataclass(cls) and any(field.name == KIND for field in dataclasses.fields(cls)):
                raise ConfigurationError(f"{named(cls)} has a field {KIND!r}, under which its class is stored")
        forms = {cls: self.form(cls) for cls in names}
        listed = ", ".join(classes)

        def encode(value: Any) -> Json:
            name = names.get(type(value))
            if name is None:
                raise expected(f"one of {listed}", value)
            data = forms[type(value)].encode(value)
            if not isinstance(data, dict):
                raise expected(f"a dict from to_json() of {name}", data)
            return {KIND: name, **data}

        def decode(data: Any) -> Any:
            if type(data) is not dict:
                raise expected(f"one of {listed}", data)
            kind = data.get(KIND, names[first])
            cls = by_name.get(kind.casefold()) if isinstance(kind, str) else None
            if cls is None:
                raise Misfit(f"unknown kind {str(kind)[:60]!r}; known are {listed}")
            return forms[cls].decode({name: data[name] for name in data if name != KIND})

        return Form(f"one of {listed}", encode, decode, frozenset(names), _OBJECT)

    # making ----------------------------------------------------------------------------------------------------------

    def _make(self, annotation: Any) -> Form:
        origin = typing.get_origin(annotation) or annotation
        arguments = typing.get_args(annotation)
        if origin in (typing.Union, types.UnionType):
            return self._union(arguments)
        if origin is typing.Literal:
            return literal_form(arguments)
        if isinstance(annotation, typing.NewType):
            return self.form(annotation.__supertype__)
        if isinstance(annotation, typing.TypeVar):
            raise ConfigurationError(f"{annotation} stands for no particular type; generic classes cannot be stored")
        if hasattr(annotation, "__value__"):  # type X = ...
            return self.form(annotation.__value__)
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return fixed_tuple_form([self.form(argument) for argument in arguments])
        if origin is collections.abc.Sequence:
            origin = list
        if origin in (list, tuple, set, frozenset):
            return array_form(origin, self.form(arguments[0]) if arguments else ANY)
        if origin in (dict, collections.abc.Mapping):
            key, item = arguments or (str, Any)
            return dict_form(self.form(key), self.form(item))
        if isinstance(annotation, type) and not arguments:
            meant: type = real_class(annotation)
            return self._class(annotation) if meant is annotation else self.form(meant)
        raise ConfigurationError(f"{named(annotation)} cannot be stored")

    def _union(self, members: Sequence[Any]) -> Form:
        classes = [member for member in members if _is_object(member)]
        forms = [self.form(member) for member in members if len(classes) < 2 or not _is_object(member)]
        if len(classes) > 1:
            forms.append(self.tagged({cls.__name__: cls for cls in classes}))
        if ANY in forms:
            return ANY
        name = " | ".join(form.name for form in forms)
        by_class = {cls: form for form in forms for cls in form.classes}
        by_shape = {shape: form for form in forms for shape in form.shapes}
        if len(by_shape) < sum(len(form.shapes) for form in forms):
            raise ConfigurationError(f"the members of {name} cannot be told apart in JSON")
        if float in by_shape:
            by_class.setdefault(int, by_shape[float])
            by_shape.setdefault(int, by_shape[float])

        def encode(value: Any) -> Json:
            form = by_class.get(type(value)) or by_class.get(real_class(type(value)))
            if form is None:
                raise expected(name, value)
            return form.encode(value)

        def decode(data: Any) -> Any:
            form = by_shape.get(type(data))
            if form is None:
                raise expected(name, data)
            return form.decode(data)

        return Form(name, encode, decode, frozenset(by_class), frozenset(by_shape))

    def _class(self, cls: type) -> Form:
        if issubclass(cls, enum.Enum):
            return enum_form(cls)
        if has_hooks(cls):
            return _hooked(cls)
        if not dataclasses.is_dataclass(cls):
            raise ConfigurationError(
                f"{named(cls)} cannot be stored: it is neither a dataclass nor has it to_json() and from_json()"
            )
        members: dict[str, Form] = {}
        form = self._known[cls] = _dataclass(cls, members, strict=self._strict)  # a field may be of the class itself
        try:
            members.update(self._members(cls))
        except BaseException:
            del self._known[cls]
            raise
        return form

    def _members(self, cls: type) -> dict[str, Form]:
        try:
            hints = typing.get_type_hints(cls)
        except NameError as error:
            raise ConfigurationError(f"an annotation of {named(cls)} cannot be resolved: {error}") from error
        for name, hint in hints.items():
            if isinstance(hint, dataclasses.InitVar):
                raise ConfigurationError(f"{named(cls)}.{name} is an InitVar: the object does not keep its value")
        members = {}
        for field in dataclasses.fields(cls):
            if field.init:
                try:
                    members[field.name] = self.form(hints[field.name])
                except ConfigurationError as error:
                    raise ConfigurationError(f"{named(cls)}.{field.name}: {error}") from error
        return members


def has_hooks(cls: type) -> bool:
    """Tell whether a class writes and reads itself. Raises ``ConfigurationError`` for one that does only one of it."""
    present = [callable(getattr(cls, name, None)) for name in ("to_json", "from_json")]
    if any(present) and not all(present):
        raise ConfigurationError(f"{named(cls)} must have both to_json() and from_json(), or neither")
    return all(present)


def _is_object(annotation: Any) -> bool:
    if not isinstance(annotation, type) or typing.get_origin(annotation) is not None:
        return False
    return dataclasses.is_dataclass(annotation) or (not issubclass(annotation, enum.Enum) and has_hooks(annotation))


def _hooked(cls: Any) -> Form:
    name = named(cls)

    def encode(value: Any) -> Json:
        if type(value) is not cls:
            raise expected(name, value)
        return ANY.encode(value.to_json())

    def decode(data: Any) -> Any:
        try:
            return cls.from_json(data)
        except Exception as error:  # whatever the class raises, it means that this cannot be read
            if interrupts(error):
                raise
            raise Misfit(f"{name}.from_json() failed: {error!r}") from error

    return Form(name, encode, decode, frozenset((cls,)), _OBJECT)


def _dataclass(cls: type, members: Mapping[str, Form], *, strict: bool) -> Form:
    name = named(cls)
    fields = [field for field in dataclasses.fields(cls) if field.init]
    absent = (dataclasses.MISSING, dataclasses.MISSING)
    required = {field.name for field in fields if (field.default, field.default_factory) == absent}

    def encode(value: Any) -> Json:
        if type(value) is not cls:
            raise expected(name, value)
        result: dict[str, Any] = {}
        for field, form in members.items():
            try:
                result[field] = form.encode(getattr(value, field))
            except Misfit as misfit:
                raise misfit.below(f".{field}") from misfit.__cause__
        return result

    def decode(data: Any) -> Any:
        if type(data) is not dict:
            raise expected(name, data)
        values: dict[str, Any] = {}
        for field, form in members.items():
            if field in data:
                try:
                    values[field] = form.decode(data[field])
                except Misfit as misfit:
                    raise misfit.below(f".{field}") from misfit.__cause__
            elif field in required:
                raise Misfit("it is missing").below(f".{field}")
        if strict and not data.keys() <= members.keys():
            surplus = ", ".join(repr(each[:60]) for each in data if each not in members)
            raise Misfit(f"{name} has no field {surplus}")
        try:
            return cls(**values)
        except Exception as error:  # whatever a __post_init__ raises
            if interrupts(error):
                raise
            raise Misfit(f"{name} refused its fields: {error!r}") from error

    return Form(name, encode, decode, frozenset((cls,)), _OBJECT)
