"""PostgreSQL, with psycopg 3 or psycopg2.

The limits of a statement are set together with the statement, in one transaction and one round trip: there is no state
of the session that a pooler between here and the server (PgBouncer) would hand to somebody else. With psycopg 3 that is
a pipeline, in which values are sent and received as they are; else it is one text, in which they are twice as long.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from django.utils.asyncio import async_unsafe

from .dialect import Dialect, Fault
from .execution import Execution, Result
from .table import COLUMNS, TABLE, columns_of, live, marks, milliseconds

if TYPE_CHECKING:
    from django_etcdaero.records.store import Value

_NOW: Final = "(extract(epoch from statement_timestamp()) * 1000)::bigint"
_LOCKS: Final = 0.9
"""The part of a statement's time that it may wait for locks: ended by that limit, an error tells of the lock."""

_WRITE: Final = f"""
INSERT INTO {TABLE} AS old ({COLUMNS}) VALUES %s
ON CONFLICT (room, record_key) DO UPDATE SET
    bytes_value = excluded.bytes_value, int_value = excluded.int_value, expires = excluded.expires,
    generation = CASE WHEN old.expires <= {_NOW} THEN 1 ELSE old.generation + 1 END
"""
_ROW: Final = f"(%s, %s, %s, %s, 1, {_NOW} + %s)"
_CREATE: Final = f"{_WRITE % _ROW} WHERE old.expires <= {_NOW}"
_INCREMENT: Final = f"""
UPDATE {TABLE} SET int_value = int_value + %s, generation = generation + 1
WHERE room = %s AND record_key = %s AND int_value BETWEEN %s AND %s AND {live(_NOW)} RETURNING int_value
"""
_TOUCH: Final = f"""
UPDATE {TABLE} SET generation = generation + 1, expires = {_NOW} + %s WHERE room = %s AND {live(_NOW)}
"""
_SWEEP: Final = f"""
DELETE FROM {TABLE} WHERE (room, record_key) IN (
    SELECT room, record_key FROM {TABLE} WHERE expires <= {_NOW} ORDER BY expires LIMIT %s FOR UPDATE SKIP LOCKED
)
"""

_LIMITS: Final = "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"


def _limits(seconds: float) -> tuple[int, int]:
    """Return the two limits in milliseconds: for the statement, and for its waiting for a lock."""
    whole = max(1, int(seconds * 1000))
    return whole, max(1, int(whole * _LOCKS))


@async_unsafe
def _check_event_loop() -> None:
    """As Django's own functions do that use a connection."""


class PostgreSQL(Dialect):
    """See the module."""

    now = _NOW
    codes = {
        "40001": Fault.AGAIN,  # serialization failure
        "40P01": Fault.AGAIN,  # deadlock
        "55P03": Fault.LOCKED,
        "57014": Fault.LATE,
        "42P01": Fault.NO_TABLE,
        "42703": Fault.NO_TABLE,  # a column
        "42501": Fault.DENIED,
        "28000": Fault.UNAUTHENTICATED,
        "28P01": Fault.UNAUTHENTICATED,
        "53100": Fault.FULL,  # the disk
        "25006": Fault.READ_ONLY,
    }

    def options(self, given: Mapping[str, Any], seconds: int) -> dict[str, Any]:
        ours = {name: value for name, value in given.items() if name not in ("pool", "server_side_binding")}
        return {**ours, "connect_timeout": seconds}

    def carry_out(self, statement: str, parameters: Sequence[Any], seconds: float | None) -> Result:
        psycopg = self.wrapper.Database
        if seconds is None or not (hasattr(psycopg, "Pipeline") and psycopg.Pipeline.is_supported()):
            return super().carry_out(statement, parameters, seconds)
        _check_event_loop()
        with self.wrapper.wrap_database_errors:
            connection = self.wrapper.connection
            with connection.pipeline():
                psycopg.Cursor(connection).execute(_LIMITS, [str(limit) for limit in _limits(seconds)])
                cursor = psycopg.Cursor(connection).execute(statement, parameters, binary=True)
            return Result(cursor.fetchall() if cursor.description else [], cursor.rowcount, None)

    def bounded(self, statement: str, seconds: float) -> str:
        whole, locks = _limits(seconds)
        return f"SET LOCAL statement_timeout = {whole}; SET LOCAL lock_timeout = {locks}; {statement}"

    def skip(self, cursor: Any) -> None:
        if hasattr(cursor, "pgresult"):  # psycopg 3; psycopg2 keeps the last result only
            cursor.nextset()
            cursor.nextset()

    def code(self, error: Exception) -> object:
        cause = error.__cause__
        return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)

    def breaks(self, code: object) -> bool:
        return str(code).startswith(("08", "57P"))  # connection exceptions; the server is shut down or starts

    def write(self, on: Execution, room: str, items: Mapping[bytes, Value], ttl: int | None) -> None:
        parameters: list[object] = []
        for key in sorted(items):  # in one order everywhere, so that two of these wait rather than deadlock
            parameters += (room, key, *columns_of(items[key]), milliseconds(ttl))
        rows = ", ".join([_ROW] * len(items))
        on.execute(_WRITE % rows, parameters)

    def create(self, on: Execution, room: str, key: bytes, value: Value, ttl: int | None) -> bool:
        return on.execute(_CREATE, (room, key, *columns_of(value), milliseconds(ttl))).affected == 1

    def increment(self, on: Execution, room: str, key: bytes, delta: int, least: int, most: int) -> int | None:
        rows = on.execute(_INCREMENT, (delta, room, key, least, most)).rows
        return rows[0][0] if rows else None

    def touch_many(
        self, on: Execution, room: str, items: Mapping[bytes, int | None], ttl: int | None
    ) -> Collection[bytes]:
        anyhow = [key for key, generation in items.items() if generation is None]
        exactly = {key: generation for key, generation in items.items() if generation is not None}
        touched: list[tuple[Any, ...]] = []
        if anyhow:
            condition = f"AND record_key IN ({marks(len(anyhow))}) RETURNING record_key"
            touched += on.execute(_TOUCH + condition, (milliseconds(ttl), room, *anyhow)).rows
        if exactly:
            condition = f"AND (record_key, generation) IN (VALUES {', '.join(['(%s::bytea, %s)'] * len(exactly))})"
            wanted = [each for pair in exactly.items() for each in pair]
            touched += on.execute(f"{_TOUCH}{condition} RETURNING record_key", (milliseconds(ttl), room, *wanted)).rows
        return [bytes(row[0]) for row in touched]

    def sweep(self, on: Execution, limit: int) -> int:
        return on.execute(_SWEEP, (limit,)).affected
