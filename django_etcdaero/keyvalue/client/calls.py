"""The calls of a client that block: keys, transactions, watches, leases, sessions and locks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from django_etcdaero.exceptions import Compacted, InvalidRequest
from django_etcdaero.keyvalue import txn as ops
from django_etcdaero.keyvalue.arguments import check_count, check_flag, end_of, lease_id
from django_etcdaero.keyvalue.keys import Text, to_bytes
from django_etcdaero.keyvalue.queue.lock import Lock
from django_etcdaero.keyvalue.values import (
    DeleteResult,
    Event,
    KeyValue,
    LeaseStatus,
    PutRequest,
    PutResult,
    RangeResult,
    SortOrder,
    SortTarget,
)

from .lease import Lease, check_ttl, clock
from .scope import View
from .session import Session
from .watch import Resync, Watch, WatchItem

_getpid = os.getpid


class BlockingCalls(View):
    """Methods of :class:`~django_etcdaero.keyvalue.facade.KV` that block the calling thread until they are done."""

    # keys ------------------------------------------------------------------------------------------------------------

    def get(
        self, key: Text, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | None:
        """Return a key with its value, ``None`` if there is no such key."""
        life, keyspace = self._life, self.keyspace
        if life.closed or life.pid != _getpid():
            life.check()
        if revision != 0 or serializable is not False:
            request = ops.get(key, revision=revision, serializable=serializable)
            kvs = self.engine.range(keyspace.outward(request), timeout=timeout).kvs
            found = kvs[0] if kvs else None
        else:
            name = key if type(key) is bytes else to_bytes(key, name="key")
            if not name:
                raise InvalidRequest("key is empty")
            found = self.engine.get(keyspace.prefix + name, timeout=timeout)
        return None if found is None else keyspace.inward_kv(found)

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
        engine, keyspace = self.open_engine(), self.keyspace
        if lease == 0 and prev_kv is ignore_value is ignore_lease is False:  # most puts: made in one step, not in two
            name = to_bytes(key, name="key")
            if not name:
                raise InvalidRequest("key is empty")
            return engine.put(PutRequest(keyspace.prefix + name, to_bytes(value, name="value")), timeout=timeout)
        request = ops.put(
            key, value, lease=lease, prev_kv=prev_kv, ignore_value=ignore_value, ignore_lease=ignore_lease
        )
        return keyspace.inward(engine.put(keyspace.outward(request), timeout=timeout))

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

        The options are those of :class:`~django_etcdaero.keyvalue.values.RangeRequest`.
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
        return self.keyspace.inward(self.open_engine().range(self.keyspace.outward(request), timeout=timeout))

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
        request = self.keyspace.outward(ops.delete(start, range_end, prefix=prefix, prev_kv=prev_kv))
        return self.keyspace.inward(self.open_engine().delete_range(request, timeout=timeout))

    def txn(self) -> ops.Txn:
        """Return a transaction to be put together and committed: :mod:`django_etcdaero.keyvalue.txn`."""
        return ops.Txn(self.txn_run, self.atxn_run)

    def compact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        """Forget the history of the whole store, other prefixes included, before ``revision``.

        ``physical``: return only when the space is free, too.
        """
        check_count("revision", revision)
        check_flag("physical", physical)
        self.open_engine().compact(revision, physical=physical, timeout=timeout)

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
        fragment: bool = False,
        progress_notify: bool = False,
        max_pending: int = 1024,
        callback: Callable[[WatchItem], object] | None = None,
        timeout: float | None = None,
    ) -> Watch:
        """Follow the changes of a key or a range; the range is given as for :meth:`range`.

        ``start_revision`` is the first revision wanted, 0 for what comes from now on (every change after this call has
        returned is seen). More than ``max_pending`` undelivered events are replaced by a snapshot. Items are
        :class:`~django_etcdaero.keyvalue.values.Event` and :class:`~django_etcdaero.keyvalue.client.watch.Resync`, with
        ``progress_notify`` also :class:`~django_etcdaero.keyvalue.client.watch.Progress`, as often as the store marks
        it (by default every ten minutes). ``fragment``: do not wait until all of a very big revision has come (embedded
        engine: no difference).

        With ``callback`` each item is given to ``callback(item)`` in the client's dispatcher thread, which all
        callbacks share: it should not block. Returning ``False`` ends the watch; an error is logged and does not.
        ``timeout`` is for starting the watch.
        """
        request = ops.watch(
            key,
            range_end,
            prefix=prefix,
            start_revision=start_revision,
            prev_kv=prev_kv,
            no_put=no_put,
            no_delete=no_delete,
            fragment=fragment,
            progress_notify=progress_notify,
        )
        watch = Watch(self._client, request, max_pending=max_pending, callback=callback, timeout=timeout)
        self._life.keep_watch(watch, alive=callback is not None)
        return watch

    def wait_for_change(
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
        watch = self.watch(key, range_end, prefix=prefix, start_revision=start_revision, timeout=timeout)
        with watch:
            item = watch.next(timeout=None if limit is None else max(0.0, limit - time.monotonic()))
        if isinstance(item, Event):
            return item
        assert isinstance(item, Resync)
        raise Compacted(f"changes before revision {item.revision} cannot be had any more ({item.reason.value})")

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
        lease_id("id", id)
        sent = clock()
        status = self.open_engine().lease_grant(ttl, lease_id=id, timeout=timeout)
        return self.keep_lease(status, sent=sent, keep_alive=keep_alive)

    def leases(self, *, timeout: float | None = None) -> tuple[int, ...]:
        """Return the ids of all leases of the store, other prefixes' included."""
        return self.open_engine().lease_list(timeout=timeout)

    def lease_status(self, id: int | Lease, *, keys: bool = False, timeout: float | None = None) -> LeaseStatus:  # noqa: A002
        """Tell what is left of any lease; ``ttl`` is -1 if the store does not know it.

        ``keys=True`` also lists the keys on it, those outside the client's prefix left out.
        """
        number = lease_id("id", id)
        check_flag("keys", keys)
        status = self.open_engine().lease_time_to_live(number, keys=keys, timeout=timeout)
        return status._replace(keys=self.keyspace.own_keys(status.keys))

    def revoke_lease(self, id: int | Lease, *, timeout: float | None = None) -> None:  # noqa: A002
        """End any lease and delete its keys, whoever holds it. Raises ``LeaseNotFound``."""
        self.open_engine().lease_revoke(lease_id("id", id), timeout=timeout)

    def session(self, ttl: int, *, timeout: float | None = None) -> Session:
        """Return the client's session of ``ttl`` seconds: the same for all callers until it is lost, then a new one."""
        self.open_engine()
        return self.sessions.get(ttl, timeout=timeout)

    def lock(self, name: Text, *, ttl: int = 10, timeout: float | None = None) -> Lock:
        """Return a lock on ``name``, not acquired yet.

        ``ttl``: seconds after which a dead holder's lock is free. ``timeout``: what :meth:`Lock.acquire
        <django_etcdaero.keyvalue.queue.lock.Lock.acquire>` and ``with`` use by default; ``None`` waits as long as it
        takes.
        """
        return Lock(self._client, name, ttl=ttl, timeout=timeout)
