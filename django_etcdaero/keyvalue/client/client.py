"""The plain client: what locks, elections, objects and the other recipes are made from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.keys import Text, to_bytes

from .key_calls import KeyCalls
from .lease_calls import LeaseCalls
from .life import Life
from .renewal import LeaseRenewal
from .watch_calls import WatchCalls

_CLOSE_TIMEOUT = 2.0
"""Seconds that closing waits for revocations, and for each thread."""


class Client(KeyCalls, WatchCalls, LeaseCalls):
    """Keys, transactions, watches, leases and sessions of an engine, below a prefix. Safe to share between threads."""

    def __init__(self, engine: Engine, *, prefix: Text = b"", identity: Mapping[str, Any] | None = None) -> None:
        """``identity`` is added to what locks tell about their holder (JSON values)."""
        self.identity: Mapping[str, Any] = MappingProxyType(dict(identity or {}))
        try:
            json.dumps(dict(self.identity))
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"identity cannot be written as JSON: {error}") from error
        life = Life(engine)
        super().__init__(life, to_bytes(prefix, name="prefix"), LeaseRenewal(life))
        self._root = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.engine.info.location} prefix={self.prefix!r}>"

    def namespace(self, prefix: Text) -> Self:
        """Return a client whose keys are those of this one that start with ``prefix``, without it.

        It shares everything else with this one: the engine, threads, sessions, and the end. It cannot be closed by
        itself; it is closed when the client is that all namespaces were made from.
        """
        part = type(self).__new__(type(self))
        part.identity = self.identity
        whole = self.prefix + to_bytes(prefix, name="prefix")
        LeaseCalls.__init__(part, self._life, whole, self.renewal, self.sessions)
        part._root = False
        return part

    def close(self) -> None:
        """End watches and background threads, and revoke the sessions' leases, so that locks are free at once.

        Takes a few seconds at most, however the store is; what could not be revoked runs out. Leases made with
        :meth:`lease` are renewed no more. Idempotent. Raises ``InvalidRequest`` for a namespace: the lives of others
        are not its to end.
        """
        self._check_root("closed")
        if self._life.end():
            self.renewal.worker.stop(timeout=_CLOSE_TIMEOUT)
            self.chores.stop(timeout=_CLOSE_TIMEOUT)
            self.sessions.close(timeout=_CLOSE_TIMEOUT)
            self.callbacks.stop(timeout=_CLOSE_TIMEOUT)

    async def aclose(self) -> None:
        """Do what :meth:`close` does, in a thread."""
        self._check_root("closed")
        await asyncio.to_thread(self.close)

    def abandon(self) -> None:
        """In the child of a fork: forget everything, touching neither the store nor a lock that a thread had held.

        Leases and locks taken in the parent report themselves as lost here. The child makes a new client. Raises
        ``InvalidRequest`` for a namespace.
        """
        self._check_root("abandoned")
        self._life.abandon()

    def _check_root(self, what: str) -> None:
        if not self._root:
            raise InvalidRequest(f"a namespace cannot be {what} by itself, only the client that it was made from")
