"""The record store in one SQLite file, for all processes of one host.

An expired record is invisible at once and removed by later writes, a few at a time, so that the file does not grow for
ever. Calls on many records work in several short transactions.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from typing import TypeVar

from django_etcdaero.exceptions import DeadlineExceeded, KeyExists, KeyNotFound
from django_etcdaero.records import arguments, conditions
from django_etcdaero.records.life import ConnectedStore
from django_etcdaero.records.store import Fill, Meta, Record, StoreInfo, Value, batches, by_size
from django_etcdaero.system import forks
from django_etcdaero.system.clocks import monotonic

from . import tables
from .connections import Connections

TRANSACTION_RECORDS, TRANSACTION_BYTES = 2048, 4_000_000
"""Most records and (about) most bytes that one transaction writes; other writers get their turn in between."""

PAUSE = 0.001
"""Seconds between two transactions of one call, without which other processes would hardly ever find a gap."""

PURGE_AT_LEAST = 16
"""Expired records that a transaction removes at most, or twice as many as it writes if that is more."""

SCAN_PAGE = 1000
"""Records that a scan reads at a time."""

T = TypeVar("T")
Part = TypeVar("Part", bound=Sized)


class SqliteStore(ConnectedStore):
    """Records in the SQLite file at ``path``, which is opened (and created) by the first call.

    ``busy_timeout``: seconds that each transaction of a call without ``timeout`` waits for other processes at most;
    ``clock`` returns seconds since the epoch. Any call may raise ``StoreBusy``, ``ConfigurationError`` (see
    :mod:`django_etcdaero.system.sqlite`) and ``ResponseError`` (damaged, or not ours), all naming the path. When
    the file is deleted or replaced while the store is open, the next call works with what is at the path then.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        busy_timeout: float = 5.0,
        max_value_bytes: int = arguments.DEFAULT_MAX_VALUE_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        absolute = os.path.abspath(path)
        self.info = StoreInfo("sqlite", f"sqlite:///{absolute}", {"sqlite": sqlite3.sqlite_version})
        self.max_value_bytes = max_value_bytes
        self._clock = clock
        self._connections: Connections = Connections(absolute, tables.SCHEMA, busy_timeout=busy_timeout)
        forks.protect(self)

    def _put(self, key: bytes, value: Value, ttl: int | None, generation: int | None, timeout: float | None) -> None:
        def work(connection: sqlite3.Connection, items: dict[bytes, Value], now: int) -> None:
            if generation == 0 and tables.select(connection, "generation", (key,), now):
                raise KeyExists(f"there is a record {key!r} already")
            _expect(connection, key, generation or None, now)
            tables.write(connection, items, _expires(ttl, now), now)

        self._write([{key: value}], work, timeout)

    def _delete(self, key: bytes, generation: int | None, timeout: float | None) -> bool:
        def work(connection: sqlite3.Connection, keys: tuple[bytes], now: int) -> bool:
            _expect(connection, key, generation, now)
            return tables.delete(connection, keys, now) == 1

        return self._write([(key,)], work, timeout)[0]

    def _touch(self, key: bytes, ttl: int | None, generation: int | None, timeout: float | None) -> bool:
        def work(connection: sqlite3.Connection, items: dict[bytes, int | None], now: int) -> bool:
            _expect(connection, key, generation, now)
            return bool(tables.touch(connection, items, _expires(ttl, now), now))

        return self._write([{key: generation}], work, timeout)[0]

    def _increment(self, key: bytes, delta: int, timeout: float | None) -> int:
        def work(connection: sqlite3.Connection, keys: tuple[bytes], now: int) -> int:
            rows = tables.select(connection, "id, value", keys, now)
            if not rows:
                raise KeyNotFound(f"there is no record {key!r} to increment")
            record, value = rows[0]
            total = conditions.incremented(key, value, delta)
            tables.set_value(connection, record, total)
            return total

        return self._write([(key,)], work, timeout)[0]

    def get(self, key: bytes, *, timeout: float | None = None) -> Record | None:
        arguments.check_key(key)
        if timeout is not None:
            arguments.check_timeout(timeout)
        now = self._now()
        row = self._connections.read(lambda connection: tables.select_one(connection, key, now), _deadline(timeout))
        return None if row is None else Record(row[0], row[1], _left(row[2], now))

    def get_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Record]:
        records: dict[bytes, Record] = {}
        for rows, now in self._read(keys, "key, value, generation, expires", timeout):
            for key, value, generation, expires in rows:
                records[key] = Record(value, generation, _left(expires, now))
        return records

    def _put_many(self, items: Mapping[bytes, Value], ttl: int | None, timeout: float | None) -> None:
        def work(connection: sqlite3.Connection, part: list[bytes], now: int) -> None:
            tables.write(connection, {key: items[key] for key in part}, _expires(ttl, now), now)

        self._write(by_size(items, records=TRANSACTION_RECORDS, size=TRANSACTION_BYTES), work, timeout)

    def delete_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> int:
        arguments.check_keys(keys)
        return sum(self._write(batches(keys, TRANSACTION_RECORDS), tables.delete, timeout))

    def exists_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Meta]:
        metas: dict[bytes, Meta] = {}
        for rows, now in self._read(keys, "key, generation, expires", timeout):
            for key, generation, expires in rows:
                metas[key] = Meta(generation, _left(expires, now))
        return metas

    def _touch_many(self, items: Mapping[bytes, int | None], ttl: int | None, timeout: float | None) -> set[bytes]:
        def work(connection: sqlite3.Connection, part: list[bytes], now: int) -> set[bytes]:
            return tables.touch(connection, {key: items[key] for key in part}, _expires(ttl, now), now)

        return set().union(*self._write(batches(items, TRANSACTION_RECORDS), work, timeout))

    def scan(self, prefix: bytes = b"", *, timeout: float | None = None) -> Iterator[tuple[bytes, Meta]]:
        arguments.check_prefix(prefix)
        arguments.check_timeout(timeout)
        self._connections.check_usable()
        return self._scan(prefix, timeout)

    def fill(self, prefix: bytes = b"", *, timeout: float | None = None) -> Fill:
        arguments.check_prefix(prefix)
        arguments.check_timeout(timeout)
        self._connections.check_usable()
        now = self._now()
        return Fill(*self._connections.read(lambda found: tables.count(found, prefix, now), _deadline(timeout)))

    def truncate(self, *, timeout: float | None = None) -> None:
        def work(connection: sqlite3.Connection, nothing: tuple[()], now: int) -> None:
            tables.truncate(connection)

        self._write([()], work, timeout)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _read(
        self, keys: Collection[bytes], columns: str, timeout: float | None
    ) -> Iterator[tuple[list[tables.Row], int]]:
        """Yield rows of ``columns``, and the time for which they hold, for a part of ``keys`` after the other."""
        arguments.check_keys(keys)
        arguments.check_timeout(timeout)
        self._connections.check_usable()
        deadline = _deadline(timeout)
        for number, part in enumerate(batches(keys, tables.SELECT_KEYS)):
            if number:
                self._check_deadline(deadline)
            now = self._now()

            def select(connection: sqlite3.Connection, part: list[bytes] = part, now: int = now) -> list[tables.Row]:
                return tables.select(connection, columns, part, now)

            yield self._connections.read(select, deadline), now

    def _write(
        self, parts: Iterable[Part], work: Callable[[sqlite3.Connection, Part, int], T], timeout: float | None
    ) -> list[T]:
        """Run ``work(connection, part, now)`` in a transaction of its own for each part; return the results."""
        arguments.check_timeout(timeout)
        self._connections.check_usable()
        deadline = _deadline(timeout)
        results: list[T] = []
        for number, part in enumerate(parts):
            if number:
                time.sleep(PAUSE)
                self._check_deadline(deadline)

            def transaction(connection: sqlite3.Connection, part: Part = part) -> T:
                now = self._now()
                tables.purge(connection, max(PURGE_AT_LEAST, 2 * len(part)), now)
                return work(connection, part, now)

            results.append(self._connections.write(transaction, deadline))
        return results

    def _scan(self, prefix: bytes, timeout: float | None) -> Iterator[tuple[bytes, Meta]]:
        first = prefix
        while True:
            now = self._now()

            def select(connection: sqlite3.Connection, first: bytes = first, now: int = now) -> list[tables.Row]:
                return tables.select_page(connection, first, prefix, SCAN_PAGE, now)

            page = self._connections.read(select, _deadline(timeout))
            for key, generation, expires in page:
                yield key, Meta(generation, _left(expires, now))
            if len(page) < SCAN_PAGE:
                return
            first = page[-1][0] + b"\0"  # the next key there can be

    def _check_deadline(self, deadline: float | None) -> None:
        if deadline is not None and monotonic() > deadline:
            raise DeadlineExceeded(f"{self.info.location}: the time allowed ran out between two parts of the call")


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else monotonic() + timeout


def _expires(ttl: int | None, now: int) -> int | None:
    return None if ttl is None else now + ttl * 1000


def _left(expires: int | None, now: int) -> int | None:
    return None if expires is None else -((now - expires) // 1000)  # rounded up


def _expect(connection: sqlite3.Connection, key: bytes, generation: int | None, now: int) -> None:
    """Raise ``VersionConflict`` unless the record has ``generation`` (``None``: any, or no record)."""
    if generation is None:
        return
    rows = tables.select(connection, "generation", (key,), now)
    conditions.check_generation(key, rows[0][0] if rows else None, generation)
