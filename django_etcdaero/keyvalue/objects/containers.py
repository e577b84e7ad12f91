"""How containers are written as JSON: lists, tuples and sets as arrays, dicts as objects.

A set is written in the order of its elements' JSON, so that equal sets are written alike. The keys of a dict are
written as text: str, int, and everything else that is written as text (UUID, date, Decimal, an Enum of text, …).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any

from django_etcdaero.exceptions import ConfigurationError

from .forms import Form, Json, Misfit, expected, named

_ARRAY = frozenset((list,))
_OBJECT = frozenset((dict,))
_PLAIN = frozenset((str, int, float, bool, type(None)))


def array_form(cls: type[Any], item: Form) -> Form:
    """Return the form of a list, tuple, set or frozenset of ``item``."""
    name = f"{cls.__name__} of {item.name}"
    unordered = issubclass(cls, Set)

    def encode(value: Any) -> Json:
        if type(value) is not cls:
            raise expected(name, value)
        items = _each(item.encode, value)
        return sorted(items, key=json.dumps) if unordered else items

    def decode(data: Any) -> Any:
        if type(data) is not list:
            raise expected(name, data)
        items = _each(item.decode, data)
        try:
            return cls(items)
        except TypeError as error:
            raise Misfit(f"an element of the {cls.__name__} is not hashable: {error}") from error

    return Form(name, encode, decode, frozenset((cls,)), _ARRAY)


def fixed_tuple_form(items: Sequence[Form]) -> Form:
    """Return the form of ``tuple[first, second]``."""
    name = f"tuple[{', '.join(item.name for item in items)}]"

    def convert(values: Any, cls: type[Any], functions: Sequence[Callable[[Any], Any]]) -> list[Any]:
        if type(values) is not cls:
            raise expected(name, values)
        if len(values) != len(items):
            raise Misfit(f"expected {name}, got {len(values)} values")
        return [_at(f"[{n}]", *pair) for n, pair in enumerate(zip(functions, values, strict=True))]

    def encode(value: Any) -> Json:
        return convert(value, tuple, [item.encode for item in items])

    def decode(data: Any) -> Any:
        return tuple(convert(data, list, [item.decode for item in items]))

    return Form(name, encode, decode, frozenset((tuple,)), _ARRAY)


def dict_form(key: Form, item: Form) -> Form:
    """Return the form of ``dict[key, item]``. Raises ``ConfigurationError`` for keys that cannot be written as text."""
    name = f"dict of {key.name} to {item.name}"
    numbers = key.shapes == {int}
    if not numbers and key.shapes != {str}:
        raise ConfigurationError(f"{name}: keys must be int or something that is written as text")

    def write(value: Any) -> str:
        return str(key.encode(value))

    def read(text: str) -> Any:
        if not numbers:
            return key.decode(text)
        try:
            return key.decode(int(text))
        except ValueError as error:
            raise Misfit(f"the key {text[:60]!r} is not a number") from error

    def encode(value: Any) -> Json:
        if type(value) is not dict:
            raise expected(name, value)
        return {_at("'s keys", write, each): _at(_step(each), item.encode, value[each]) for each in value}

    def decode(data: Any) -> Any:
        if type(data) is not dict:
            raise expected(name, data)
        return {_at("'s keys", read, each): _at(_step(each), item.decode, data[each]) for each in data}

    return Form(name, encode, decode, _OBJECT, _OBJECT)


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise expected("str as a key of plain JSON", key).below("'s keys")
        return {key: _at(_step(key), _plain, value[key]) for key in value}
    if kind is list:
        return _each(_plain, value)
    if kind in _PLAIN:
        return value
    raise Misfit(f"{named(kind)} is not plain JSON (str, int, float, bool, None, list, dict with str keys)")


ANY = Form("Any", _plain, lambda data: data, frozenset(), frozenset())
"""The form of ``Any``: what JSON has itself, as it is."""


# --- places ----------------------------------------------------------------------------------------------------------


def _at(step: str, function: Callable[[Any], Any], value: Any) -> Any:
    try:
        return function(value)
    except Misfit as misfit:
        raise misfit.below(step) from misfit.__cause__


def _each(function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
    result: list[Any] = []
    try:
        for value in values:
            result.append(function(value))  # noqa: PERF401 - its length is the place of the error
    except Misfit as misfit:
        raise misfit.below(f"[{len(result)}]") from misfit.__cause__
    return result


def _step(key: Any) -> str:
    return f"[{str(key)[:60]!r}]" if isinstance(key, str) else f"[{named(type(key))} key]"
