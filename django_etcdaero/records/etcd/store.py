"""The record store in an etcd cluster: for datasets and caches of some megabytes, where no other store is shared.

It stands on the waist of the coordination plane (:mod:`django_etcdaero.keyvalue.engine`), so it runs over any engine;
users get the one on etcd. How records are stored is told in :mod:`.stored`, how they are changed in :mod:`.changes`.

Times of expiry are times of the clocks of hosts, which may differ by some seconds, and must not by minutes
(:data:`.leases.SPARE`). Each write or touch of a record writes its value, and etcd keeps what was there before until
its history is compacted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping

from django_etcdaero.exceptions import KeyExists, KeyNotFound
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.records import arguments, conditions
from django_etcdaero.records.life import check_usable
from django_etcdaero.records.store import Fill, Meta, Record, RecordStore, StoreInfo, Value, batches
from django_etcdaero.stores.etcd_records import DEFAULT_MAX_ENTRIES, DEFAULT_MAX_VALUE_BYTES

from .changes import TRANSACTION_HEADERS, TRANSACTION_RECORDS, Write, in_parts, paced, size_of
from .limit import Limit
from .room import SAME_LEASE, Room
from .stored import ABSENT, HEADERS, VALUES, Stored, payload_of

SCAN_PAGE = 1000
"""Records that a scan reads at a time."""


class EtcdStore(RecordStore):
    """Records below ``room`` in the store of ``engine``, whose only user this should be.

    ``max_entries``: how many records there may be; more raise ``StoreFull``. ``owned``: the engine belongs to the store
    and is closed with it. ``clock`` returns seconds since the epoch; tests give their own to let time pass.
    """

    def __init__(
        self,
        engine: Engine,
        room: str,
        *,
        max_entries: int = DEFAULT_MAX_ENTRIES,
        max_value_bytes: int = DEFAULT_MAX_VALUE_BYTES,
        owned: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.info = StoreInfo(engine.info.kind, engine.info.location, {"room": room})
        self.max_value_bytes = max_value_bytes
        self._engine = engine
        self._owned = owned
        self._clock = clock
        self._room = Room(engine, room, self.info.location, most=max_entries, now=self._now)
        self._pid = os.getpid()
        self._closed = False

    @property
    def engine(self) -> Engine:
        """The engine that it stands on."""
        return self._engine

    def fill(self, prefix: bytes = b"", *, timeout: float | None = None) -> Fill:
        arguments.check_prefix(prefix)
        records, limit = self._room.fill(self._begin(timeout))
        return Fill(records=records, limit=limit)

    # one record ------------------------------------------------------------------------------------------------------

    def get(self, key: bytes, *, timeout: float | None = None) -> Record | None:
        arguments.check_keys((key,))
        return self._room.look(VALUES, key, self._begin(timeout)).record(self._now())

    def exists(self, key: bytes, *, timeout: float | None = None) -> Meta | None:
        arguments.check_keys((key,))
        stored, now = self._room.look(HEADERS, key, self._begin(timeout)), self._now()
        header = stored.live(now)
        return None if header is None else header.meta(now)

    def _put(self, key: bytes, value: Value, ttl: int | None, generation: int | None, timeout: float | None) -> None:
        limit = self._begin(timeout)
        create = generation == 0
        found = ABSENT if create else self._room.look(HEADERS, key, limit)
        sure = not create
        while True:
            now = self._now()
            live = found.live(now)
            if create and live is not None:
                raise KeyExists(f"there is a record {key!r} already")
            conditions.check_generation(key, None if live is None else live.generation, generation or None)
            if not self._room.reserve({key: found}, limit, sure=sure):
                found, sure = self._room.look(HEADERS, key, limit), True
                continue
            expires = _expires(ttl, now)
            write = Write(found.successor(now, expires, is_int=isinstance(value, int)), payload_of(value))
            late = self._room.change({key: found}, {key: write}, expires, limit)
            if late is None:
                return
            found, sure = late[key], True

    def _delete(self, key: bytes, generation: int | None, timeout: float | None) -> bool:
        limit = self._begin(timeout)
        if generation is None:
            return self._room.remove([key], limit) == 1
        found = self._room.look(HEADERS, key, limit)
        while True:
            live = found.live(self._now())
            conditions.check_generation(key, None if live is None else live.generation, generation)
            late = self._room.change({key: found}, None, None, limit)
            if late is None:
                return True
            found = late[key]

    def _touch(self, key: bytes, ttl: int | None, generation: int | None, timeout: float | None) -> bool:
        limit = self._begin(timeout)
        found = self._room.look(VALUES, key, limit)
        while True:
            now = self._now()
            live = found.live(now)
            conditions.check_generation(key, None if live is None else live.generation, generation)
            if live is None:
                return False
            expires = _expires(ttl, now)
            write = Write(found.successor(now, expires, is_int=live.is_int), found.payload)
            late = self._room.change({key: found}, {key: write}, expires, limit, values=True)
            if late is None:
                return True
            found = late[key]

    def _increment(self, key: bytes, delta: int, timeout: float | None) -> int:
        limit = self._begin(timeout)
        found = self._room.look(VALUES, key, limit)
        while True:
            now = self._now()
            live = found.live(now)
            if live is None:
                raise KeyNotFound(f"there is no record {key!r} to increment")
            total = conditions.incremented(key, found.value(), delta)
            write = Write(found.successor(now, live.expires, is_int=True), payload_of(total))
            late = self._room.change({key: found}, {key: write}, SAME_LEASE, limit, values=True)
            if late is None:
                return total
            found = late[key]

    # many records ----------------------------------------------------------------------------------------------------

    def get_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Record]:
        records: dict[bytes, Record] = {}
        arguments.check_keys(keys)
        limit = self._begin(timeout)
        for found in self._values(keys, limit):
            now = self._now()
            for key, stored in found.items():
                if record := stored.record(now):
                    records[key] = record
        return records

    def exists_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Meta]:
        metas: dict[bytes, Meta] = {}
        arguments.check_keys(keys)
        limit = self._begin(timeout)
        for part in batches(dict.fromkeys(keys), TRANSACTION_HEADERS):
            limit.begin_part()
            found, now = self._room.look_at(HEADERS, part, limit), self._now()
            for key, stored in found.items():
                if header := stored.live(now):
                    metas[key] = header.meta(now)
        return metas

    def _put_many(self, items: Mapping[bytes, Value], ttl: int | None, timeout: float | None) -> None:
        limit = self._begin(timeout)
        payloads = {key: payload_of(value) for key, value in items.items()}
        for part in in_parts({key: size_of(self._room.name, key, payload) for key, payload in payloads.items()}):
            limit.begin_part()
            found: dict[bytes, Stored] | None = dict.fromkeys(part, ABSENT)
            sure = False
            while found is not None:
                if not self._room.reserve(found, limit, sure=sure):
                    found, sure = self._room.look_at(HEADERS, part, limit), True
                    continue
                now = self._now()
                expires = _expires(ttl, now)
                writes = {
                    key: Write(stored.successor(now, expires, is_int=isinstance(items[key], int)), payloads[key])
                    for key, stored in found.items()
                }
                found, sure = self._room.change(found, writes, expires, limit), True

    def delete_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> int:
        arguments.check_keys(keys)
        limit = self._begin(timeout)
        deleted = 0
        for part in batches(dict.fromkeys(keys), TRANSACTION_RECORDS):
            limit.begin_part()
            deleted += self._room.remove(part, limit)
        return deleted

    def _touch_many(self, items: Mapping[bytes, int | None], ttl: int | None, timeout: float | None) -> set[bytes]:
        limit = self._begin(timeout)
        touched: set[bytes] = set()
        for part in self._values(items, limit):
            seen = [part]
            while seen:
                found, now = seen.pop(), self._now()
                expires = _expires(ttl, now)
                writes = {
                    key: Write(stored.successor(now, expires, is_int=live.is_int), stored.payload)
                    for key, stored in found.items()
                    if (live := stored.live(now)) is not None and items[key] in (None, live.generation)
                }
                for some in in_parts({key: size_of(self._room.name, key, writes[key].payload) for key in writes}):
                    late = self._room.change({key: found[key] for key in some}, writes, expires, limit, values=True)
                    if late is None:
                        touched.update(some)
                    else:
                        seen.append(late)
        return touched

    def scan(self, prefix: bytes = b"", *, timeout: float | None = None) -> Iterator[tuple[bytes, Meta]]:
        arguments.check_prefix(prefix)
        self._begin(timeout)
        return self._scan(prefix, timeout)

    def truncate(self, *, timeout: float | None = None) -> None:
        self._room.clear(self._begin(timeout))

    # life ------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self._closed = True
        if self._owned:
            self._engine.close()

    def before_fork(self, timeout: float) -> None:
        if self._owned:
            self._engine.before_fork(timeout)

    def after_fork_in_parent(self) -> None:
        if self._owned:
            self._engine.after_fork_in_parent()

    def abandon(self) -> None:
        self._closed = True
        if self._owned:
            self._engine.abandon()

    # inside ----------------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _begin(self, timeout: float | None) -> Limit:
        """Begin a call: return until when it may last, unless the store must not be used any more."""
        limit = Limit(timeout, self._engine.default_timeout, self.info.location)
        check_usable(self.info.location, pid=self._pid, closed=self._closed)
        return limit

    def _values(self, keys: Collection[bytes], limit: Limit) -> Iterator[dict[bytes, Stored]]:
        """Yield the records of ``keys`` with their values, one part after the other, until ``limit``."""

        def look(part: list[bytes]) -> dict[bytes, Stored]:
            limit.begin_part()
            return self._room.look_at(VALUES, part, limit)

        return paced(dict.fromkeys(keys), look)

    def _scan(self, prefix: bytes, timeout: float | None) -> Iterator[tuple[bytes, Meta]]:
        last: bytes | None = None
        more = True
        while more:
            limit, now = self._begin(timeout), self._now()
            page, more = self._room.page(prefix, last, SCAN_PAGE, limit)
            for key, stored in page.items():
                if header := stored.live(now):
                    yield key, header.meta(now)
                last = key


def _expires(ttl: int | None, now: int) -> int | None:
    return None if ttl is None else now + ttl * 1000
