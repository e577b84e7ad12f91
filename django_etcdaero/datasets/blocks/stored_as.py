"""Objects of some subclasses are stored as the plain value that they are, and come back as that: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .frozen import FrozenDict, FrozenList

STORED_AS: dict[type, Callable[[Any], Any]] = {FrozenDict: dict, FrozenList: list}
"""Class to the function that makes a plain value of its objects. Only for classes that add nothing to the value."""


def as_plain(value: Any) -> Any:
    """Return the plain value that ``value`` is stored as, or ``value`` itself where none is known.

    Besides :data:`STORED_AS` that is text which is marked as HTML (Django's ``SafeString``, by its ``__html__``).
    """
    kind = type(value)
    convert = STORED_AS.get(kind)
    if convert is not None:
        return convert(value)
    return str.__str__(value) if issubclass(kind, str) and hasattr(kind, "__html__") else value
