"""Leases: time that a store grants, and what hangs on it. :mod:`django_etcdaero.keyvalue.client.renewal` renews them.

A lease is trusted by our own clock only: its deadline is its time to live counted from BEFORE the request that granted
or renewed it was sent, so the store never ends it earlier than we think, as long as clocks run at the same rate. When
the deadline has passed the lease is lost, whether or not a thread ran meanwhile (a stopped process, a suspended
machine), and an answer that comes in afterwards does not bring it back. A lease does not cross a fork: in the child it
is lost.
"""

from __future__ import annotations

import logging
import operator
import os
from contextlib import suppress

from django_etcdaero.exceptions import EtcdAeroError, InvalidRequest, LeaseNotFound
from django_etcdaero.keyvalue.arguments import check_flag, check_function
from django_etcdaero.keyvalue.values import LeaseStatus, Renewal
from django_etcdaero.system.acting import acts
from django_etcdaero.system.clocks import elapsed
from django_etcdaero.system.steps import Call
from django_etcdaero.system.twins import TwinBlocks, twins

from .background import logger
from .loss import LossReason, ToldOfLoss
from .scope import Scope
from .steps import Alarm

clock = elapsed
"""Seconds that never go back, with the time a suspended machine slept (the store went on meanwhile)."""

_SHORTEST_TTL = 2
"""What etcd grants at least: one and a half of its election timeout, which is a second unless it is told otherwise."""
LONGEST_TTL = 9_000_000_000


def check_ttl(ttl: int) -> None:
    """Raise ``InvalidRequest`` unless ``ttl`` is a whole number of seconds, from 2 to 9,000,000,000, as etcd has them.

    etcd would make 2 of 1; who asks for 1 is told rather than waits for twice as long.
    """
    try:
        valid = _SHORTEST_TTL <= operator.index(ttl) <= LONGEST_TTL and not isinstance(ttl, bool)
    except TypeError:
        valid = False
    if not valid:
        raise InvalidRequest(
            f"ttl must be a whole number of seconds from {_SHORTEST_TTL} to {LONGEST_TTL}, not {ttl!r}"
        )


class Lease(Alarm, TwinBlocks):
    """A lease granted to this process; made with :meth:`KV.lease() <django_etcdaero.keyvalue.facade.KV.lease>`.

    As a context manager it revokes itself at the end.
    """

    def __init__(self, scope: Scope, *, id: int, ttl: int, sent: float) -> None:  # noqa: A002
        super().__init__()
        self.id = id
        self.ttl = ttl
        """Seconds, as the store granted them (it may grant more than asked)."""
        self.renewed = True
        """False once the keeper has been told to let the lease run out."""
        self._scope = scope
        self._pid = os.getpid()
        self._deadline = sent + ttl
        self._ended = False
        self._reason: LossReason | None = None

    def __repr__(self) -> str:
        state = "alive" if self.alive else "lost" if self.lost else "revoked"
        return f"<Lease {self.id:x} ttl={self.ttl} {state}>"

    # state -----------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When the lease ends unless it is renewed, by :func:`~django_etcdaero.keyvalue.client.lease.clock`."""
        return self._deadline

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self._deadline - clock())

    @property
    def inherited(self) -> bool:
        """True in the child of a fork: the lease is the parent's."""
        return self._pid != os.getpid()

    @property
    def alive(self) -> bool:
        """True while the lease may be relied on: neither lost nor revoked."""
        return not self.inherited and not self._check_ended()

    @property
    def lost(self) -> bool:
        """True when the lease ended without being revoked here: deadline passed, or the store does not know it."""
        return self.lost_reason is not None

    @property
    def lost_reason(self) -> LossReason | None:
        """Why it is lost; ``None`` while it is not."""
        if self.inherited:
            return LossReason.FORKED
        return self._reason if self._check_ended() else None

    def on_lost(self, callback: ToldOfLoss[Lease]) -> None:
        """Call ``callback(lease, reason)`` once, when the lease is lost (or if it is).

        ``reason`` is a :class:`~django_etcdaero.keyvalue.client.loss.LossReason`. A function that requires fewer
        arguments gets fewer: ``callback(lease)``, or ``callback()`` as ``event.set``. All callbacks of a client that
        tell of a loss share one thread, which does nothing else: none may block.
        """
        check_function("callback", callback)

        def report() -> None:
            if self._reason is not None:
                what = f"the on_lost callback of lease {self.id:x}"
                self._scope.callbacks.report_loss(callback, self, what, reason=self._reason)

        if not self.inherited:
            self.subscribe(report)

    # calls -----------------------------------------------------------------------------------------------------------

    @acts
    async def _keep_alive(self, *, timeout: float | None = None) -> int:
        """Renew the lease once and return its time to live in seconds. Raises ``LeaseNotFound`` when it has ended."""
        if not self.alive:
            raise LeaseNotFound(f"lease {self.id:x} has ended")
        sent = clock()
        engine = self._scope.open_engine()
        try:
            ttl = await Call(engine.lease_keep_alive, engine.alease_keep_alive, self.id, timeout=timeout)
        except LeaseNotFound:
            self.end(lost=True)
            raise
        return self._finish_renewal(sent, ttl)

    keep_alive, akeep_alive = twins(_keep_alive)

    def _finish_renewal(self, sent: float, ttl: int) -> int:
        with self._mutex:
            if self._ended:
                raise LeaseNotFound(f"lease {self.id:x} ended while it was being renewed")
            self._deadline = max(self._deadline, sent + ttl)
        return ttl

    def take(self, renewal: Renewal) -> bool:
        """Note what the store has answered; return whether the lease goes on. For the parts of the client."""
        if not renewal.ttl:
            self.end(lost=True)
            return False
        with suppress(LeaseNotFound):
            self._finish_renewal(renewal.sent, renewal.ttl)
            return True
        return False

    async def _time_to_live(self, *, keys: bool = False, timeout: float | None = None) -> LeaseStatus:
        """Ask the store what is left; ``ttl`` is -1 if it does not know the lease.

        ``keys=True`` also lists the keys on it, those outside the client's prefix left out.
        """
        return await time_to_live(self._scope, self.id, keys=keys, timeout=timeout)

    time_to_live, atime_to_live = twins(_time_to_live)

    @acts
    async def _revoke(self, *, timeout: float | None = None) -> None:
        """End the lease and delete its keys. No error if it has ended already; in the child of a fork nothing happens.

        If the store cannot be reached the error is raised and the lease runs out by itself.
        """
        if self.inherited:
            return
        self.end(lost=False)
        engine = self._scope.open_engine()
        with suppress(LeaseNotFound):
            await Call(engine.lease_revoke, engine.alease_revoke, self.id, timeout=timeout)

    revoke, arevoke = twins(_revoke)

    async def _leave(self, error: type[BaseException] | None) -> None:
        try:
            await self._revoke()
        except EtcdAeroError as failure:
            logger.warning("lease %x could not be revoked and will run out: %s", self.id, failure)

    def _abort(self) -> None:
        self.renewed = False  # it runs out

    # how it ends -----------------------------------------------------------------------------------------------------

    def end(self, *, lost: bool, reason: LossReason = LossReason.REVOKED) -> None:
        """Note that the lease has ended, for good, for ``reason`` if it is ``lost``. For the parts of the client."""
        with self._mutex:
            if self._ended:
                return
            self._reason = reason if lost else None
            self._ended = True
        if lost:
            logger.log(logging.WARNING if self.renewed else logging.DEBUG, "lease %x is lost", self.id)
        self._ring()

    def _check_ended(self) -> bool:
        if not self._ended:
            with self._mutex:  # a renewal may be moving the deadline
                expired = clock() >= self._deadline
            if expired:
                self.end(lost=True, reason=LossReason.EXPIRED)
        return self._ended


async def time_to_live(scope: Scope, lease: int, *, keys: bool, timeout: float | None) -> LeaseStatus:
    """Tell what is left of any lease, with the keys on it that are under the client's prefix."""
    check_flag("keys", keys)
    engine = scope.open_engine()
    status = await Call(engine.lease_time_to_live, engine.alease_time_to_live, lease, keys=keys, timeout=timeout)
    return status._replace(keys=scope.keyspace.own_keys(status.keys))
