"""The record store in a table of one of the project's databases, for all processes of all hosts that use it.

An expired record is invisible at once, by the clock of the database, and removed by later writes. Every statement is a
transaction of its own, on connections that nobody else uses: what a call has written stays, whatever becomes of a
transaction of its caller, and every process sees it. A call on many records takes one statement for some hundreds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from django_etcdaero.exceptions import DeadlineExceeded, InvalidRequest, KeyExists, KeyNotFound
from django_etcdaero.records import arguments, conditions
from django_etcdaero.records.arguments import MAX_INT, MIN_INT
from django_etcdaero.records.life import ConnectedStore
from django_etcdaero.records.store import Meta, Record, StoreInfo, Value, batches, by_size
from django_etcdaero.stores.database import DatabaseAddress
from django_etcdaero.system import forks

from . import table
from .connections import Connections
from .session import Session
from .sweeping import Sweeping

T = TypeVar("T")
Part = TypeVar("Part")

READ_RECORDS, OTHER_RECORDS = 256, 1000
"""Keys of a statement that returns values, and of one that does not."""

WRITE_RECORDS, WRITE_BYTES = 500, 2_000_000
"""Most records and (about) most bytes that one statement writes: as text that is twice as much, and MySQL takes 16 MB
by default."""

SCAN_PAGE = 1000
"""Records that a scan reads at a time."""

TRUNCATE_PAGE = 2000
"""Records that one statement of :meth:`DatabaseStore.truncate` deletes."""


class DatabaseStore(ConnectedStore):
    """Records in a room of the table of the database at ``address``. Connects when the first call is made.

    ``timeout``: seconds that a call without one may take. Any call may also raise ``Unauthenticated``,
    ``PermissionDenied`` and ``ResponseError``; called in an event loop, where Django uses no database, it raises
    ``InvalidRequest``.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        timeout: float = 5.0,
        max_value_bytes: int = arguments.DEFAULT_MAX_VALUE_BYTES,
    ) -> None:
        arguments.check_timeout(timeout)
        if not timeout:
            raise InvalidRequest("timeout must be above 0 seconds")
        self.info = StoreInfo("database", address.safe)
        self.max_value_bytes = max_value_bytes
        self._room = address.room
        self._connections: Connections = Connections(address, timeout)
        self._sweeping = Sweeping(self._connections)
        forks.protect(self)

    # one record ------------------------------------------------------------------------------------------------------

    def _put(self, key: bytes, value: Value, ttl: int | None, generation: int | None, timeout: float | None) -> None:
        until = self._until(timeout)
        if generation is None:
            self._write(lambda session: session.dialect.write(session, self._room, {key: value}, ttl), until, 1)
        elif generation == 0:
            if not self._write(lambda session: session.dialect.create(session, self._room, key, value, ttl), until, 1):
                raise KeyExists(f"there is a record {key!r} already")
        else:
            self._guarded(
                lambda session: table.replace(session, self._room, key, value, ttl, generation), key, generation, until
            )

    def _delete(self, key: bytes, generation: int | None, timeout: float | None) -> bool:
        def work(session: Session) -> bool:
            return table.delete(session, self._room, (key,), generation) == 1

        return self._guarded(work, key, generation, self._until(timeout))

    def _touch(self, key: bytes, ttl: int | None, generation: int | None, timeout: float | None) -> bool:
        def work(session: Session) -> bool:
            return table.touch(session, self._room, key, ttl, generation)

        return self._guarded(work, key, generation, self._until(timeout))

    def _increment(self, key: bytes, delta: int, timeout: float | None) -> int:
        until = self._until(timeout)
        least, most = max(MIN_INT, MIN_INT - delta), min(MAX_INT, MAX_INT - delta)

        def work(session: Session) -> int | None:
            return session.dialect.increment(session, self._room, key, delta, least, most)

        while True:
            total = self._write(work, until, 1)
            if total is not None:
                return total
            # The database does not say why not.
            rows = self._read(lambda session: table.select(session, self._room, (key,), values=True), until)
            if not rows:
                raise KeyNotFound(f"there is no record {key!r} to increment")
            conditions.incremented(key, table.value_of(*rows[0][3:]), delta)
            self._check_deadline(until)  # it would fit now: another client has changed it meanwhile

    # many records ----------------------------------------------------------------------------------------------------

    def get_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Record]:
        records: dict[bytes, Record] = {}
        for key, generation, left, *value in self._each(keys, READ_RECORDS, timeout, values=True):
            records[bytes(key)] = Record(table.value_of(*value), generation, _seconds(left))
        return records

    def _put_many(self, items: Mapping[bytes, Value], ttl: int | None, timeout: float | None) -> None:
        def work(session: Session, part: list[bytes]) -> None:
            session.dialect.write(session, self._room, {key: items[key] for key in part}, ttl)

        self._write_parts(by_size(items, records=WRITE_RECORDS, size=WRITE_BYTES), work, timeout)

    def delete_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> int:
        arguments.check_keys(keys)

        def work(session: Session, part: list[bytes]) -> int:
            return table.delete(session, self._room, part)

        return sum(self._write_parts(batches(dict.fromkeys(keys), OTHER_RECORDS), work, timeout))

    def exists_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Meta]:
        metas: dict[bytes, Meta] = {}
        for key, generation, left in self._each(keys, OTHER_RECORDS, timeout, values=False):
            metas[bytes(key)] = Meta(generation, _seconds(left))
        return metas

    def _touch_many(self, items: Mapping[bytes, int | None], ttl: int | None, timeout: float | None) -> set[bytes]:
        possible = [key for key, generation in items.items() if (generation or 0) <= MAX_INT]

        def work(session: Session, part: list[bytes]) -> Collection[bytes]:
            return session.dialect.touch_many(session, self._room, {key: items[key] for key in part}, ttl)

        return set().union(*self._write_parts(batches(possible, OTHER_RECORDS), work, timeout))

    def scan(self, prefix: bytes = b"", *, timeout: float | None = None) -> Iterator[tuple[bytes, Meta]]:
        arguments.check_prefix(prefix)
        self._until(timeout)
        return self._scan(prefix, timeout)

    def truncate(self, *, timeout: float | None = None) -> None:
        until, last = self._until(timeout), b""

        def work(session: Session) -> bytes | None:
            return table.delete_page(session, self._room, last, TRUNCATE_PAGE)

        while (found := self._write(work, until, 0)) is not None:
            last = found
            self._check_deadline(until)

    # inside ----------------------------------------------------------------------------------------------------------

    def _until(self, timeout: float | None) -> float:
        """Check what every call checks; return its deadline."""
        arguments.check_timeout(timeout)
        self._connections.check_usable()
        return self._connections.until(timeout)

    def _read(self, work: Callable[[Session], T], until: float) -> T:
        return self._connections.run(work, until, write=False)

    def _write(self, work: Callable[[Session], T], until: float, records: int) -> T:
        result = self._connections.run(work, until, write=True)
        self._sweeping.after(records, until)
        return result

    def _write_parts(
        self, parts: Iterable[list[bytes]], work: Callable[[Session, list[bytes]], T], timeout: float | None
    ) -> list[T]:
        until = self._until(timeout)
        results: list[T] = []
        for part in parts:
            if results:
                self._check_deadline(until)
            results.append(self._write(_on(work, part), until, len(part)))
        return results

    def _guarded(self, work: Callable[[Session], bool], key: bytes, generation: int | None, until: float) -> bool:
        """Do what changes a record of this generation; raise ``VersionConflict`` if there is none."""
        done = self._write(work, until, 1)
        if done or generation is None:
            return done
        while True:
            rows = self._read(lambda session: table.select(session, self._room, (key,), values=False), until)
            conditions.check_generation(key, rows[0][1] if rows else None, generation)
            self._check_deadline(until)  # it has that generation now, which another client has just given it
            if self._write(work, until, 1):
                return True

    def _each(self, keys: Collection[bytes], size: int, timeout: float | None, *, values: bool) -> Iterator[table.Row]:
        arguments.check_keys(keys)
        until = self._until(timeout)
        for number, part in enumerate(batches(dict.fromkeys(keys), size)):
            if number:
                self._check_deadline(until)
            yield from self._read(_selection(self._room, part, values=values), until)

    def _scan(self, prefix: bytes, timeout: float | None) -> Iterator[tuple[bytes, Meta]]:
        first = prefix
        while True:
            page = self._read(_page(self._room, first, prefix), self._until(timeout))
            for key, generation, left in page:
                yield bytes(key), Meta(generation, _seconds(left))
            if len(page) < SCAN_PAGE:
                return
            first = bytes(page[-1][0]) + b"\0"  # the next key there can be

    def _check_deadline(self, until: float) -> None:
        if self._connections.until(0) > until:
            raise DeadlineExceeded(f"{self.info.location}: the time allowed ran out between two parts of the call")


def _seconds(left: int | None) -> int | None:
    """Milliseconds as whole seconds, rounded up."""
    return None if left is None else -(-int(left) // 1000)


def _on(work: Callable[[Session, Part], T], part: Part) -> Callable[[Session], T]:
    return lambda session: work(session, part)


def _selection(room: str, keys: list[bytes], *, values: bool) -> Callable[[Session], list[table.Row]]:
    return lambda session: table.select(session, room, keys, values=values)


def _page(room: str, first: bytes, prefix: bytes) -> Callable[[Session], list[table.Row]]:
    return lambda session: table.select_page(session, room, first, prefix, SCAN_PAGE)
