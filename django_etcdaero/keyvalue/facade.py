"""The key-value client: everything that users do with the coordination plane starts here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_etcdaero.exceptions import InvalidRequest

from .client.acalls import AsyncCalls
from .client.calls import BlockingCalls
from .client.life import Life
from .engine import Engine
from .facade_recipes import Recipes
from .keys import Text, to_bytes


class KV(BlockingCalls, AsyncCalls, Recipes):
    """A client of an :class:`~django_etcdaero.keyvalue.engine.Engine`, below a prefix. Safe to share between threads.

    All keys are relative to ``prefix``: it is put before every key sent and taken off every key returned. Keys and
    values are given as str (sent as UTF-8) or bytes and come back as bytes. ``timeout`` is in seconds; ``None`` is the
    engine's default. Each method raises what the engine's method raises (:mod:`django_etcdaero.keyvalue.engine`),
    ``InvalidRequest`` naming an argument that is wrong, and ``Cancelled`` once the client is closed or if it was
    inherited across a fork.

    The engine stays its opener's: closing the client does not close it.
    """

    def __init__(self, engine: Engine, *, prefix: Text = b"", identity: Mapping[str, Any] | None = None) -> None:
        """``identity`` is added to what locks tell about their holder (JSON values)."""
        self._start(Life(self, engine, identity), to_bytes(prefix, name="prefix"))
        self._root = True

    def __repr__(self) -> str:
        return f"<KV {self.engine.info.location} prefix={self.prefix!r}>"

    def namespace(self, prefix: Text) -> KV:
        """Return a client whose keys are those of this one that start with ``prefix``, without it.

        It shares everything else with this one: the engine, threads, sessions, and the end. It cannot be closed by
        itself; it is closed when the client is that all namespaces were made from.
        """
        view = KV.__new__(KV)
        view._start(self._life, self.prefix + to_bytes(prefix, name="prefix"))
        view._root = False
        return view

    @property
    def closed(self) -> bool:
        """True once the client, or the one that this namespace was made from, is closed."""
        return self._life.closed

    def close(self) -> None:
        """End watches and background threads, and revoke the sessions' leases, so that locks are free at once.

        Takes a few seconds at most, however the store is; what could not be revoked runs out. Leases made with
        :meth:`lease` are renewed no more. Idempotent. Raises ``InvalidRequest`` for a namespace: the lives of others
        are not its to end.
        """
        self._check_root("closed")
        self._life.close()

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
