"""Leases and sessions."""

from __future__ import annotations

from django_etcdaero.keyvalue.arguments import LeaseRef, lease_id
from django_etcdaero.keyvalue.values import LeaseStatus
from django_etcdaero.system.steps import Call
from django_etcdaero.system.twins import twins

from .lease import Lease, check_ttl, time_to_live
from .life import Life
from .renewal import LeaseRenewal
from .scope import Scope
from .session import Session, Sessions


class LeaseCalls(Scope):
    """Methods of a :class:`~django_etcdaero.keyvalue.client.client.Client`. Those with an ``a`` are awaited."""

    def __init__(self, life: Life, prefix: bytes, renewal: LeaseRenewal, sessions: Sessions | None = None) -> None:
        super().__init__(life, prefix)
        self.renewal = renewal
        self.sessions = sessions or Sessions(self, renewal)

    async def _lease(
        self,
        ttl: int,
        *,
        id: int = 0,  # noqa: A002
        keep_alive: bool = True,
        timeout: float | None = None,
    ) -> Lease:
        """Grant a lease of ``ttl`` whole seconds, renewed in the background until revoked (``keep_alive``).

        ``id`` 0 lets the store choose. The store may grant more seconds than asked for.
        """
        return await self.renewal.grant(self, ttl, id=id, keep_alive=keep_alive, timeout=timeout)

    lease, alease = twins(_lease)

    async def _leases(self, *, timeout: float | None = None) -> tuple[int, ...]:
        """Return the ids of all leases of the store, other prefixes' included."""
        engine = self.open_engine()
        return await Call(engine.lease_list, engine.alease_list, timeout=timeout)

    leases, aleases = twins(_leases)

    async def _lease_status(self, id: LeaseRef, *, keys: bool = False, timeout: float | None = None) -> LeaseStatus:  # noqa: A002
        """Tell what is left of any lease; ``ttl`` is -1 if the store does not know it.

        ``keys=True`` also lists the keys on it, those outside the client's prefix left out.
        """
        return await time_to_live(self, lease_id("id", id), keys=keys, timeout=timeout)

    lease_status, alease_status = twins(_lease_status)

    async def _revoke_lease(self, id: LeaseRef, *, timeout: float | None = None) -> None:  # noqa: A002
        """End any lease and delete its keys, whoever holds it. Raises ``LeaseNotFound``."""
        engine = self.open_engine()
        await Call(engine.lease_revoke, engine.alease_revoke, lease_id("id", id), timeout=timeout)

    revoke_lease, arevoke_lease = twins(_revoke_lease)

    def session(self, ttl: int, *, timeout: float | None = None) -> Session:
        """Return the client's session of ``ttl`` seconds: the same for all callers until it is lost, then a new one."""
        self.open_engine()
        return self.sessions.get(ttl, timeout=timeout)

    async def asession(self, ttl: int, *, timeout: float | None = None) -> Session:
        """Do what :meth:`session` does."""
        check_ttl(ttl)
        engine = self.open_engine()
        session = self.sessions.current(ttl)
        if session is not None:
            return session
        return await engine.in_thread(lambda left: self.sessions.get(ttl, timeout=left), timeout=timeout)
