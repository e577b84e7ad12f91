"""A store as a client sees it: below a prefix, and for as long as the client lives."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import MutableSet
from typing import Protocol

from django_etcdaero.exceptions import Cancelled
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.keys import Namespace
from django_etcdaero.keyvalue.ops import Txn
from django_etcdaero.keyvalue.rooms import Borders
from django_etcdaero.keyvalue.values import TxnRequest, TxnResult, WatchHandle, WatchRequest, WatchSink
from django_etcdaero.system.acting import acts
from django_etcdaero.system.steps import Call

from .background import CallbackThreads, Worker
from .closed_loops import ClosedLoops
from .open_watches import Followed, OpenWatches

_getpid = os.getpid


class RunningWatch(Protocol):
    """A watch that somebody holds."""

    @property
    def closed(self) -> bool:
        """True when nothing more will come."""

    def cancel(self) -> None:
        """End the watch."""


class Life:
    """What a client and the namespaces made from it share, until :meth:`end`. Threads are started when needed."""

    def __init__(self, engine: Engine, borders: Borders) -> None:
        self.engine = engine
        self.borders = borders
        # Tidying up must not wait for the user's callbacks.
        self.chores = Worker("etcdaero-lock")
        self.closed_loops = ClosedLoops(self.chores)
        self.callbacks = CallbackThreads()
        self.open_watches = OpenWatches()
        self.telling = Worker("etcdaero-telling")
        """The thread that tells other processes which watches are open."""
        self.closed = False
        self.pid = os.getpid()
        self.callback_watches: set[RunningWatch] = set()
        """Watches that nobody else needs to hold."""
        self._watches: MutableSet[RunningWatch] = weakref.WeakSet()
        self._mutex = threading.Lock()

    @acts
    def open_engine(self) -> Engine:
        """Return the engine. Raises ``Cancelled`` if the client is closed or another process's."""
        if self.pid != os.getpid():  # first: in the child the client is closed, too
            raise Cancelled("the client belongs to the parent process; make a new one after a fork")
        if self.closed:
            raise Cancelled("the client is closed")
        return self.engine

    def keep_watch(self, watch: RunningWatch, *, alive: bool = False) -> None:
        """End ``watch`` when the client is closed, now if it is. ``alive``: keep it even if nobody else does."""
        with self._mutex:
            if not watch.closed and not self.closed:
                self._watches.add(watch)
                if alive:
                    self.callback_watches.add(watch)
                return
        watch.cancel()

    def forget_watch(self, watch: RunningWatch) -> None:
        """Keep an ended watch no longer."""
        if self.pid != os.getpid():  # a thread of the parent may hold the lock for ever
            return
        with self._mutex:
            self._watches.discard(watch)
            self.callback_watches.discard(watch)

    def end(self) -> bool:
        """Be closed from now on, and end all watches. Return False if that was so, or in another process."""
        if self.pid != os.getpid():
            return False
        with self._mutex:
            if self.closed:
                return False
            self.closed = True
            watches = tuple(self._watches)
        for watch in watches:
            watch.cancel()
        return True

    def abandon(self) -> None:
        """In the child of a fork: forget everything, taking no lock that a thread of the parent may hold."""
        self.closed = True
        self.callback_watches = set()
        self._watches = set()


class Scope:
    """What leases, watches and the steps of protocols need of a client, which is one."""

    def __init__(self, life: Life, prefix: bytes) -> None:
        self.keyspace = Namespace(prefix, life.borders)
        self.engine = life.engine
        self.chores = life.chores
        """The thread for what is carried on in the background."""
        self.closed_loops = life.closed_loops
        """Who looks after tasks whose event loop may be closed."""
        self.callbacks = life.callbacks
        """The threads for functions of users."""
        self.life = life

    @property
    def prefix(self) -> bytes:
        """What all keys of this client start with in the store."""
        return self.keyspace.prefix

    @property
    def closed(self) -> bool:
        """True once the client, or the one that this namespace was made from, is closed."""
        return self.life.closed

    @acts
    def open_engine(self) -> Engine:
        """Return the engine. Raises ``Cancelled`` if the client is closed or another process's."""
        life = self.life
        if life.closed or life.pid != _getpid():
            life.open_engine()
        return self.engine

    def txn(self) -> Txn:
        """Return a transaction to be put together and committed: :mod:`django_etcdaero.keyvalue.ops`."""
        return Txn(self.txn_run, self.atxn_run)

    def txn_run(self, request: TxnRequest, timeout: float | None = None) -> TxnResult:
        """Run a transaction whose keys are relative to the prefix."""
        answer = self.open_engine().txn(self.keyspace.outward(request), timeout=timeout)
        return self.keyspace.inward(answer)

    async def atxn_run(self, request: TxnRequest, timeout: float | None = None) -> TxnResult:
        """Run a transaction whose keys are relative to the prefix."""
        answer = await self.open_engine().atxn(self.keyspace.outward(request), timeout=timeout)
        return self.keyspace.inward(answer)

    async def start_watch(
        self, request: WatchRequest, sink: WatchSink, followed: Followed, *, timeout: float | None
    ) -> WatchHandle:
        """Start a watch of the engine on a range of this client. All watches of a client are opened here.

        ``sink`` is called from a thread of the engine and gets keys with the full prefix. ``followed`` says what for.
        """
        engine, watches = self.open_engine(), self.life.open_watches
        request = self.keyspace.outward(request)
        running = watches.begin(self.prefix, request, sink, followed)
        try:
            running.handle = await Call(engine.watch, engine.awatch, request, running, timeout=timeout)
        except BaseException:
            running.cancel()
            raise
        watches.opened()
        return running
