"""Rows that came anew and are what they were: the objects that are held stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

_EXACT: Final = frozenset((type(None), bool, int, str, bytes, UUID, date))
"""Of these, two that are equal and of one type are the same. Others have ``-0.0``, ``1.00``, a zone or a ``fold``."""

_NONE: Final = object()


def with_old_objects(keys: Sequence[Any], rows: Sequence[Any], held: Mapping[Any, Any]) -> list[Any]:
    """Return ``rows``, and in place of each that is just what ``held`` has under its key the object that is held.

    ``rows[i]`` belongs to ``keys[i]``.
    """
    get = held.get
    return [old if same(old := get(key, _NONE), row) else row for key, row in zip(keys, rows, strict=True)]


def same(old: Any, new: Any) -> bool:
    """Tell whether two values cannot be told apart. For rows as they are stored; other objects never are the same."""
    kind = type(old)
    if kind is not type(new) or old != new:
        return False
    if kind in _EXACT:
        return True
    if isinstance(old, dict):
        return list(old) == list(new) and all(map(same, old.values(), new.values())) and all(map(same, old, new))
    if isinstance(old, list | tuple):
        return len(old) == len(new) and all(map(same, old, new))
    return kind.__module__ in _WITH_EXACT_TEXT and repr(old) == repr(new)


_WITH_EXACT_TEXT: Final = frozenset(("builtins", "decimal", "datetime"))
"""Where the types are from whose ``repr`` says all."""
