"""What statements are carried out on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol


class Result(NamedTuple):
    """What a statement gave."""

    rows: list[tuple[Any, ...]]
    affected: int
    """Rows that it found or changed."""
    last_id: int | None


class Execution(Protocol):
    """A connection, as the modules with statements see it: :class:`.session.Session`."""

    @property
    def now(self) -> str:
        """The expression :attr:`.dialect.Dialect.now` of its database."""

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Result:
        """Carry out a statement, within the time of the call. Raises errors of Django."""

    def transaction(self) -> AbstractContextManager[None]:
        """Let the statements inside be one transaction; without it each one is."""
