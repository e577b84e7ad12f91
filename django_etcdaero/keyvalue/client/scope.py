"""A store as a client sees it: below a prefix, and for as long as the client lives."""

from __future__ import annotations

import os

from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.keys import Namespace
from django_etcdaero.keyvalue.txn import Txn
from django_etcdaero.keyvalue.values import TxnRequest, TxnResult, WatchHandle, WatchRequest, WatchSink

from .life import Life, RunningWatch

_getpid = os.getpid


class Scope:
    """What leases, watches and the steps of protocols need of a client, which is one."""

    def __init__(self, life: Life, prefix: bytes) -> None:
        self.keyspace = Namespace(prefix)
        self.engine = life.engine
        self.chores = life.chores
        """The thread for what is carried on in the background."""
        self.callbacks = life.callbacks
        """The threads for functions of users."""
        self._life = life

    @property
    def prefix(self) -> bytes:
        """What all keys of this client start with in the store."""
        return self.keyspace.prefix

    @property
    def closed(self) -> bool:
        """True once the client, or the one that this namespace was made from, is closed."""
        return self._life.closed

    def open_engine(self) -> Engine:
        """Return the engine. Raises ``Cancelled`` if the client is closed or another process's."""
        life = self._life
        if life.closed or life.pid != _getpid():
            life.open_engine()
        return self.engine

    def txn(self) -> Txn:
        """Return a transaction to be put together and committed: :mod:`django_etcdaero.keyvalue.txn`."""
        return Txn(self.txn_run, self.atxn_run)

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

    def keep_watch(self, watch: RunningWatch, *, alive: bool = False) -> None:
        """End ``watch`` when the client is closed. ``alive``: keep it even if nobody else does."""
        self._life.keep_watch(watch, alive=alive)

    def forget_watch(self, watch: RunningWatch) -> None:
        """Keep an ended watch no longer."""
        self._life.forget_watch(watch)
