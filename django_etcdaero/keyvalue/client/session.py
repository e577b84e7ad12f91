"""Sessions: one lease that all locks (and other keys) of a process with the same time to live share.

A client keeps at most one session for each time to live. It is renewed as long as the client lives; once its lease is
lost, or it was abandoned, the next user gets a new one.
"""

from __future__ import annotations

import copy
import threading

from django_etcdaero.exceptions import DeadlineExceeded, EtcdAeroError, LeaseNotFound
from django_etcdaero.system.acting import acts
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.steps import drive
from django_etcdaero.system.threads import wait

from .background import TRANSIENT, logger
from .lease import Lease, check_ttl
from .loss import LossReason, ToldOfLoss
from .renewal import LeaseRenewal
from .scope import Scope
from .steps import is_over


class Session:
    """A shared, self-renewing lease; made with :meth:`KV.session() <django_etcdaero.keyvalue.facade.KV.session>`."""

    def __init__(self, lease: Lease, *, ttl: int) -> None:
        self.lease = lease
        self.ttl = ttl
        """Seconds, as asked for."""
        self._mutex = threading.Lock()
        self._slots: dict[bytes, set[int]] = {}

    def __repr__(self) -> str:
        state = "alive" if self.alive else "lost" if self.lost else "ended"
        return f"<Session {self.lease.id:x} ttl={self.ttl} {state}>"

    @property
    def alive(self) -> bool:
        """True while the session may be used for new keys."""
        return self.lease.renewed and self.lease.alive

    @property
    def lost(self) -> bool:
        """True when its lease was lost, and with it every key on it."""
        return self.lease.lost

    @property
    def lost_reason(self) -> LossReason | None:
        """Why it is lost; ``None`` while it is not."""
        return self.lease.lost_reason

    def on_lost(self, callback: ToldOfLoss[Lease]) -> None:
        """Call ``callback(lease, reason)`` once when the session is lost, as :meth:`Lease.on_lost` does."""
        self.lease.on_lost(callback)

    @acts
    def abandon(self) -> None:
        """Renew no more, so that within one time to live all keys of the session are gone. Touches no store."""
        self.lease.renewed = False

    def reserve(self, name: bytes) -> int:
        """Return the lowest number that no other contender of this session uses under ``name``.

        ``name`` is as the store has it, with the client's prefix: a session is shared by a client and its namespaces.
        """
        with self._mutex:
            taken = self._slots.setdefault(name, set())
            slot = next(number for number in range(len(taken) + 1) if number not in taken)
            taken.add(slot)
            return slot

    def free(self, name: bytes, slot: int) -> None:
        """Give a number back. Its key must be gone from the store."""
        with self._mutex:
            taken = self._slots.get(name, set())
            taken.discard(slot)
            if not taken:
                self._slots.pop(name, None)


class _Grant:
    """A lease that one thread asks for, for all who want the same session."""

    def __init__(self) -> None:
        self.done = Flag()
        self.error: EtcdAeroError | None = None


class Sessions:
    """The sessions of one client, by time to live."""

    def __init__(self, scope: Scope, renewal: LeaseRenewal) -> None:
        self._scope = scope
        self._renewal = renewal
        self._mutex = threading.Lock()
        self._granting: dict[int, _Grant] = {}
        self._current: dict[int, Session] = {}

    def current(self, ttl: int) -> Session | None:
        """Return the session of ``ttl`` seconds if there is one that may be used."""
        session = self._current.get(ttl)
        return session if session is not None and session.alive else None

    def get(self, ttl: int, *, timeout: float | None) -> Session:
        """Return the session of ``ttl`` seconds, a new one if there is none or it ended.

        Takes at most ``timeout`` seconds (``None``: the engine's default). Threads that ask at the same time get the
        same one, from one call to the store; if that call fails they share its error, except that those who have time
        left after an error that may pass ask again. Raises what granting a lease raises.
        """
        check_ttl(ttl)
        patience = self._scope.engine.default_timeout if timeout is None else check_seconds("timeout", timeout)
        limit = monotonic() + patience
        while (session := self.current(ttl)) is None:
            mine = _Grant()
            try:
                with self._mutex:
                    grant = self._granting.setdefault(ttl, mine)
                left = max(0.0, limit - monotonic())
                if grant is mine:
                    self._grant(ttl, mine, timeout=left)
                elif not wait(grant.done, left):
                    raise DeadlineExceeded(f"no session with a ttl of {ttl} s was granted in time")
                elif grant.error is not None and (is_over(limit) or not isinstance(grant.error, TRANSIENT)):
                    raise copy.copy(grant.error) from grant.error
            finally:  # also where a signal handler raises
                with self._mutex:
                    if self._granting.get(ttl) is mine:
                        del self._granting[ttl]
                mine.done.set()
        return session

    def _grant(self, ttl: int, grant: _Grant, *, timeout: float) -> None:
        if self.current(ttl) is not None:  # since a moment ago
            return
        try:
            self._current[ttl] = Session(drive(self._renewal.grant(self._scope, ttl, timeout=timeout)), ttl=ttl)
        except EtcdAeroError as error:
            grant.error = error
            raise

    def close(self, *, timeout: float) -> None:
        """End all sessions and revoke their leases, within ``timeout`` seconds; those that fail run out."""
        limit = monotonic() + timeout
        for session in tuple(self._current.values()):
            session.abandon()
            if not session.lease.alive:
                continue
            session.lease.end(lost=False)
            remaining = limit - monotonic()
            if remaining <= 0:
                continue
            try:
                self._scope.engine.lease_revoke(session.lease.id, timeout=remaining)
            except LeaseNotFound:  # it has ended, or the store is another one
                continue
            except EtcdAeroError as error:
                logger.warning(
                    "the session lease %x could not be revoked and will run out: %s", session.lease.id, error
                )
