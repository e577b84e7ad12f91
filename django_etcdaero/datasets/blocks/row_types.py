"""What a row is when it comes back: read-only or plain containers, or an instance of a declared class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, TypeAlias

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system.error_text import message_of
from django_etcdaero.system.interruption import interrupts

from .explain import shown

RowForm: TypeAlias = Literal["frozen", "plain"]
"""``"frozen"``: containers that refuse to be changed, all the way down (:mod:`.frozen`; a set comes back as a
frozenset). ``"plain"``: containers as they were written."""


def check_form(rows: object, row_type: object) -> None:
    """Raise ``ConfigurationError`` unless ``rows`` is a :data:`RowForm` and ``row_type`` a class for rows or ``None``.

    A class for rows is a dataclass or NamedTuple. It is made from each row, by keyword from a dict, by position from a
    list or tuple. With ``"frozen"`` a dataclass is a frozen one.
    """
    if isinstance(rows, type):
        raise ConfigurationError(
            f"rows = {rows!r}, expected 'frozen' or 'plain'; the class of the rows is row_type={rows.__name__}"
        )
    if rows not in ("frozen", "plain"):
        raise ConfigurationError(f"rows = {rows!r}, expected 'frozen' or 'plain'")
    if row_type is None:
        return
    if not isinstance(row_type, type) or not (
        is_dataclass(row_type) or (issubclass(row_type, tuple) and hasattr(row_type, "_fields"))
    ):
        raise ConfigurationError(f"row_type = {row_type!r}, expected a dataclass or a NamedTuple class")
    params: Any = getattr(row_type, "__dataclass_params__", None)
    if rows == "frozen" and params is not None and not params.frozen:
        raise ConfigurationError(
            f"row_type = {row_type!r} has attributes that can be set, and all requests of a process share instances:"
            " write @dataclass(frozen=True), or choose rows='plain' and never set one"
        )


def make_rows(row_type: Callable[..., Any], keys: Sequence[Any], rows: Sequence[Any]) -> list[Any]:
    """Return an instance of ``row_type`` for each row. Raises ``ConfigurationError`` naming a row that does not fit."""
    made: list[Any] = []
    for key, row in zip(keys, rows, strict=True):
        try:
            if isinstance(row, dict):
                made.append(row_type(**row))
            elif isinstance(row, list | tuple):
                made.append(row_type(*row))
            else:
                raise TypeError(f"a {type(row).__name__} has no fields; it takes a dict, list or tuple")
        except Exception as error:  # whatever a __post_init__ raises
            if interrupts(error):
                raise
            name = getattr(row_type, "__qualname__", repr(row_type))
            raise ConfigurationError(
                f"row {shown(key)} does not fit the row type {name}: {message_of(error)}"
            ) from error
    return made
