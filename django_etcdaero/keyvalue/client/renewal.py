"""The thread that renews the leases of a client."""

from __future__ import annotations

import logging
import math
import threading

from django_etcdaero.keyvalue.arguments import check_flag, lease_id
from django_etcdaero.keyvalue.values import Renewal
from django_etcdaero.system.steps import Call

from .background import Worker, backoff, logger
from .lease import Lease, check_ttl, clock
from .scope import Life, Scope

_LONGEST_PAUSE = 60.0
"""Seconds between two looks at the leases: plans that are overtaken by earlier ones pile up no longer than that."""


class _Tended:
    """A lease that is looked after."""

    __slots__ = ("due", "failures", "lease")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.due = lease.deadline - lease.ttl * 2 / 3 if lease.renewed else lease.deadline
        """When to look at it again, by :func:`clock`."""
        self.failures = 0
        """Renewals in a row that had no answer."""

    def answered(self, renewal: Renewal) -> None:
        self.failures = 0
        self.due = renewal.sent + self.lease.ttl / 3
        if not self.lease.take(renewal):
            self.due = renewal.sent

    def failed(self) -> None:
        self.failures += 1
        self.due = clock() + min(backoff(self.failures, limit=self.lease.ttl / 6), self.lease.remaining)


class LeaseRenewal:
    """Renews the leases of one client from one thread, and notices those that run out.

    A lease is due when a third of its time to live is over. All leases that are due, or nearly so, are renewed in one
    call, those that end first before others: so many leases soon go round in a few groups, and what the store takes to
    answer is waited for once for each group.
    """

    def __init__(self, life: Life) -> None:
        self._life = life
        self.worker = Worker("etcdaero-lease")
        self._mutex = threading.Lock()
        self._tended: dict[int, _Tended] = {}
        self._next = math.inf
        """When the next round is planned, by :func:`clock`."""

    async def grant(
        self,
        scope: Scope,
        ttl: int,
        *,
        id: int = 0,  # noqa: A002
        keep_alive: bool = True,
        timeout: float | None,
    ) -> Lease:
        """Grant a lease of ``ttl`` seconds to a client of this life, and look after it."""
        check_ttl(ttl)
        lease_id("id", id)
        check_flag("keep_alive", keep_alive)
        engine = scope.open_engine()
        sent = clock()
        status = await Call(engine.lease_grant, engine.alease_grant, ttl, lease_id=id, timeout=timeout)
        lease = Lease(scope, id=status.id, ttl=status.granted_ttl, sent=sent)
        lease.renewed = keep_alive
        self.keep(lease)
        return lease

    def keep(self, lease: Lease) -> None:
        """Look after ``lease`` until it ends."""
        tended = _Tended(lease)
        with self._mutex:
            before = self._tended.get(lease.id)
            self._tended[lease.id] = tended
            self._plan(tended.due)
        if before is not None:
            before.lease.end(lost=True)  # the store knew it no more, or it would not have granted its id again

    def _plan(self, at: float) -> None:
        """See to it that there is a round at ``at`` or before. With the mutex."""
        at = min(at, clock() + _LONGEST_PAUSE)
        if at < self._next:
            self._next = at
            self.worker.submit(lambda: self._round(at), delay=max(0.0, at - clock()))

    def _round(self, at: float) -> None:
        with self._mutex:
            if at != self._next:  # another one was planned for an earlier time, and has looked after what comes then
                return
            self._next = math.inf
            tended = tuple(self._tended.values())
        try:
            self._renew({one.lease.id: one for one in tended if self._is_due(one)})
        finally:
            with self._mutex:
                if self._tended:
                    self._plan(min(one.due for one in self._tended.values()))

    def _is_due(self, tended: _Tended) -> bool:
        """Tell whether a lease is to be renewed now; one that is early by a twelfth of its time to live may as well."""
        lease = tended.lease
        if tended.due > clock() + lease.ttl / 12:
            return False
        if not lease.alive:
            with self._mutex:
                if self._tended.get(lease.id) is tended:
                    del self._tended[lease.id]
            return False
        if not lease.renewed:
            tended.due = lease.deadline
        return lease.renewed

    def _renew(self, due: dict[int, _Tended]) -> None:
        if not due:
            return
        waiting = dict(due)
        cause: Exception | None = None
        try:
            self._life.open_engine().lease_keep_alive_many(
                sorted(due, key=lambda lease_id: due[lease_id].lease.deadline),
                lambda renewal: waiting.pop(renewal.id).answered(renewal),
                clock=clock,
                timeout=min(self._patience(), max(one.lease.remaining for one in due.values())),
            )
        except Exception as error:
            cause = error
        if waiting:
            level = logging.DEBUG if all(one.failures for one in waiting.values()) else logging.WARNING
            which = ", ".join([f"{lease_id:x}" for lease_id in waiting][:5]) + (", ..." if len(waiting) > 5 else "")
            logger.log(level, "%d of %d leases were not renewed (%s): %s", len(waiting), len(due), which, cause)
            for one in waiting.values():
                one.failed()

    def _patience(self) -> float:
        """Seconds a call may take: one slow answer must not cost another, shorter lease its renewal."""
        with self._mutex:
            return min((one.lease.ttl for one in self._tended.values()), default=1) / 4
