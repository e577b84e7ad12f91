"""The plain client: what locks, elections, objects and the other recipes are made from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, Self, Unpack, overload

from django_etcdaero.exceptions import Compacted, EventsLost, InvalidRequest
from django_etcdaero.keyvalue import ops
from django_etcdaero.keyvalue.arguments import (
    EventOptions,
    LeaseRef,
    check_function,
    check_timeout,
    end_of,
    lease_id,
    seconds_until,
)
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.keys import Text, prefix_end, to_bytes
from django_etcdaero.keyvalue.rooms import Borders
from django_etcdaero.keyvalue.values import Event, LeaseStatus
from django_etcdaero.system.acting import acts
from django_etcdaero.system.blocking import refuse_in_event_loop
from django_etcdaero.system.steps import Call, drive
from django_etcdaero.system.threads import in_event_loop
from django_etcdaero.system.twins import twins

from .expiring import ExpiringKeys
from .key_calls import KeyCalls
from .lease import Lease, check_ttl, time_to_live
from .open_watches import OpenWatch, Use
from .renewal import LeaseRenewal
from .scope import Life
from .session import Session, Sessions
from .watch import Watch, WatchItem

_CLOSE_TIMEOUT = 2.0
"""Seconds that closing waits for revocations, and for each thread."""


class Client(KeyCalls):
    """Keys, transactions, watches, leases and sessions of an engine, below a prefix. Safe to share between threads."""

    def __init__(
        self,
        engine: Engine,
        *,
        prefix: Text = b"",
        identity: Mapping[str, Any] | None = None,
        rooms: Iterable[Text] = (),
    ) -> None:
        """``identity`` is added to what locks tell about their holder (JSON values).

        ``rooms``: how keys begin that stand apart from all others (:mod:`django_etcdaero.keyvalue.rooms`).
        """
        self.identity: Mapping[str, Any] = MappingProxyType(dict(identity or {}))
        try:
            json.dumps(dict(self.identity))
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"identity cannot be written as JSON: {error}") from error
        whole = to_bytes(prefix, name="prefix")
        apart = tuple(whole + to_bytes(room, name="rooms") for room in rooms)
        life = Life(engine, Borders(whole, prefix_end(whole), apart))
        super().__init__(life, whole)
        self.renewal = LeaseRenewal(life)
        self.sessions = Sessions(self, self.renewal)
        self.expiring = ExpiringKeys(self.renewal)
        self._root = True

    def __repr__(self) -> str:
        closed = " closed" if self.closed else ""
        return f"<{type(self).__name__} {self.engine.info.location} prefix={self.prefix!r}{closed}>"

    def namespace(self, prefix: Text) -> Self:
        """Return a client whose keys are those of this one that start with ``prefix``, without it.

        It shares everything else with this one: the engine, threads, sessions, and the end. It cannot be closed by
        itself; it is closed when the client is that all namespaces were made from.
        """
        part = type(self).__new__(type(self))
        part.identity = self.identity
        whole = self.prefix + to_bytes(prefix, name="prefix")
        KeyCalls.__init__(part, self.life, whole)
        part.renewal, part.sessions, part.expiring = self.renewal, self.sessions, self.expiring
        part._root = False
        return part

    # following changes ------------------------------------------------------------------------------------------------

    @overload
    def watch(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        max_pending: int = 1024,
        callback: Callable[[WatchItem], object] | None = None,
        resync: Literal[False] = False,
        progress_notify: Literal[False] = False,
        timeout: float | None = None,
        **options: Unpack[EventOptions],
    ) -> Watch[Event]: ...
    @overload
    def watch(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        max_pending: int = 1024,
        callback: Callable[[WatchItem], object] | None = None,
        resync: bool = False,
        progress_notify: bool = False,
        timeout: float | None = None,
        **options: Unpack[EventOptions],
    ) -> Watch[WatchItem]: ...
    def watch(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        max_pending: int = 1024,
        callback: Callable[[WatchItem], object] | None = None,
        resync: bool = False,
        progress_notify: bool = False,
        timeout: float | None = None,
        **options: Unpack[EventOptions],
    ) -> Watch[Any]:
        """Follow the changes of a key or a range; the range is given as for :meth:`range`.

        The options are those of :class:`~django_etcdaero.keyvalue.arguments.WatchOptions`: ``start_revision`` is the
        first revision wanted, 0 for what comes from now on (every change after this call has returned is seen). Items
        are :class:`~django_etcdaero.keyvalue.values.Event`, with ``progress_notify`` also
        :class:`~django_etcdaero.keyvalue.client.watch.Progress`.

        Where events cannot be had any more the iteration raises :class:`~django_etcdaero.exceptions.EventsLost` with a
        snapshot of the range; who goes on iterating gets the events after it. With ``resync`` there is a
        :class:`~django_etcdaero.keyvalue.client.watch.Resync` among the items instead. More than ``max_pending``
        undelivered events are lost in this way.

        With ``callback`` each item, a ``Resync`` in any case, is given to ``callback(item)`` in the client's dispatcher
        thread, which all callbacks share: it should not block. Returning ``False`` ends the watch; an error is logged
        and does not. ``timeout`` is for starting the watch. That is left to ``async with`` where an event loop runs,
        unless there is a callback.
        """
        request = ops.watch(key, range_end, progress_notify=progress_notify, **options)
        if callback is not None:
            check_function("callback", callback)
        check_timeout(timeout)
        watch = Watch[Any](self, request, max_pending=max_pending, callback=callback, resync=resync, timeout=timeout)
        if callback is not None or not in_event_loop():
            refuse_in_event_loop("watch(callback=…)", "async with watch(…)")
            drive(watch.begin())
        return watch

    async def _wait_for_change(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        start_revision: int = 0,
        timeout: float | None = None,
    ) -> Event:
        """Wait for one change of a key or a range, made after this call or from ``start_revision`` on; return it.

        ``timeout`` ``None`` waits as long as it takes. Raises ``DeadlineExceeded``; ``Compacted`` if the change may
        have been in history that the store has no more (compacted, or the store was replaced).
        """
        limit = end_of(timeout)
        request = ops.watch(key, range_end, prefix=prefix, start_revision=start_revision)
        watch = Watch[Event](self, request, max_pending=1024, timeout=timeout, use=Use.CHANGE)
        await watch.begin()
        try:
            return await watch.take(seconds_until(limit))
        except EventsLost as error:
            raise Compacted(
                f"changes before revision {error.revision} cannot be had any more ({error.reason})",
                error.compact_revision,
            ) from error
        finally:
            watch.cancel()

    wait_for_change, await_for_change = twins(_wait_for_change)

    def open_watches(self) -> list[OpenWatch]:
        """Return the watches of this process that were opened by this client, the one that it is a namespace of, or
        their other namespaces, whatever for, and are under its prefix; the oldest first. Asks no store."""
        self.open_engine()
        return self.life.open_watches.told(self.prefix)

    # leases and sessions ----------------------------------------------------------------------------------------------

    async def _lease(
        self,
        ttl: int,
        *,
        id: int = 0,  # noqa: A002
        keep_alive: bool = True,
        timeout: float | None = None,
    ) -> Lease:
        """Grant a lease of ``ttl`` whole seconds, at least 2, renewed in the background until revoked (``keep_alive``).

        ``id`` 0 lets the store choose. A server whose election timeout is longer than usual may grant more seconds.
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
        refuse_in_event_loop("session()", "await asession(…)")
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

    # the end ----------------------------------------------------------------------------------------------------------

    @acts
    def close(self) -> None:
        """End watches and background threads, and revoke the sessions' leases, so that locks are free at once.

        Takes a few seconds at most, however the store is; what could not be revoked runs out. Leases made with
        :meth:`lease` are renewed no more. Idempotent. Raises ``InvalidRequest`` for a namespace: the lives of others
        are not its to end.
        """
        self._check_root("closed")
        refuse_in_event_loop("close()", "await aclose()")
        if self.life.end():
            self.renewal.worker.stop(timeout=_CLOSE_TIMEOUT)
            self.chores.stop(timeout=_CLOSE_TIMEOUT)
            self.life.telling.stop(timeout=_CLOSE_TIMEOUT)
            self.sessions.close(timeout=_CLOSE_TIMEOUT)
            self.callbacks.stop(timeout=_CLOSE_TIMEOUT)

    @acts
    async def aclose(self) -> None:
        """Do what :meth:`close` does, in a thread."""
        self._check_root("closed")
        await asyncio.to_thread(self.close)

    @acts
    def abandon(self) -> None:
        """In the child of a fork: forget everything, touching neither the store nor a lock that a thread had held.

        Leases and locks taken in the parent report themselves as lost here. The child makes a new client. Raises
        ``InvalidRequest`` for a namespace.
        """
        self._check_root("abandoned")
        self.life.abandon()

    def _check_root(self, what: str) -> None:
        if not self._root:
            raise InvalidRequest(f"a namespace cannot be {what} by itself, only the client that it was made from")
