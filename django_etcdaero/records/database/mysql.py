"""MySQL and MariaDB.

MariaDB is told the limit of each statement in the statement itself. MySQL has such a limit for reading only; there a
statement that writes waits for the locks of others for the limit of its connection, and is ended from this side.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from django.db import IntegrityError

from .dialect import Dialect, Fault
from .table import COLUMNS, TABLE, columns_of, live, marks, milliseconds

if TYPE_CHECKING:
    from django_etcdaero.records.store import Value

    from .execution import Execution

# No time zone is involved, so none of its repeated hours.
_NOW: Final = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)"
_LOCK_SECONDS: Final = 2
"""Seconds that a connection to MySQL waits for the locks of others."""

_ROW: Final = f"(%s, %s, %s, %s, 1, {_NOW} + %s)"
_INSERT: Final = f"INSERT INTO {TABLE} ({COLUMNS}) VALUES %s"
# Assignments are carried out one after the other: the generation comes before the expiry that it depends on.
_WRITE: Final = f"""
{_INSERT} ON DUPLICATE KEY UPDATE
    generation = CASE WHEN expires <= {_NOW} THEN 1 ELSE generation + 1 END,
    bytes_value = VALUES(bytes_value), int_value = VALUES(int_value), expires = VALUES(expires)
"""
_CLEAR: Final = f"DELETE FROM {TABLE} WHERE room = %s AND record_key = %s AND expires <= {_NOW}"
_INCREMENT: Final = f"""
UPDATE {TABLE} SET int_value = CAST(LAST_INSERT_ID(int_value + %s) AS SIGNED), generation = generation + 1
WHERE room = %s AND record_key = %s AND int_value BETWEEN %s AND %s AND {live(_NOW)}
"""
_LOCK: Final = f"SELECT record_key, generation FROM {TABLE} WHERE room = %s AND {live(_NOW)}"
_TOUCH: Final = f"UPDATE {TABLE} SET generation = generation + 1, expires = {_NOW} + %s WHERE room = %s"
_SWEEP: Final = f"DELETE FROM {TABLE} WHERE expires <= {_NOW} ORDER BY expires LIMIT %s"


class MySQL(Dialect):
    """See the module."""

    now = _NOW
    codes = {
        1213: Fault.AGAIN,  # deadlock
        1020: Fault.AGAIN,  # the record has changed since it was read
        1205: Fault.LOCKED,
        1969: Fault.LATE,  # MariaDB
        3024: Fault.LATE,  # MySQL
        1317: Fault.LATE,  # interrupted
        1062: Fault.EXISTS,
        1146: Fault.NO_TABLE,
        1054: Fault.NO_TABLE,  # a column
        1142: Fault.DENIED,
        1044: Fault.DENIED,
        1045: Fault.UNAUTHENTICATED,
        1114: Fault.FULL,  # a table
        1021: Fault.FULL,  # a disk
        1290: Fault.READ_ONLY,
        1792: Fault.READ_ONLY,
    }

    def options(self, given: Mapping[str, Any], seconds: int) -> dict[str, Any]:
        return {**given, "connect_timeout": seconds}

    def preparations(self) -> Sequence[str]:
        return () if self.wrapper.mysql_is_mariadb else (f"SET SESSION innodb_lock_wait_timeout = {_LOCK_SECONDS}",)

    def bounded(self, statement: str, seconds: float) -> str:
        if self.wrapper.mysql_is_mariadb:
            return f"SET STATEMENT max_statement_time = {max(0.001, seconds):.3f} FOR {statement}"
        if statement.startswith("SELECT "):
            limit = max(1, int(seconds * 1000))
            return f"SELECT /*+ MAX_EXECUTION_TIME({limit}) */ {statement.removeprefix('SELECT ')}"
        return statement

    def code(self, error: Exception) -> object:
        code = error.args[0] if error.args else None
        return code if isinstance(code, int) else None

    def breaks(self, code: object) -> bool:
        # Those of 2000 and more are the client library's own; 1927 and others tell of a connection that was killed.
        return isinstance(code, int) and (2000 <= code < 3000 or code in (1053, 1077, 1152, 1159, 1161, 1927, 4031))

    def write(self, on: Execution, room: str, items: Mapping[bytes, Value], ttl: int | None) -> None:
        parameters: list[object] = []
        for key in sorted(items):  # in one order everywhere, so that two of these wait rather than deadlock
            parameters += (room, key, *columns_of(items[key]), milliseconds(ttl))
        rows = ", ".join([_ROW] * len(items))
        on.execute((_WRITE % rows).strip(), parameters)

    def create(self, on: Execution, room: str, key: bytes, value: Value, ttl: int | None) -> bool:
        on.execute(_CLEAR, (room, key))
        try:
            on.execute(_INSERT % _ROW, (room, key, *columns_of(value), milliseconds(ttl)))
        except IntegrityError:
            return False
        return True

    def increment(self, on: Execution, room: str, key: bytes, delta: int, least: int, most: int) -> int | None:
        result = on.execute(_INCREMENT.strip(), (delta, room, key, least, most))
        if not result.affected:
            return None
        unsigned = result.last_id or 0
        return unsigned - 2**64 if unsigned >= 2**63 else unsigned

    def touch_many(
        self, on: Execution, room: str, items: Mapping[bytes, int | None], ttl: int | None
    ) -> Collection[bytes]:
        with on.transaction():
            found = on.execute(
                f"{_LOCK} AND record_key IN ({marks(len(items))}) ORDER BY record_key FOR UPDATE", (room, *items)
            ).rows
            touched = [bytes(key) for key, generation in found if items[bytes(key)] in (None, generation)]
            if touched:
                condition = f"AND record_key IN ({marks(len(touched))})"
                on.execute(f"{_TOUCH} {condition}", (milliseconds(ttl), room, *touched))
        return touched

    def sweep(self, on: Execution, limit: int) -> int:
        return on.execute(_SWEEP, (limit,)).affected
