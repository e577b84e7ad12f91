"""The key-value client: everything that users do with the coordination plane starts here."""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django_etcdaero.exceptions import Cancelled, InvalidRequest

from . import txn as ops
from .background import Worker
from .engine import (
    DeleteResult,
    Engine,
    KeyValue,
    PutResult,
    RangeResult,
    SortOrder,
    SortTarget,
    TxnRequest,
    TxnResult,
    WatchHandle,
    WatchRequest,
    WatchSink,
)
from .keys import FROM_KEY, Namespace, Text, span, to_bytes
from .lease import Lease, LeaseKeeper, check_ttl, clock
from .lock import Lock
from .session import Session, Sessions
from .watch import Watch, WatchItem

if TYPE_CHECKING:
    from collections.abc import MutableSet

_CLOSE_TIMEOUT = 2.0
"""Seconds that closing waits for revocations, and for each thread."""


class KV:
    """A client of an :class:`~django_etcdaero.kv.engine.Engine`, below a prefix. Safe to share between threads.

    All keys are relative to ``prefix``: it is put before every key sent and taken off every key returned. Keys and
    values are given as str (sent as UTF-8) or bytes and come back as bytes. ``timeout`` is in seconds; ``None`` is the
    engine's default. Each method raises what the engine's method raises (:mod:`django_etcdaero.kv.engine`), and
    ``Cancelled`` once the client is closed or if it was inherited across a fork.

    The engine stays its opener's: closing the client does not close it.
    """

    def __init__(self, engine: Engine, *, prefix: Text = b"", identity: Mapping[str, Any] | None = None) -> None:
        """``identity`` is added to what locks tell about their holder (JSON values)."""
        self.engine = engine
        self.namespace = Namespace(to_bytes(prefix, name="prefix"))
        self.identity: Mapping[str, Any] = MappingProxyType(dict(identity or {}))
        try:
            json.dumps(dict(self.identity))
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"identity cannot be written as JSON: {error}") from error
        self.keeper = LeaseKeeper()
        # Three threads, each started when needed: renewals must not wait for anything else, tidying up must not wait
        # for the user's callbacks.
        self.chores = Worker("etcdaero-lock")
        self.dispatcher = Worker("etcdaero-dispatcher")
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._closed = False
        self._sessions = Sessions(self)
        self._watches: MutableSet[Watch] = weakref.WeakSet()
        self._callback_watches: set[Watch] = set()

    def __repr__(self) -> str:
        return f"<KV {self.engine.info.location} prefix={self.prefix!r}>"

    @property
    def prefix(self) -> bytes:
        """What all keys of this client start with in the store."""
        return self.namespace.prefix

    # keys ------------------------------------------------------------------------------------------------------------

    def get(
        self, key: Text, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | None:
        """Return a key with its value, ``None`` if there is no such key."""
        request = ops.get(key, revision=revision, serializable=serializable)
        found = self.open_engine().range(self.namespace.outward(request), timeout=timeout).kvs
        return self.namespace.inward_kv(found[0]) if found else None

    def put(
        self,
        key: Text,
        value: Text = b"",
        *,
        lease: int | Lease = 0,
        prev_kv: bool = False,
        ignore_value: bool = False,
        ignore_lease: bool = False,
        timeout: float | None = None,
    ) -> PutResult:
        """Write a key."""
        request = ops.put(
            key, value, lease=lease, prev_kv=prev_kv, ignore_value=ignore_value, ignore_lease=ignore_lease
        )
        return self.namespace.inward(self.open_engine().put(self.namespace.outward(request), timeout=timeout))

    def delete(self, key: Text, *, prev_kv: bool = False, timeout: float | None = None) -> DeleteResult:
        """Delete a key; no error if there is none (``deleted`` is 0 then)."""
        return self.delete_range(key, prev_kv=prev_kv, timeout=timeout)

    def range(
        self,
        start: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        limit: int = 0,
        revision: int = 0,
        sort_order: SortOrder = SortOrder.NONE,
        sort_target: SortTarget = SortTarget.KEY,
        serializable: bool = False,
        keys_only: bool = False,
        count_only: bool = False,
        min_mod_revision: int = 0,
        max_mod_revision: int = 0,
        min_create_revision: int = 0,
        max_create_revision: int = 0,
        timeout: float | None = None,
    ) -> RangeResult:
        """Read one key, the keys from ``start`` up to but not ``range_end``, or all with ``start`` as prefix.

        The options are those of :class:`~django_etcdaero.kv.engine.RangeRequest`.
        """
        request = ops.get(
            start,
            range_end,
            prefix=prefix,
            limit=limit,
            revision=revision,
            sort_order=sort_order,
            sort_target=sort_target,
            serializable=serializable,
            keys_only=keys_only,
            count_only=count_only,
            min_mod_revision=min_mod_revision,
            max_mod_revision=max_mod_revision,
            min_create_revision=min_create_revision,
            max_create_revision=max_create_revision,
        )
        return self.namespace.inward(self.open_engine().range(self.namespace.outward(request), timeout=timeout))

    def delete_range(
        self,
        start: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        prev_kv: bool = False,
        timeout: float | None = None,
    ) -> DeleteResult:
        """Delete the keys that :meth:`range` with the same first arguments returns, as one change."""
        request = self.namespace.outward(ops.delete(start, range_end, prefix=prefix, prev_kv=prev_kv))
        return self.namespace.inward(self.open_engine().delete_range(request, timeout=timeout))

    def txn(self) -> ops.Txn:
        """Return a transaction to be put together and committed: :mod:`django_etcdaero.kv.txn`."""
        return ops.Txn(self._run)

    def compact(self, revision: int, *, timeout: float | None = None) -> None:
        """Forget the history of the whole store, other prefixes included, before ``revision``."""
        self.open_engine().compact(revision, timeout=timeout)

    # watches ---------------------------------------------------------------------------------------------------------

    def watch(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        start_revision: int = 0,
        prev_kv: bool = False,
        no_put: bool = False,
        no_delete: bool = False,
        max_pending: int = 1024,
        callback: Callable[[WatchItem], object] | None = None,
        timeout: float | None = None,
    ) -> Watch:
        """Follow the changes of a key or a range; the range is given as for :meth:`range`.

        ``start_revision`` is the first revision wanted, 0 for what comes from now on (every change after this call has
        returned is seen). More than ``max_pending`` undelivered events are replaced by a snapshot. Items are
        :class:`~django_etcdaero.kv.engine.Event` and :class:`~django_etcdaero.kv.watch.Resync`.

        With ``callback`` each item is given to ``callback(item)`` in the client's dispatcher thread, which all
        callbacks share: it should not block. Returning ``False`` ends the watch; an error is logged and does not.
        ``timeout`` is for starting the watch.
        """
        if max_pending < 1:
            raise InvalidRequest(f"max_pending must be at least 1, not {max_pending}")
        start, end = span(key, range_end, prefix=prefix)
        if end not in (b"", FROM_KEY) and end <= start:
            raise InvalidRequest(f"range_end {end!r} is not after key {start!r}")
        request = WatchRequest(start, end, start_revision, prev_kv=prev_kv, no_put=no_put, no_delete=no_delete)
        watch = Watch(self, request, max_pending=max_pending, callback=callback, timeout=timeout)
        with self._mutex:
            if not watch.closed and not self._closed:
                self._watches.add(watch)
                if callback is not None:
                    self._callback_watches.add(watch)
                return watch
        watch.cancel()
        return watch

    # leases, sessions, locks -----------------------------------------------------------------------------------------

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
        check_ttl(ttl)
        sent = clock()
        status = self.open_engine().lease_grant(ttl, lease_id=id, timeout=timeout)
        lease = Lease(self, id=status.id, ttl=status.granted_ttl, sent=sent)
        lease.renewed = keep_alive
        self.keeper.keep(lease)
        return lease

    def session(self, ttl: int, *, timeout: float | None = None) -> Session:
        """Return the client's session of ``ttl`` seconds: the same for all callers until it is lost, then a new one."""
        self.open_engine()
        return self._sessions.get(ttl, timeout=timeout)

    def lock(self, name: Text, *, ttl: int = 10, timeout: float | None = None) -> Lock:
        """Return a lock on ``name``, not acquired yet.

        ``ttl``: seconds after which a dead holder's lock is free. ``timeout``: what :meth:`Lock.acquire
        <django_etcdaero.kv.lock.Lock.acquire>` and ``with`` use by default; ``None`` waits as long as it takes.
        """
        return Lock(self, name, ttl=ttl, timeout=timeout)

    # life ------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End watches and background threads, and revoke the sessions' leases, so that locks are free at once.

        Takes a few seconds at most, however the store is; what could not be revoked runs out. Leases made with
        :meth:`lease` are renewed no more. Idempotent.
        """
        if self._pid != os.getpid():
            return
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            watches = tuple(self._watches)
        for watch in watches:
            watch.cancel()
        self.keeper.worker.stop(timeout=_CLOSE_TIMEOUT)
        self.chores.stop(timeout=_CLOSE_TIMEOUT)
        self._sessions.close(timeout=_CLOSE_TIMEOUT)
        self.dispatcher.stop(timeout=_CLOSE_TIMEOUT)

    def abandon(self) -> None:
        """In the child of a fork: forget everything, touching neither the store nor a lock that a thread had held.

        Leases and locks taken in the parent report themselves as lost here. The child makes a new client.
        """
        self._closed = True
        self._callback_watches = set()
        self._watches = set()

    # for the recipes built on a client -------------------------------------------------------------------------------

    def open_engine(self) -> Engine:
        """Return the engine. Raises ``Cancelled`` if the client is closed or another process's."""
        if self._closed:
            raise Cancelled("the client is closed")
        if self._pid != os.getpid():
            raise Cancelled("the client belongs to the parent process; make a new one after a fork")
        return self.engine

    def watch_raw(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        """Start a watch of the engine on a range of this client. The keys that ``sink`` gets bear the full prefix."""
        return self.open_engine().watch(self.namespace.outward(request), sink, timeout=timeout)

    def forget_watch(self, watch: Watch) -> None:
        """Keep an ended watch no longer."""
        with self._mutex:
            self._watches.discard(watch)
            self._callback_watches.discard(watch)

    def _run(self, request: TxnRequest, timeout: float | None) -> TxnResult:
        answer = self.open_engine().txn(self.namespace.outward(request), timeout=timeout)
        return self.namespace.inward(answer)
