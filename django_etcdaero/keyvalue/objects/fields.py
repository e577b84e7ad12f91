"""Looking into objects: paths, selections, and what changed.

A path is the name of a field, and after a dot the field or key in what it holds: ``address.city``, ``labels.env``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.arguments import check_function

T = TypeVar("T")

Fields: TypeAlias = Mapping[str, Any]
"""Paths, and the values that an object must have there."""

LABELS: Final = "labels"
"""The field in which an object has its labels, a dict of str to str."""

_MISSING: Final = object()


def look_up(value: Any, path: str) -> Any:
    """Return what ``path`` leads to, or a value equal to no other."""
    for step in path.split("."):
        value = value.get(step, _MISSING) if isinstance(value, Mapping) else getattr(value, step, _MISSING)
    return value


def check_paths(paths: object, known: Collection[str] | None, *, name: str) -> tuple[str, ...]:
    """Return the paths. Raises ``InvalidRequest`` unless each begins with a ``known`` field (``None``: any).

    ``name`` is what the error calls them.
    """
    if isinstance(paths, str | bytes) or not isinstance(paths, Iterable):
        raise InvalidRequest(f"{name} must be several names of fields, not {paths!r}")
    checked = tuple(paths)
    for path in checked:
        if not isinstance(path, str):
            raise InvalidRequest(f"{name} must be names of fields, not {path!r}")
        if known is not None and path.partition(".")[0] not in known:
            raise InvalidRequest(f"no class of the objects has a field {path.partition('.')[0]!r}")
    return checked


@dataclass(frozen=True, slots=True)
class Selection(Generic[T]):
    """Which objects are wanted: those that fulfil all conditions."""

    where: Callable[[T], object] | None = None
    fields: Mapping[str, Any] | None = None
    labels: Mapping[str, str] | None = None

    def check(self, known: Collection[str] | None) -> None:
        """Raise ``InvalidRequest`` if a field is named that no object has."""
        if self.where is not None:
            check_function("where", self.where)
        for name, mapping in (("fields", self.fields), ("labels", self.labels)):
            if mapping is not None and not isinstance(mapping, Mapping):
                raise InvalidRequest(f"{name} must be a mapping, not {mapping!r}")
        check_paths(self.fields or (), known, name="fields")
        if self.labels and known is not None and LABELS not in known:
            raise InvalidRequest(f"no class of the objects has a field {LABELS!r}")

    @property
    def everything(self) -> bool:
        """True if it leaves nothing out."""
        return self.where is None and not self.fields and not self.labels

    def matches(self, value: T) -> bool:
        """Tell whether an object is wanted."""
        if any(look_up(value, path) != wanted for path, wanted in (self.fields or {}).items()):
            return False
        if self.labels:
            have = look_up(value, LABELS)
            if not isinstance(have, Mapping) or any(have.get(name) != label for name, label in self.labels.items()):
                return False
        return self.where is None or bool(self.where(value))


def changed(before: object, after: object, paths: Iterable[str]) -> bool:
    """Tell whether two states of an object differ at one of the paths."""
    return type(before) is not type(after) or any(look_up(before, path) != look_up(after, path) for path in paths)


def changes_nothing(
    current: object, update: object, *, ignore: Collection[str] = (), force: Collection[str] = ()
) -> bool:
    """Tell whether writing ``update`` over ``current`` would change nothing that matters.

    Both are dataclass instances. Fields in ``ignore`` do not matter. A field of ``update`` that has its default, or
    ``None``, counts as not given and matters only if it is in ``force``. Raises ``InvalidRequest`` for other objects
    and for fields that they do not have.
    """
    if not dataclasses.is_dataclass(update) or isinstance(update, type):
        raise InvalidRequest(f"update must be an instance of a dataclass, not {update!r}")
    if type(current) is not type(update):
        return False
    fields = {field.name: field for field in dataclasses.fields(update)}
    check_paths(ignore, fields, name="ignore")
    check_paths(force, fields, name="force")
    for name, field in fields.items():
        given = getattr(update, name)
        if name in ignore or given == getattr(current, name):
            continue
        if name in force or not (given is None or given == _default(field)):
            return False
    return True


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return _MISSING if field.default is dataclasses.MISSING else field.default
