"""The table of records and the statements on it that all databases understand.

All records of all rooms are in one table, which a migration of this package makes. Expiry is kept as milliseconds since
the epoch by the clock of the database server: hosts have clocks of their own, which differ. A record that has expired
is invisible to every statement here; :meth:`.dialect.Dialect.sweep` removes it some time later.

Names of columns need no quotes in any database. Only constants of this package get into the text of a statement.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from django_etcdaero.records.arguments import MAX_KEY_BYTES

if TYPE_CHECKING:
    from django_etcdaero.records.store import Value

    from .execution import Execution

TABLE: Final = "etcdaero_records"
COLUMNS: Final = "room, record_key, bytes_value, int_value, generation, expires"

VALUE: Final = "bytes_value, int_value"

Row = tuple[Any, ...]

_AFTER_EVERY_KEY = b"\xff" * (MAX_KEY_BYTES + 1)


def live(now: str) -> str:
    """Return the condition for a record that has not expired."""
    return f"(expires IS NULL OR expires > {now})"


def marks(count: int) -> str:
    """Return ``count`` places for parameters."""
    return ", ".join(["%s"] * count)


def columns_of(value: Value) -> tuple[bytes | None, int | None]:
    """Return what ``bytes_value`` and ``int_value`` are to be."""
    return (value, None) if isinstance(value, bytes) else (None, value)


def value_of(as_bytes: bytes | memoryview | None, as_int: int | None) -> Value:
    """Return the value that the two columns hold."""
    if as_int is not None:
        return as_int
    assert as_bytes is not None
    return bytes(as_bytes)


def milliseconds(ttl: int | None) -> int | None:
    """Return what is added to the time of the database; ``None`` makes the sum NULL."""
    return None if ttl is None else ttl * 1000


def select(on: Execution, room: str, keys: Collection[bytes], *, values: bool) -> list[Row]:
    """Return key, generation, milliseconds left (``None``: for ever), and the value's two columns if asked for."""
    now = on.now
    statement = (
        f"SELECT record_key, generation, expires - {now}{f', {VALUE}' if values else ''} FROM {TABLE}"
        f" WHERE room = %s AND record_key IN ({marks(len(keys))}) AND {live(now)}"
    )
    return on.execute(statement, (room, *keys)).rows


def select_page(on: Execution, room: str, first: bytes, prefix: bytes, limit: int) -> list[Row]:
    """Return key, generation and milliseconds left of live records from the key ``first`` on, in key order."""
    stem = prefix.rstrip(b"\xff")
    end = stem[:-1] + bytes((stem[-1] + 1,)) if stem else _AFTER_EVERY_KEY
    now = on.now
    statement = (
        f"SELECT record_key, generation, expires - {now} FROM {TABLE}"
        f" WHERE room = %s AND record_key >= %s AND record_key < %s AND {live(now)} ORDER BY record_key LIMIT {limit}"
    )
    return on.execute(statement, (room, first, end)).rows


def replace(on: Execution, room: str, key: bytes, value: Value, ttl: int | None, generation: int) -> bool:
    """Write over a live record of this generation; return whether there was one."""
    now = on.now
    statement = (
        f"UPDATE {TABLE} SET bytes_value = %s, int_value = %s, generation = generation + 1, expires = {now} + %s"
        f" WHERE room = %s AND record_key = %s AND generation = %s AND {live(now)}"
    )
    written = (*columns_of(value), milliseconds(ttl))
    return on.execute(statement, (*written, room, key, generation)).affected == 1


def touch(on: Execution, room: str, key: bytes, ttl: int | None, generation: int | None) -> bool:
    """Give a live record (of this generation) a new expiry; return whether there was one."""
    now = on.now
    statement = (
        f"UPDATE {TABLE} SET generation = generation + 1, expires = {now} + %s"
        f" WHERE room = %s AND record_key = %s AND {live(now)}"
    )
    parameters: tuple[object, ...] = (milliseconds(ttl), room, key)
    if generation is not None:
        statement, parameters = f"{statement} AND generation = %s", (*parameters, generation)
    return on.execute(statement, parameters).affected == 1


def delete(on: Execution, room: str, keys: Collection[bytes], generation: int | None = None) -> int:
    """Delete live records (of this generation); return how many there were."""
    statement = f"DELETE FROM {TABLE} WHERE room = %s AND record_key IN ({marks(len(keys))}) AND {live(on.now)}"
    parameters: tuple[object, ...] = (room, *keys)
    if generation is not None:
        statement, parameters = f"{statement} AND generation = %s", (*parameters, generation)
    return on.execute(statement, parameters).affected


def delete_page(on: Execution, room: str, after: bytes, limit: int) -> bytes | None:
    """Delete the next ``limit`` records behind the key ``after``; return the last of them, ``None`` at the end."""
    found = on.execute(
        f"SELECT record_key FROM {TABLE} WHERE room = %s AND record_key > %s"
        f" ORDER BY record_key LIMIT 1 OFFSET {limit - 1}",
        (room, after),
    ).rows
    last = bytes(found[0][0]) if found else None
    end = _AFTER_EVERY_KEY if last is None else last
    on.execute(
        f"DELETE FROM {TABLE} WHERE room = %s AND record_key > %s AND record_key <= %s",
        (room, after, end),
    )
    return last
