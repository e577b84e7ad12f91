"""The room of a store in etcd: each method is one step of a call, and asks the engine once or twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django_etcdaero.exceptions import ConfigurationError, InvalidRequest, LeaseNotFound, StoreFull
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.keys import prefix_end
from django_etcdaero.keyvalue.values import (
    DeleteRequest,
    DeleteResult,
    RangeRequest,
    RangeResult,
    TxnRequest,
    TxnResult,
)

from .changes import Write, changing, reading, removing
from .entries import Entries
from .leases import Leases
from .limit import Limit
from .stored import ABSENT, HEADERS, VALUES, Stored

SAME_LEASE = -1
"""As a time of expiry: what the record hangs on stays as it is."""


class Room:
    """``name`` is how all keys begin; ``now`` returns milliseconds since the epoch."""

    def __init__(self, engine: Engine, name: str, location: str, *, most: int, now: Callable[[], int]) -> None:
        self.name = name.encode()
        self._engine = engine
        self._location = location
        self._now = now
        self._leases = Leases(engine, self.name, now)
        self._entries = Entries(most)

    def look(self, kind: bytes, key: bytes, limit: Limit) -> Stored:
        """Return what is stored under one key of a record, of ``kind`` ``HEADERS`` or ``VALUES``."""
        found = self._engine.get(self.name + kind + key, timeout=limit.left)
        return ABSENT if found is None else Stored.of(found, self._location)

    def look_at(self, kind: bytes, keys: list[bytes], limit: Limit) -> dict[bytes, Stored]:
        """Return the same of several records, as they were at one moment."""
        if len(keys) == 1:
            return {keys[0]: self.look(kind, keys[0], limit)}
        answer = self._run(reading(self.name + kind, keys), limit)
        return dict(zip(keys, map(self._stored, answer.responses), strict=True))

    def page(self, prefix: bytes, after: bytes | None, size: int, limit: Limit) -> tuple[dict[bytes, Stored], bool]:
        """Return the headers of the next records by key, and whether there are more."""
        start = self.name + HEADERS
        first = start + (prefix if after is None else after + b"\0")
        answer = self._engine.range(RangeRequest(first, prefix_end(start + prefix), limit=size), timeout=limit.left)
        return {kv.key[len(start) :]: Stored.of(kv, self._location) for kv in answer.kvs}, answer.more

    def change(
        self,
        seen: dict[bytes, Stored],
        writes: Mapping[bytes, Write] | None,
        expires: int | None,
        limit: Limit,
        *,
        values: bool = False,
    ) -> dict[bytes, Stored] | None:
        """Make a change of :func:`.changes.changing`; return ``None``, or what the records are if it came too late.

        It is sent once: an answer that is lost is ``OutcomeUnknown``.
        """
        while True:
            lease = None if expires == SAME_LEASE else self._leases.of(expires, limit)
            request = changing(self.name, seen, writes, lease=lease, values=values)
            try:
                answer = self._run(request, limit)
            except LeaseNotFound as error:  # revoked by somebody, or the store was restored: nothing was written
                self._leases.forget(expires)
                limit.check(error)
            else:
                break
        if answer.succeeded:
            return None
        limit.check()
        return dict(zip(seen, map(self._stored, answer.responses), strict=True))

    def remove(self, keys: list[bytes], limit: Limit) -> int:
        """Delete records, whatever they are; return how many were alive."""
        now, deleted = self._now(), 0
        for response in self._run(removing(self.name, keys), limit).responses[::2]:
            assert isinstance(response, DeleteResult)
            deleted += any(Stored.of(kv, self._location).live(now) is not None for kv in response.prev_kvs)
        return deleted

    def clear(self, limit: Limit) -> None:
        """Delete everything, in one step."""
        ranges = [DeleteRequest(start, prefix_end(start)) for start in (self.name + HEADERS, self.name + VALUES)]
        self._run(TxnRequest(success=ranges), limit)

    def reserve(self, seen: Mapping[bytes, Stored], limit: Limit, *, sure: bool) -> bool:
        """Tell whether those of the records ``seen`` that are not there may be created.

        Raises ``StoreFull`` when they may not and are ``sure`` not to be there.
        """
        created = sum(not stored.revision for stored in seen.values())
        if not created or self._entries.reserve(created, lambda: self._count(limit)):
            return True
        if not sure:
            return False
        raise StoreFull(
            f"{self._location}: there are {self._entries.counted} records; {created} more would be above the limit of "
            f"{self._entries.most}, which the option 'entries' of the URL sets"
        )

    def fill(self, limit: Limit) -> tuple[int, int]:
        """Return how many records there are, and how many there may be."""
        return self._count(limit), self._entries.most

    def _count(self, limit: Limit) -> int:
        start = self.name + HEADERS
        return self._engine.range(RangeRequest(start, prefix_end(start), count_only=True), timeout=limit.left).count

    def _run(self, request: TxnRequest, limit: Limit) -> TxnResult:
        try:
            return self._engine.txn(request, timeout=limit.left)
        except InvalidRequest as error:
            raise ConfigurationError(
                f"{self._location}: {error}; etcd's --max-request-bytes and --max-txn-ops must be at least as "
                "they are by default, 1572864 and 128"
            ) from error

    def _stored(self, response: object) -> Stored:
        assert isinstance(response, RangeResult)
        return Stored.of(response.kvs[0], self._location) if response.kvs else ABSENT
