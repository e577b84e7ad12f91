"""What a form is: the way in which the values of one declared type are written as JSON and read again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Any] | dict[str, Any] | None"
"""What the standard library's ``json`` makes of a document."""

_SHOWN = 60
"""Characters of a stored text that a message shows."""


class Misfit(Exception):
    """A value does not fit the type declared for it. Inside this package only; ``path`` is completed on the way up."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = ""

    def below(self, step: str) -> Misfit:
        """Note that the value is reached by ``step`` from the one that holds it."""
        self.path = step + self.path
        return self


@dataclass(frozen=True, slots=True)
class Form:
    """How one type is written and read. Both functions raise :class:`Misfit`."""

    name: str
    """The type, for messages."""
    encode: Callable[[Any], Json]
    decode: Callable[[Any], Any]
    classes: frozenset[type]
    """Exact classes of the values; empty: any."""
    shapes: frozenset[type]
    """Exact classes of what they are written as; empty: any."""


def named(kind: Any) -> str:
    """Return the name of a class or annotation for messages."""
    return kind.__qualname__ if isinstance(kind, type) else str(kind).removeprefix("typing.")


def expected(name: str, value: object) -> Misfit:
    """Return the complaint that ``value`` is not of the type ``name``."""
    return Misfit(f"expected {name}, got {named(type(value))}")


def shown(text: str) -> str:
    """Return the repr of a text, shortened."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
