"""What a client and the namespaces made from it have in common: the engine, threads, sessions, watches, and the end."""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Mapping, MutableSet
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from django_etcdaero.exceptions import Cancelled, InvalidRequest
from django_etcdaero.keyvalue.engine import Engine

from .background import Worker
from .dispatcher import Dispatcher
from .renewal import LeaseKeeper
from .session import Sessions

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.facade import KV

    from .watch import AsyncWatch, Watch

    AnyWatch: TypeAlias = Watch | AsyncWatch

_CLOSE_TIMEOUT = 2.0
"""Seconds that closing waits for revocations, and for each thread."""


class Life:
    """Owner of a client's threads, each started when needed, until :meth:`close`."""

    def __init__(self, kv: KV, engine: Engine, identity: Mapping[str, Any] | None) -> None:
        self.engine = engine
        self.identity: Mapping[str, Any] = MappingProxyType(dict(identity or {}))
        try:
            json.dumps(dict(self.identity))
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"identity cannot be written as JSON: {error}") from error
        self.keeper = LeaseKeeper()
        # Renewals must not wait for anything else, and tidying up must not wait for the user's callbacks.
        self.chores = Worker("etcdaero-lock")
        self.dispatcher = Dispatcher()
        self.sessions = Sessions(kv)
        self.closed = False
        self.pid = os.getpid()
        self.callback_watches: set[AnyWatch] = set()
        """Watches that nobody else needs to hold."""
        self._watches: MutableSet[AnyWatch] = weakref.WeakSet()
        self._mutex = threading.Lock()

    def check(self) -> None:
        """Raise ``Cancelled`` if the client is closed or another process's."""
        if self.closed:
            raise Cancelled("the client is closed")
        if self.pid != os.getpid():
            raise Cancelled("the client belongs to the parent process; make a new one after a fork")

    def keep_watch(self, watch: AnyWatch, *, alive: bool = False) -> None:
        """End ``watch`` when the client is closed, now if it is. ``alive``: keep it even if nobody else does."""
        with self._mutex:
            if not watch.closed and not self.closed:
                self._watches.add(watch)
                if alive:
                    self.callback_watches.add(watch)
                return
        watch.cancel()

    def forget_watch(self, watch: AnyWatch) -> None:
        """Keep an ended watch no longer."""
        if self.pid != os.getpid():  # a thread of the parent may hold the lock for ever
            return
        with self._mutex:
            self._watches.discard(watch)
            self.callback_watches.discard(watch)

    def close(self) -> None:
        """End watches and threads and revoke the sessions' leases. Idempotent."""
        if self.pid != os.getpid():
            return
        with self._mutex:
            if self.closed:
                return
            self.closed = True
            watches = tuple(self._watches)
        for watch in watches:
            watch.cancel()
        self.keeper.worker.stop(timeout=_CLOSE_TIMEOUT)
        self.chores.stop(timeout=_CLOSE_TIMEOUT)
        self.sessions.close(timeout=_CLOSE_TIMEOUT)
        self.dispatcher.stop(timeout=_CLOSE_TIMEOUT)

    def abandon(self) -> None:
        """In the child of a fork: forget everything, taking no lock that a thread of the parent may hold."""
        self.closed = True
        self.callback_watches = set()
        self._watches = set()
