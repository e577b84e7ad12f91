"""The namespace: records by digest, with generations, expiry and truncation."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator

from tests.records.aerospike.standin.clock import EPOCH, Clock
from tests.records.aerospike.standin.frames import NAMESPACE, Request

MAX_RECORD_SIZE = 1024 * 1024
MAX_TTL = 315_360_000
TTL_DEFAULT, TTL_NEVER, TTL_KEEP = 0, 0xFFFFFFFF, 0xFFFFFFFE

Bin = tuple[int, bytes]
"""Type and value of a bin."""


@dataclasses.dataclass(slots=True)
class Record:
    set_name: bytes
    key: bytes | None = None
    """Type and bytes of the user key, if the client sent it."""
    bins: dict[bytes, Bin] = dataclasses.field(default_factory=dict)
    generation: int = 0
    void_time: int = 0
    updated: int = 0
    """Whole milliseconds since 2010; a truncation removes what is older than itself."""

    def size(self) -> int:
        """Return what counts against the limit of a record: the server's storage format, with its end mark."""
        size = 35 + 4 + 1 + (4 if self.void_time else 0) + (1 + len(self.set_name) if self.set_name else 0)
        if self.key is not None:
            size += len(self.key) + (1 if len(self.key) < 128 else 2)
        return size + sum(1 + len(name) + _stored(bin_) for name, bin_ in self.bins.items())


class Namespace:
    """Methods are called with :attr:`lock` held."""

    def __init__(self, name: str, clock: Clock, *, nsup_period: int) -> None:
        self.name = name
        self.clock = clock
        self.nsup_period = nsup_period
        self.allow_ttl_without_nsup = False
        self.default_ttl = 0
        self.max_record_size = MAX_RECORD_SIZE
        self.stop_writes_count: dict[bytes, int] = {}
        """Set to how many records it may have; 0: any number."""
        self.figures: dict[str, str] = {}
        """What it tells about itself otherwise than :data:`.info.FIGURES`."""
        self.refused: set[str] = set()
        """Text commands for which the user lacks the role."""
        self.lock = threading.RLock()
        self._supervised = clock.now()
        self.records: dict[bytes, Record] = {}
        self.truncated: dict[bytes, int] = {}
        """Set to its last truncation, in milliseconds since 2010."""

    def live(self, digest: bytes) -> Record | None:
        record = self.records.get(digest)
        return None if record is None or self.expired(record) else record

    def expired(self, record: Record) -> bool:
        return record.void_time != 0 and record.void_time < int(self.clock.now())

    def void_time(self, ttl: int, before: Record | None) -> int:
        """Return when a record expires that is written with ``ttl`` over ``before``; 0: never."""
        if ttl == TTL_KEEP and before is not None:
            return before.void_time
        if ttl in (TTL_DEFAULT, TTL_KEEP):
            ttl = self.default_ttl or TTL_NEVER
        return 0 if ttl == TTL_NEVER else int(self.clock.now()) + ttl

    def ttl_refusal(self, ttl: int, before: Record | None) -> int:
        """Return the result code with which a time to live is refused, or 0."""
        if ttl == TTL_KEEP and before is None:
            ttl = TTL_DEFAULT
        if ttl in (TTL_NEVER, TTL_KEEP):
            return 0
        if ttl > MAX_TTL:
            return 4
        positive = ttl > 0 or self.default_ttl > 0
        return 22 if positive and self.nsup_period == 0 and not self.allow_ttl_without_nsup else 0

    def is_full(self, set_name: bytes) -> bool:
        """Tell whether a set takes no more records; those that it has can be written."""
        limit = self.stop_writes_count.get(set_name, 0)
        return limit != 0 and sum(record.set_name == set_name for record in self.records.values()) >= limit

    def truncate(self, set_name: bytes) -> None:
        """Remove what was written in an earlier millisecond than this one."""
        cut = milliseconds()
        self.truncated[set_name] = cut
        for digest, record in list(self.records.items()):
            if record.set_name == set_name and record.updated < cut:
                del self.records[digest]

    def supervise(self) -> None:
        """Free what has expired, every ``nsup_period`` seconds; until then only a remove finds it."""
        now = self.clock.now()
        if self.nsup_period and now - self._supervised >= self.nsup_period:
            self._supervised = now
            for digest in [digest for digest, record in self.records.items() if self.expired(record)]:
                del self.records[digest]

    def is_meant(self, request: Request) -> bool:
        """Tell whether ``request`` is for this namespace. The server has no other one; renaming this one loses it."""
        return request.fields.get(NAMESPACE) == self.name.encode()

    def forget(self) -> None:
        """Lose everything, as an in-memory namespace does when its server restarts."""
        with self.lock:
            self.records.clear()

    def of_set(self, set_name: bytes | None) -> Iterator[tuple[bytes, Record]]:
        """Yield the live records of a set (``None``: of all) by digest."""
        for digest in sorted(self.records):
            record = self.records[digest]
            if set_name in (None, record.set_name) and not self.expired(record):
                yield digest, record


def milliseconds() -> int:
    """Return the time of a write in milliseconds since 2010: always the real one."""
    return int((time.time() - EPOCH) * 1000)


def _stored(bin_: Bin) -> int:
    particle, value = bin_
    if particle == 1:
        number = int.from_bytes(value, "big")
        return 2 + next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    return 5 + len(value)
