"""What a row is when it comes back: read-only or plain containers, or an instance of a declared class."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, Literal, TypeAlias, is_typeddict

from django_etcdaero.exceptions import ConfigurationError

from .row_making import is_named_tuple, is_struct

RowForm: TypeAlias = Literal["frozen", "plain"]
"""``"frozen"``: containers that refuse to be changed, all the way down (:mod:`.frozen`; a set comes back as a
frozenset). ``"plain"``: containers as they were written."""


def is_row_type(given: object) -> bool:
    """Tell whether something is a class for rows: a dataclass, ``NamedTuple``, ``TypedDict`` or ``msgspec.Struct``."""
    return isinstance(given, type) and (
        is_dataclass(given) or is_named_tuple(given) or is_typeddict(given) or is_struct(given)
    )


_AS_DATACLASS = "@dataclass(frozen=True, slots=True)"


def check_form(rows: object, row_type: object) -> None:
    """Raise ``ConfigurationError`` unless ``rows`` is a :data:`RowForm` and ``row_type`` a class for rows or ``None``.

    With ``"frozen"`` instances of the class cannot be changed.
    """
    if isinstance(rows, type):
        raise ConfigurationError(
            f"rows = {rows!r}, expected 'frozen' or 'plain'; the class of the rows is row_type={rows.__name__}"
        )
    if rows not in ("frozen", "plain"):
        raise ConfigurationError(f"rows = {rows!r}, expected 'frozen' or 'plain'")
    if row_type is None:
        return
    if not isinstance(row_type, type) or not is_row_type(row_type):
        raise ConfigurationError(
            f"row_type = {row_type!r}, expected a dataclass, a NamedTuple, a TypedDict or a msgspec.Struct class"
        )
    params: Any = getattr(row_type, "__dataclass_params__", getattr(row_type, "__struct_config__", None))
    if rows == "frozen" and params is not None and not params.frozen:
        written = f"class {row_type.__name__}(msgspec.Struct, frozen=True)" if is_struct(row_type) else _AS_DATACLASS
        raise ConfigurationError(
            f"row_type = {row_type!r} has attributes that can be set, and all requests of a process share instances:"
            f" write {written}, or choose rows='plain' and never set one"
        )
