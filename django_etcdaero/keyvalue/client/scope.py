"""A store as a client sees it: below a prefix, and for as long as the client lives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.keys import Namespace
from django_etcdaero.keyvalue.values import LeaseStatus, TxnRequest, TxnResult, WatchHandle, WatchRequest, WatchSink

from .lease import Lease
from .life import Life

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.facade import KV

    from .life import AnyWatch

_getpid = os.getpid


class View:
    """What the calls of a client are made from, and what locks, watches and the other recipes need of it."""

    def _start(self, life: Life, prefix: bytes) -> None:
        self.keyspace = Namespace(prefix)
        self.engine = life.engine
        self.identity = life.identity
        self.keeper = life.keeper
        self.chores = life.chores
        self.dispatcher = life.dispatcher
        self.sessions = life.sessions
        self._life = life

    @property
    def _client(self) -> KV:
        return cast("KV", self)

    @property
    def prefix(self) -> bytes:
        """What all keys of this client start with in the store."""
        return self.keyspace.prefix

    def open_engine(self) -> Engine:
        """Return the engine. Raises ``Cancelled`` if the client is closed or another process's."""
        life = self._life
        if life.closed or life.pid != _getpid():
            life.check()
        return self.engine

    def txn_run(self, request: TxnRequest, timeout: float | None = None) -> TxnResult:
        """Run a transaction whose keys are relative to the prefix."""
        answer = self.open_engine().txn(self.keyspace.outward(request), timeout=timeout)
        return self.keyspace.inward(answer)

    async def atxn_run(self, request: TxnRequest, timeout: float | None = None) -> TxnResult:
        """Run a transaction whose keys are relative to the prefix."""
        answer = await self.open_engine().atxn(self.keyspace.outward(request), timeout=timeout)
        return self.keyspace.inward(answer)

    def watch_raw(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        """Start a watch of the engine on a range of this client. The keys that ``sink`` gets bear the full prefix."""
        return self.open_engine().watch(self.keyspace.outward(request), sink, timeout=timeout)

    async def awatch_raw(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        """Start a watch of the engine on a range of this client, as :meth:`watch_raw` does.

        ``sink`` is called from a thread of the engine and gets keys with the full prefix.
        """
        return await self.open_engine().awatch(self.keyspace.outward(request), sink, timeout=timeout)

    def keep_lease(self, status: LeaseStatus, *, sent: float, keep_alive: bool) -> Lease:
        """Take over a lease just granted; ``sent`` is when it was asked for, by :func:`~.lease.clock`."""
        lease = Lease(self._client, id=status.id, ttl=status.granted_ttl, sent=sent)
        lease.renewed = keep_alive
        self.keeper.keep(lease)
        return lease

    def keep_watch(self, watch: AnyWatch) -> None:
        """End ``watch`` when the client is closed."""
        self._life.keep_watch(watch)

    def forget_watch(self, watch: AnyWatch) -> None:
        """Keep an ended watch no longer."""
        self._life.forget_watch(watch)
