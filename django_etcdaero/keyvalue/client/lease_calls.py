"""Leases and sessions."""

from __future__ import annotations

from django_etcdaero.keyvalue.arguments import LeaseRef, lease_id
from django_etcdaero.keyvalue.values import LeaseStatus
from django_etcdaero.system.steps import adrive, drive

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

    def lease(
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
        return drive(self.renewal.grant(self, ttl, id=id, keep_alive=keep_alive, timeout=timeout))

    async def alease(
        self,
        ttl: int,
        *,
        id: int = 0,  # noqa: A002
        keep_alive: bool = True,
        timeout: float | None = None,
    ) -> Lease:
        """Do what :meth:`lease` does."""
        return await adrive(self.renewal.grant(self, ttl, id=id, keep_alive=keep_alive, timeout=timeout))

    def leases(self, *, timeout: float | None = None) -> tuple[int, ...]:
        """Return the ids of all leases of the store, other prefixes' included."""
        return self.open_engine().lease_list(timeout=timeout)

    async def aleases(self, *, timeout: float | None = None) -> tuple[int, ...]:
        """Do what :meth:`leases` does."""
        return await self.open_engine().alease_list(timeout=timeout)

    def lease_status(self, id: LeaseRef, *, keys: bool = False, timeout: float | None = None) -> LeaseStatus:  # noqa: A002
        """Tell what is left of any lease; ``ttl`` is -1 if the store does not know it.

        ``keys=True`` also lists the keys on it, those outside the client's prefix left out.
        """
        return drive(time_to_live(self, lease_id("id", id), keys=keys, timeout=timeout))

    async def alease_status(
        self,
        id: LeaseRef,  # noqa: A002
        *,
        keys: bool = False,
        timeout: float | None = None,
    ) -> LeaseStatus:
        """Do what :meth:`lease_status` does."""
        return await adrive(time_to_live(self, lease_id("id", id), keys=keys, timeout=timeout))

    def revoke_lease(self, id: LeaseRef, *, timeout: float | None = None) -> None:  # noqa: A002
        """End any lease and delete its keys, whoever holds it. Raises ``LeaseNotFound``."""
        self.open_engine().lease_revoke(lease_id("id", id), timeout=timeout)

    async def arevoke_lease(self, id: LeaseRef, *, timeout: float | None = None) -> None:  # noqa: A002
        """Do what :meth:`revoke_lease` does."""
        await self.open_engine().alease_revoke(lease_id("id", id), timeout=timeout)

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
