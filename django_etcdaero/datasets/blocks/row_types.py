"""What a row is when it comes back: a plain container, a read-only one, or an instance of a declared class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, TypeAlias

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system.error_text import message_of
from django_etcdaero.system.interruption import interrupts

from .explain import shown

RowForm: TypeAlias = "Literal['plain', 'frozen'] | type[Any]"
"""``"plain"``: containers as they were written. ``"frozen"``: read-only ones, all the way down (``MappingProxyType``
over a dict, tuple for list, frozenset for set). A dataclass or NamedTuple: made from each row, by keyword from a dict,
by position from a list or tuple."""


def check_rows(rows: RowForm) -> None:
    """Raise ``ConfigurationError`` unless ``rows`` is one of the forms that :data:`RowForm` lists."""
    if rows in ("plain", "frozen"):
        return
    if isinstance(rows, type) and (is_dataclass(rows) or (issubclass(rows, tuple) and hasattr(rows, "_fields"))):
        return
    raise ConfigurationError(f"rows must be 'plain', 'frozen', a dataclass or a NamedTuple class, not {rows!r}")


def make_rows(row_type: Callable[..., Any], keys: Sequence[Any], rows: Sequence[Any]) -> list[Any]:
    """Return an instance of ``row_type`` for each row. Raises ``ConfigurationError`` naming a row that does not fit."""
    made: list[Any] = []
    for key, row in zip(keys, rows, strict=True):
        kind = type(row)
        try:
            if kind is dict:
                made.append(row_type(**row))
            elif kind is list or kind is tuple:
                made.append(row_type(*row))
            else:
                raise TypeError(f"a {kind.__name__} has no fields; it takes a dict, list or tuple")
        except Exception as error:  # whatever a __post_init__ raises
            if interrupts(error):
                raise
            name = getattr(row_type, "__qualname__", repr(row_type))
            raise ConfigurationError(
                f"row {shown(key)} does not fit the row type {name}: {message_of(error)}"
            ) from error
    return made
