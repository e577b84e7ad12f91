"""Reading and writing keys. Get, put, range, delete and transactions have a path of their own in either form: a step
between the caller and the engine would cost as much as the rest of a call to the embedded store.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar, Unpack, overload

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import ops
from django_etcdaero.keyvalue.arguments import PutOptions, RangeOptions, check_count, check_flag
from django_etcdaero.keyvalue.keys import Text, to_bytes
from django_etcdaero.keyvalue.values import DeleteResult, KeyValue, PutRequest, PutResult, RangeResult
from django_etcdaero.system.blocking import refuse_in_event_loop
from django_etcdaero.system.steps import Call, adrive, drive
from django_etcdaero.system.twins import twins

from .expiring import ExpiringKeys
from .scope import Scope

D = TypeVar("D")

_getpid = os.getpid


class KeyCalls(Scope):
    """Methods of a :class:`~django_etcdaero.keyvalue.client.client.Client`. Those with an ``a`` are awaited.

    Cancelling a task that waits ends its call: a read is just cancelled; a write may be applied or not, as one whose
    answer was lost.
    """

    expiring: ExpiringKeys
    """Puts keys with a time to live."""

    @overload
    def get(
        self, key: Text, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | None: ...
    @overload
    def get(
        self, key: Text, default: D, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | D: ...

    def get(
        self,
        key: Text,
        default: Any = None,
        *,
        revision: int = 0,
        serializable: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Return a key with its value, ``default`` (as it is) if there is no such key."""
        refuse_in_event_loop("get()", "await aget(…)")
        life, keyspace = self.life, self.keyspace
        if life.closed or life.pid != _getpid():
            life.open_engine()
        if revision != 0 or serializable is not False:
            request = ops.get(key, revision=revision, serializable=serializable)
            kvs = self.engine.range(keyspace.outward(request), timeout=timeout).kvs
            found = kvs[0] if kvs else None
        else:
            name = key if type(key) is bytes else to_bytes(key, name="key")
            if not name:
                raise InvalidRequest("key is empty")
            found = self.engine.get(keyspace.prefix + name, timeout=timeout)
        return default if found is None else keyspace.inward_kv(found)

    @overload
    async def aget(
        self, key: Text, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | None: ...
    @overload
    async def aget(
        self, key: Text, default: D, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | D: ...

    async def aget(
        self,
        key: Text,
        default: Any = None,
        *,
        revision: int = 0,
        serializable: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Return a key with its value, ``default`` (as it is) if there is no such key."""
        request = ops.get(key, revision=revision, serializable=serializable)
        found = (await self.open_engine().arange(self.keyspace.outward(request), timeout=timeout)).kvs
        return self.keyspace.inward_kv(found[0]) if found else default

    def put(
        self,
        key: Text,
        value: Text = b"",
        *,
        ttl: int | None = None,
        timeout: float | None = None,
        **options: Unpack[PutOptions],
    ) -> PutResult:
        """Write a key. The options are those of :class:`~django_etcdaero.keyvalue.arguments.PutOptions`.

        ``ttl``: whole seconds after which the key is gone, unless it is put again; up to a tenth, or a second, later
        (:mod:`django_etcdaero.keyvalue.client.expiring`). It cannot be given together with a lease.
        """
        refuse_in_event_loop("put()", "await aput(…)")
        engine, keyspace = self.open_engine(), self.keyspace
        if ttl is not None:
            return drive(self.expiring.put(self, ops.put(key, value, **options), ttl, timeout))
        if not options:  # most puts: made in one step, not in two
            name = to_bytes(key, name="key")
            if not name:
                raise InvalidRequest("key is empty")
            return engine.put(PutRequest(keyspace.prefix + name, to_bytes(value, name="value")), timeout=timeout)
        request = keyspace.outward(ops.put(key, value, **options))
        return keyspace.inward(engine.put(request, timeout=timeout))

    async def aput(
        self,
        key: Text,
        value: Text = b"",
        *,
        ttl: int | None = None,
        timeout: float | None = None,
        **options: Unpack[PutOptions],
    ) -> PutResult:
        """Do what :meth:`put` does."""
        if ttl is not None:
            return await adrive(self.expiring.put(self, ops.put(key, value, **options), ttl, timeout))
        request = self.keyspace.outward(ops.put(key, value, **options))
        return self.keyspace.inward(await self.open_engine().aput(request, timeout=timeout))

    def delete(self, key: Text, *, prev_kv: bool = False, timeout: float | None = None) -> DeleteResult:
        """Delete a key; no error if there is none (``deleted`` is 0 then)."""
        refuse_in_event_loop("delete()", "await adelete(…)")
        request = self.keyspace.outward(ops.delete(key, prev_kv=prev_kv))
        return self.keyspace.inward(self.open_engine().delete_range(request, timeout=timeout))

    async def adelete(self, key: Text, *, prev_kv: bool = False, timeout: float | None = None) -> DeleteResult:
        """Do what :meth:`delete` does."""
        return await self.adelete_range(key, prev_kv=prev_kv, timeout=timeout)

    def range(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[RangeOptions],
    ) -> RangeResult:
        """Read one key, the keys from ``key`` up to but not ``range_end``, or all with ``key`` as ``prefix``.

        The options are ``prefix``, ``limit``, ``revision`` (read as of it), ``sort_order`` and ``sort_target``,
        ``serializable``, ``keys_only``, ``count_only``, and bounds: ``min_mod_revision``, ``max_mod_revision``,
        ``min_create_revision``, ``max_create_revision``. What they mean is told by
        :class:`~django_etcdaero.keyvalue.values.RangeRequest`.
        """
        refuse_in_event_loop("range()", "await arange(…)")
        request = self.keyspace.outward(ops.get(key, range_end, **options))
        return self.keyspace.inward(self.open_engine().range(request, timeout=timeout))

    async def arange(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[RangeOptions],
    ) -> RangeResult:
        """Do what :meth:`range` does."""
        request = self.keyspace.outward(ops.get(key, range_end, **options))
        return self.keyspace.inward(await self.open_engine().arange(request, timeout=timeout))

    async def _delete_range(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        prev_kv: bool = False,
        everything: bool = False,
        timeout: float | None = None,
    ) -> DeleteResult:
        """Delete the keys that :meth:`range` with the same first arguments returns, as one change.

        ``everything`` allows to delete all keys of the client, and keys of the package along with others; without it
        that raises ``InvalidRequest`` (:mod:`django_etcdaero.keyvalue.rooms`).
        """
        wanted = ops.delete(key, range_end, prefix=prefix, prev_kv=prev_kv, everything=everything)
        request = self.keyspace.outward(wanted)
        engine = self.open_engine()
        return self.keyspace.inward(await Call(engine.delete_range, engine.adelete_range, request, timeout=timeout))

    delete_range, adelete_range = twins(_delete_range)

    async def _compact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        """Forget the history of the whole store, other prefixes included, before ``revision``.

        ``physical``: return only when the space is free, too.
        """
        check_count("revision", revision)
        check_flag("physical", physical)
        engine = self.open_engine()
        await Call(engine.compact, engine.acompact, revision, physical=physical, timeout=timeout)

    compact, acompact = twins(_compact)
