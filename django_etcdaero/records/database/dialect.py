"""What differs between databases: the statements that are not the same everywhere, and what errors mean."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import IntegrityError, InterfaceError, OperationalError
from django.db.backends.utils import CursorWrapper

from .execution import Execution, Result

if TYPE_CHECKING:
    from django_etcdaero.records.store import Value


class Fault(enum.Enum):
    """What an error of a database means for a call."""

    BROKEN = "the connection does not work any more"
    AGAIN = "the database undid the statement for the sake of others, and it may be repeated"
    LOCKED = "others hold the record for longer than the time allowed"
    LATE = "the database stopped the statement when its time ran out"
    EXISTS = "there is a row of this key already"
    NO_TABLE = "the table or one of its columns is missing"
    DENIED = "the user may not do this"
    UNAUTHENTICATED = "user name or password are wrong"
    FULL = "there is no room left"
    READ_ONLY = "the database takes no writes now"
    OTHER = "something else"


class Dialect(ABC):
    """One kind of database, as ``wrapper``, Django's connection, knows it."""

    def __init__(self, wrapper: Any) -> None:
        self.wrapper = wrapper

    now: ClassVar[str]
    """Milliseconds since the epoch by the clock of the server, as an expression; the same all through a statement."""

    codes: ClassVar[Mapping[object, Fault]]
    """What the codes of errors mean, but for broken connections."""

    # connections -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def options(self, given: Mapping[str, Any], seconds: int) -> dict[str, Any]:
        """Return ``OPTIONS`` for a connection of our own, to be made in ``seconds`` at most."""

    def preparations(self) -> Sequence[str]:
        """Return the statements to begin a connection with."""
        return ()

    def carry_out(self, statement: str, parameters: Sequence[Any], seconds: float | None) -> Result:
        """Carry out a statement that the server itself ends after ``seconds`` (``None``: it sees to that itself).

        Raises errors of Django, and ``SynchronousOnlyOperation`` in an event loop.
        """
        # Not wrapper.cursor(): with DEBUG that keeps the text of thousands of statements, values included.
        with self.wrapper.wrap_database_errors:
            cursor = self.wrapper.create_cursor()
        with CursorWrapper(cursor, self.wrapper) as cursor:
            cursor.execute(statement if seconds is None else self.bounded(statement, seconds), parameters or None)
            if seconds is not None:
                self.skip(cursor)
            rows = cursor.fetchall() if cursor.description else []
            return Result(list(rows), cursor.rowcount, getattr(cursor, "lastrowid", None))

    @abstractmethod
    def bounded(self, statement: str, seconds: float) -> str:
        """Return the statement such that the server itself ends it after ``seconds``."""

    def skip(self, cursor: Any) -> None:  # noqa: B027 - most have none
        """Skip the results of what :meth:`bounded` has put before a statement."""

    # errors ----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def code(self, error: Exception) -> object:
        """Return the code in an error of Django's, ``None`` if it has none (the driver's own errors)."""

    @abstractmethod
    def breaks(self, code: object) -> bool:
        """Tell whether a connection is of no use after an error with this code."""

    def fault(self, error: Exception) -> Fault:
        """Return what an error of Django's means."""
        code = self.code(error)
        if code in self.codes:
            return self.codes[code]
        if isinstance(error, OperationalError | InterfaceError) and (code is None or self.breaks(code)):
            return Fault.BROKEN
        return Fault.EXISTS if isinstance(error, IntegrityError) else Fault.OTHER

    # statements ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def write(self, on: Execution, room: str, items: Mapping[bytes, Value], ttl: int | None) -> None:
        """Create or overwrite records; one that has expired starts anew with generation 1."""

    @abstractmethod
    def create(self, on: Execution, room: str, key: bytes, value: Value, ttl: int | None) -> bool:
        """Create a record; return whether there was none."""

    @abstractmethod
    def increment(self, on: Execution, room: str, key: bytes, delta: int, least: int, most: int) -> int | None:
        """Add to a live record whose integer is from ``least`` to ``most``; return the sum, ``None`` without one."""

    @abstractmethod
    def touch_many(
        self, on: Execution, room: str, items: Mapping[bytes, int | None], ttl: int | None
    ) -> Collection[bytes]:
        """Give the live records that have the generation given (``None``: any) a new expiry; return their keys."""

    @abstractmethod
    def sweep(self, on: Execution, limit: int) -> int:
        """Remove at most ``limit`` records of any room that have expired; return how many it were."""
