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
        if [*old] != [*new]:
            return False
        named = {str}.issuperset(map(type, old)) or _all_same([*old], [*new])  # no other type is equal to a text
        return named and _all_same([*old.values()], [*new.values()])
    if isinstance(old, list | tuple):
        return len(old) == len(new) and _all_same(old, new)
    return kind.__module__ in _WITH_EXACT_TEXT and repr(old) == repr(new)


def _all_same(olds: Sequence[Any], news: Sequence[Any]) -> bool:
    """Tell whether values that are equal cannot be told apart."""
    kinds = [*map(type, olds)]
    if kinds != [*map(type, news)]:
        return False
    return all(same(old, new) for kind, old, new in zip(kinds, olds, news, strict=True) if kind not in _EXACT)


_WITH_EXACT_TEXT: Final = frozenset(("builtins", "decimal", "datetime"))
"""Where the types are from whose ``repr`` says all."""
