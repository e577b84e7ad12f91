"""The leases that sweep what has expired: one for all records of a room that expire in the same minute.

Whoever reads a record finds the exact time of its expiry in the record. The lease only sees to it that the record goes
some time later, also when no process of ours runs. Its id is made of the room and the minute, so that all processes of
all hosts have the same one without asking each other.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from django_etcdaero.exceptions import LeaseExists, OutcomeUnknown
from django_etcdaero.keyvalue.engine import Engine

from .limit import Limit

MINUTE = 60_000
"""Milliseconds."""

SPARE = 300
"""Seconds that a lease lasts longer than its records: by so much may the clocks of hosts differ, or a record of one
whose clock is late is swept too early."""

_MOST_KNOWN = 10_000
"""Minutes; to forget one costs one more call."""


class Leases:
    """The leases of one room. ``now`` returns milliseconds since the epoch."""

    def __init__(self, engine: Engine, room: bytes, now: Callable[[], int]) -> None:
        self._engine = engine
        self._now = now
        self._first = int.from_bytes(blake2b(room, digest_size=4).digest()) >> 1 << 32
        self._known: set[int] = set()  # one C call on it is atomic: no lock

    def of(self, expires: int | None, limit: Limit) -> int:
        """Return the lease for records that expire at ``expires``, granted now if need be; 0: they never expire."""
        if expires is None:
            return 0
        minute = -(-expires // MINUTE)
        lease = self._first | minute
        if minute not in self._known:
            self._grant(lease, max(0, minute * MINUTE - self._now()) // 1000 + SPARE, limit)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known.add(minute)
        return lease

    def forget(self, expires: int | None) -> None:
        """Grant the lease for ``expires`` anew when it is needed again: the store says that there is none."""
        if expires is not None:
            self._known.discard(-(-expires // MINUTE))

    def _grant(self, lease: int, ttl: int, limit: Limit) -> None:
        while True:
            try:
                self._engine.lease_grant(ttl, lease_id=lease, timeout=limit.left)
            except LeaseExists:
                return
            except OutcomeUnknown as error:  # a second time is as good as once, and no record was written yet
                limit.check(error)
            else:
                return
