"""The operations of the engine for event loops, on gRPC's futures: no thread waits for an answer."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from django_etcdaero.exceptions import LeaseNotFound
from django_etcdaero.keyvalue.etcd.messages import wire
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.keyvalue.threaded import ThreadedCalls
from django_etcdaero.keyvalue.values import (
    DeleteRequest,
    DeleteResult,
    LeaseStatus,
    PutRequest,
    PutResult,
    RangeRequest,
    RangeResult,
    TxnRequest,
    TxnResult,
    WatchHandle,
    WatchRequest,
    WatchSink,
)
from django_etcdaero.system.steps import adrive

from . import read_only


class AwaitedCalls(ThreadedCalls):
    """Each is the blocking method of the same name in :class:`~django_etcdaero.keyvalue.etcd.engine.EtcdEngine`."""

    @abstractmethod
    async def _acall(self, method: str, message: Any, timeout: float | None, **options: Any) -> Any:
        """Return the answer to ``message``; ``options`` are those of :meth:`Calls.arun`."""

    @abstractmethod
    async def _read(self, request: TxnRequest, timeout: float | None) -> TxnResult:
        """Run a transaction that only reads: a protocol for :func:`adrive`."""

    @abstractmethod
    async def _awatch(self, request: WatchRequest, sink: WatchSink, timeout: float | None) -> WatchHandle:
        """Start a watch."""

    async def arange(self, request: RangeRequest, *, timeout: float | None = None) -> RangeResult:
        message, leader = wire.range_message(request), not request.serializable
        return wire.range_result(await self._acall("Range", message, timeout, repeat=True, leader=leader))

    async def aput(self, request: PutRequest, *, timeout: float | None = None) -> PutResult:
        return wire.put_result(await self._acall("Put", wire.put_message(request), timeout, repeat=False))

    async def adelete_range(self, request: DeleteRequest, *, timeout: float | None = None) -> DeleteResult:
        message = wire.delete_message(request)
        return wire.delete_result(await self._acall("DeleteRange", message, timeout, repeat=False))

    async def atxn(self, request: TxnRequest, *, timeout: float | None = None) -> TxnResult:
        only_reads = wire.is_read_only(request)
        if only_reads and read_only.ends_with_its_caller(request):
            return await adrive(self._read(request, timeout))
        return wire.txn_result(await self._acall("Txn", wire.txn_message(request), timeout, repeat=only_reads))

    async def acompact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        await self._acall("Compact", wire.compaction_message(revision, physical), timeout, repeat=False)

    async def alease_grant(self, ttl: int, *, lease_id: int = 0, timeout: float | None = None) -> LeaseStatus:
        message = wire.grant_message(ttl, lease_id)
        return wire.grant_result(await self._acall("LeaseGrant", message, timeout, repeat=lease_id == 0))

    async def alease_revoke(self, lease_id: int, *, timeout: float | None = None) -> None:
        await self._acall("LeaseRevoke", wire.revoke_message(lease_id), timeout, repeat=True, done=LeaseNotFound)

    async def alease_keep_alive(self, lease_id: int, *, timeout: float | None = None) -> int:
        message = wire.keep_alive_message(lease_id)
        return wire.keep_alive_result(lease_id, await self._acall("LeaseKeepAlive", message, timeout, repeat=True))

    async def alease_time_to_live(
        self, lease_id: int, *, keys: bool = False, timeout: float | None = None
    ) -> LeaseStatus:
        message = wire.time_to_live_message(lease_id, keys)
        return wire.time_to_live_result(lease_id, await self._acall("LeaseTimeToLive", message, timeout, repeat=True))

    async def alease_list(self, *, timeout: float | None = None) -> tuple[int, ...]:
        return wire.leases_result(await self._acall("LeaseLeases", rpc.LeaseLeasesRequest(), timeout, repeat=True))

    async def awatch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        return await self._awatch(request, sink, timeout)
