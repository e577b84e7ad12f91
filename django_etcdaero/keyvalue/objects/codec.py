"""Objects to bytes and back: one JSON document in UTF-8 for each object."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Generic, Literal, NoReturn, TypeAlias, TypeVar

from django_etcdaero.exceptions import ConfigurationError, EncodeError, InvalidObject, InvalidRequest

from .annotations import KIND, Annotations, has_hooks
from .forms import Form, Misfit, named

T = TypeVar("T")

Types: TypeAlias = "type[T] | Sequence[type[T]] | Mapping[str, type[T]]"
"""The class of the objects, several classes, or the classes by the names that are stored for them."""

Unknown: TypeAlias = Literal["ignore", "refuse"]
"""What becomes of a stored field that the class does not declare."""


class Codec(Generic[T]):
    """Writes and reads the objects of a collection. Immutable; made with :func:`codec_for`."""

    def __init__(self, types: tuple[tuple[str, type[T]], ...], *, strict: bool, tagged: bool) -> None:
        self.classes = dict(types)
        annotations = Annotations(strict=strict)
        self._form = annotations.tagged(self.classes) if tagged else _untagged(annotations, types[0][1])
        """The form of one class, or of several."""

    @functools.cached_property
    def fields(self) -> frozenset[str] | None:
        """Names that the objects of at least one class have as a field; ``None`` if a class does not tell."""
        if not all(dataclasses.is_dataclass(cls) for cls in self.classes.values()):
            return None
        return frozenset(field.name for cls in self.classes.values() for field in dataclasses.fields(cls))  # type: ignore[arg-type]

    def encode(self, value: T, *, label: str) -> bytes:
        """Return ``value`` as JSON. Raises ``EncodeError`` naming ``label``, the place in the object and the type."""
        try:
            data = self._form.encode(value)
            text = _text(data)
        except Misfit as misfit:
            raise EncodeError(f"{label}: {named(type(value))}{misfit.path}: {misfit.problem}") from misfit
        except (RecursionError, ValueError) as error:
            raise EncodeError(f"{label}: {named(type(value))} cannot be written as JSON: {error}") from error
        try:
            return text.encode()
        except UnicodeEncodeError:  # lone surrogates, which JSON has as escapes only
            return _ascii(data).encode()

    def decode(self, data: bytes, *, label: str) -> T:
        """Return the object in ``data``. Raises ``InvalidObject`` naming ``label``, the place in it and the type."""
        try:
            value: T = self._form.decode(_parse(data.decode()))
        except Misfit as misfit:
            raise InvalidObject(f"{label}: {self._form.name}{misfit.path}: {misfit.problem}") from misfit
        except (RecursionError, ValueError) as error:
            raise InvalidObject(f"{label}: it is not JSON that can be read: {error}") from error
        return value


def codec_for(types: Types[T], *, unknown: Unknown) -> Codec[T]:
    """Return the codec for the classes of a collection, the same for the same classes.

    Raises ``ConfigurationError`` for anything but classes that can be stored.
    """
    if unknown not in ("ignore", "refuse"):
        raise ConfigurationError(f"unknown must be 'ignore' or 'refuse', not {unknown!r}")
    if isinstance(types, Mapping):
        named_types = tuple(types.items())
    else:
        given: object = types
        if not isinstance(given, type | Sequence) or isinstance(given, str | bytes):
            raise InvalidRequest(f"types must be a class, several, or classes by their names, not {types!r}")
        listed = [types] if isinstance(types, type) else list(types)
        named_types = tuple((getattr(cls, "__name__", repr(cls)), cls) for cls in listed)
    if not named_types:
        raise ConfigurationError("a collection needs at least one class")
    for name, cls in named_types:
        if not (_is_class(cls) and (dataclasses.is_dataclass(cls) or has_hooks(cls))):
            raise ConfigurationError(f"{name} is neither a dataclass nor a class with to_json() and from_json()")
    return _codec(named_types, unknown == "refuse", not isinstance(types, type))


@functools.cache
def _codec(types: tuple[tuple[str, type[T]], ...], strict: bool, tagged: bool) -> Codec[T]:
    return Codec(types, strict=strict, tagged=tagged)


def _untagged(annotations: Annotations, cls: type) -> Form:
    """Return the form of one class. A stored kind must be its name, unless it has such a field itself."""
    form = annotations.form(cls)
    own = has_hooks(cls) or any(field.name == KIND for field in dataclasses.fields(cls))
    if own:
        return form
    reading = annotations.tagged({cls.__name__: cls})
    return dataclasses.replace(form, decode=reading.decode)


def _is_class(given: object) -> bool:
    return isinstance(given, type)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: json.dumps() and json.loads() make one for each call with such options.
_text = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_parse = json.JSONDecoder(parse_constant=_refuse_constant).decode
