"""The calls of a client for event loops: each is the blocking call without the ``a``, awaited.

Nothing here blocks the loop. Cancelling a task that waits ends its call: a read is just cancelled; a write may be
applied or not, as one whose answer was lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_etcdaero.keyvalue import txn as ops
from django_etcdaero.keyvalue.arguments import check_count, check_flag, lease_id
from django_etcdaero.keyvalue.values import DeleteResult, KeyValue, PutResult, RangeResult, SortOrder, SortTarget

from .lease import Lease, check_ttl, clock
from .scope import View
from .watch import AsyncWatch

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.keys import Text

    from .session import Session


class AsyncCalls(View):
    """Methods of :class:`~django_etcdaero.keyvalue.facade.KV` that are awaited."""

    # keys ------------------------------------------------------------------------------------------------------------

    async def aget(
        self, key: Text, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | None:
        """Return a key with its value, ``None`` if there is no such key."""
        request = ops.get(key, revision=revision, serializable=serializable)
        found = (await self.open_engine().arange(self.keyspace.outward(request), timeout=timeout)).kvs
        return self.keyspace.inward_kv(found[0]) if found else None

    async def aput(
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
        return self.keyspace.inward(await self.open_engine().aput(self.keyspace.outward(request), timeout=timeout))

    async def adelete(self, key: Text, *, prev_kv: bool = False, timeout: float | None = None) -> DeleteResult:
        """Delete a key; no error if there is none (``deleted`` is 0 then)."""
        return await self.adelete_range(key, prev_kv=prev_kv, timeout=timeout)

    async def arange(
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
        """Read one key, the keys from ``start`` up to but not ``range_end``, or all with ``start`` as prefix."""
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
        return self.keyspace.inward(await self.open_engine().arange(self.keyspace.outward(request), timeout=timeout))

    async def adelete_range(
        self,
        start: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        prev_kv: bool = False,
        timeout: float | None = None,
    ) -> DeleteResult:
        """Delete the keys that :meth:`arange` with the same first arguments returns, as one change."""
        request = self.keyspace.outward(ops.delete(start, range_end, prefix=prefix, prev_kv=prev_kv))
        return self.keyspace.inward(await self.open_engine().adelete_range(request, timeout=timeout))

    async def acompact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        """Forget the history of the whole store, other prefixes included, before ``revision``."""
        check_count("revision", revision)
        check_flag("physical", physical)
        await self.open_engine().acompact(revision, physical=physical, timeout=timeout)

    # watches ---------------------------------------------------------------------------------------------------------

    def awatch(
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
        timeout: float | None = None,
    ) -> AsyncWatch:
        """Return a watch for ``async with`` and ``async for``; the arguments are those of :meth:`watch`."""
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
        return AsyncWatch(self._client, request, max_pending=max_pending, timeout=timeout)

    # leases and sessions ---------------------------------------------------------------------------------------------

    async def alease(
        self,
        ttl: int,
        *,
        id: int = 0,  # noqa: A002
        keep_alive: bool = True,
        timeout: float | None = None,
    ) -> Lease:
        """Grant a lease of ``ttl`` whole seconds, renewed in the background until revoked (``keep_alive``)."""
        check_ttl(ttl)
        lease_id("id", id)
        sent = clock()
        status = await self.open_engine().alease_grant(ttl, lease_id=id, timeout=timeout)
        return self.keep_lease(status, sent=sent, keep_alive=keep_alive)

    async def asession(self, ttl: int, *, timeout: float | None = None) -> Session:
        """Return the client's session of ``ttl`` seconds, the same that :meth:`session` returns."""
        check_ttl(ttl)
        engine = self.open_engine()
        session = self.sessions.current(ttl)
        if session is not None:
            return session
        return await engine.in_thread(lambda left: self.sessions.get(ttl, timeout=left), timeout=timeout)
