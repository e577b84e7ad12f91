"""Keys that vanish by themselves: ``put(..., ttl=60)`` puts a key on a lease that nobody renews.

A lease for each key would be a second call for each put, and work for the store. So puts with the same ``ttl`` share
one: it is granted for a tenth longer (one second at least), and serves as long as at least ``ttl`` seconds are left of
it. A key therefore lives for ``ttl`` seconds at least, and for a tenth, or a second, more at most.

Who needs a new lease takes the turn to ask for one, so that many who put at the same time share it as well.
"""

from __future__ import annotations

from dataclasses import replace

from django_etcdaero.exceptions import DeadlineExceeded, InvalidRequest, LeaseNotFound
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.values import PutRequest, PutResult
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.steps import Call, Take
from django_etcdaero.system.turns import Claim, Turn

from .lease import LONGEST_TTL, Lease, check_ttl
from .renewal import LeaseRenewal
from .scope import Scope
from .steps import seconds_left

_SHARE = 10
"""A lease is granted for an ``_SHARE``-th longer than asked for."""

_MOST = 1000
"""Times to live whose leases are remembered; where there are more, leases are shared less."""


class ExpiringKeys:
    """The leases that keys with a time to live are put on: one for each time to live, until a new one is needed."""

    def __init__(self, renewal: LeaseRenewal) -> None:
        self._renewal = renewal
        self._current: dict[int, Lease] = {}
        self._turns: dict[int, Turn] = {}

    async def put(self, scope: Scope, request: PutRequest, ttl: int, timeout: float | None) -> PutResult:
        """Write a key of ``scope``, which is gone ``ttl`` seconds later."""
        if request.lease or request.ignore_lease:
            raise InvalidRequest("ttl puts the key on a lease of its own: give it without lease and ignore_lease")
        check_ttl(ttl)
        limit = end_of(timeout)

        def left() -> float | None:
            return None if limit is None else seconds_left(limit)

        lease, fresh = await self._lease(scope, ttl, timeout)
        try:
            return await _put(scope, request, lease, left())
        except LeaseNotFound:  # revoked by somebody, or the store was replaced
            lease.end(lost=True)
            if fresh:
                raise
        lease, _ = await self._lease(scope, ttl, left())
        return await _put(scope, request, lease, left())

    async def _lease(self, scope: Scope, ttl: int, timeout: float | None) -> tuple[Lease, bool]:
        """Return a lease of which ``ttl`` seconds are left, and whether it is new."""
        if (lease := self._usable(ttl)) is not None:
            return lease, False
        limit = end_of(scope.open_engine().default_timeout if timeout is None else timeout) or monotonic()
        if len(self._turns) >= _MOST:
            self._turns.clear()
        turn, claim = self._turns.setdefault(ttl, Turn()), Claim(seconds_left(limit))
        try:
            if not await Take(turn, claim, seconds_left(limit)):
                raise DeadlineExceeded(f"no lease of {ttl} s was granted in time")
            if (lease := self._usable(ttl)) is not None:  # since a moment ago
                return lease, False
            longer = min(LONGEST_TTL, ttl + max(1, ttl // _SHARE))
            lease = await self._renewal.grant(scope, longer, keep_alive=False, timeout=seconds_left(limit))
            if len(self._current) >= _MOST:
                self._current.clear()
            self._current[ttl] = lease
            return lease, True
        finally:
            turn.give_back(claim)

    def _usable(self, ttl: int) -> Lease | None:
        lease = self._current.get(ttl)
        return lease if lease is not None and lease.alive and lease.remaining >= ttl else None


async def _put(scope: Scope, request: PutRequest, lease: Lease, timeout: float | None) -> PutResult:
    engine = scope.open_engine()
    outward = replace(scope.keyspace.outward(request), lease=lease.id)
    return scope.keyspace.inward(await Call(engine.put, engine.aput, outward, timeout=timeout))
