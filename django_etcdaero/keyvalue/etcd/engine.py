"""The engine: each operation of the waist as one call to an etcd cluster.

Those that are made seldom are written once, as protocols, and have their two forms from
:func:`~django_etcdaero.system.twins.twins`. The blocking forms of the commonest calls go the shorter way of
:meth:`UnaryCalls.run <django_etcdaero.keyvalue.etcd.calls.unary.UnaryCalls.run>`, which is some per cent faster.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from django_etcdaero.exceptions import ClusterError, Compacted, InvalidRequest, LeaseNotFound, ResponseError
from django_etcdaero.keyvalue import values
from django_etcdaero.keyvalue.administration import Auth, Cluster, Maintenance
from django_etcdaero.keyvalue.arguments import check_int
from django_etcdaero.keyvalue.engine import Clock
from django_etcdaero.keyvalue.values import RenewalSink
from django_etcdaero.system.call_limit import bounded_seconds
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.steps import adrive, drive
from django_etcdaero.system.twins import twins

from .calls import read_only
from .connected import ConnectedEngine
from .connection.renewals import Renewals
from .messages import wire
from .messages.classes import rpc
from .watches.watching import EtcdWatch

_getpid = os.getpid


class EtcdEngine(ConnectedEngine):
    """An etcd cluster, version 3.4 or later."""

    # keys ------------------------------------------------------------------------------------------------------------

    def range(self, request: values.RangeRequest, *, timeout: float | None = None) -> values.RangeResult:
        message, leader = wire.range_message(request), not request.serializable
        return wire.range_result(self._call("Range", message, timeout, repeat=True, leader=leader))

    async def arange(self, request: values.RangeRequest, *, timeout: float | None = None) -> values.RangeResult:
        message, leader = wire.range_message(request), not request.serializable
        return wire.range_result(await adrive(self._ask("Range", message, timeout, repeat=True, leader=leader)))

    def put(self, request: values.PutRequest, *, timeout: float | None = None) -> values.PutResult:
        return wire.put_result(self._call("Put", wire.put_message(request), timeout, repeat=False))

    async def aput(self, request: values.PutRequest, *, timeout: float | None = None) -> values.PutResult:
        return wire.put_result(await adrive(self._ask("Put", wire.put_message(request), timeout, repeat=False)))

    def txn(self, request: values.TxnRequest, *, timeout: float | None = None) -> values.TxnResult:
        if request.is_read_only:
            return drive(self._read(request, timeout))
        return wire.txn_result(self._call("Txn", wire.txn_message(request), timeout, repeat=False))

    async def atxn(self, request: values.TxnRequest, *, timeout: float | None = None) -> values.TxnResult:
        if request.is_read_only:
            return await adrive(self._read(request, timeout))
        return wire.txn_result(await adrive(self._ask("Txn", wire.txn_message(request), timeout, repeat=False)))

    async def _read(self, request: values.TxnRequest, timeout: float | None) -> values.TxnResult:
        deadline = self._deadline(timeout)
        ask = partial(self._calls.ask, deadline=deadline, repeat=True)
        try:
            return await read_only.read(ask, request)
        except Compacted as error:
            refusal = error
        raise await self._completed(refusal, wire.txn_message(request), deadline) from refusal.__cause__

    async def _delete_range(
        self, request: values.DeleteRequest, *, timeout: float | None = None
    ) -> values.DeleteResult:
        message = wire.delete_message(request)
        return wire.delete_result(await self._ask("DeleteRange", message, timeout, repeat=False))

    delete_range, adelete_range = twins(_delete_range)

    async def _compact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        check_int("revision", revision)
        await self._ask("Compact", rpc.CompactionRequest(revision=revision, physical=physical), timeout, repeat=False)

    compact, acompact = twins(_compact)

    def _call(self, method: str, message: Any, timeout: float | None, repeat: bool, leader: bool = True) -> Any:
        """Return the answer to ``message``, blocking."""
        if self._pid != _getpid() or self._gate.is_shut:
            self._check_usable()
        seconds = self._timeout if timeout is None else check_seconds("timeout", timeout)
        seconds = bounded_seconds(seconds)
        try:
            return self._calls.run(method, message, seconds, repeat, leader)
        except Compacted as error:
            refusal, deadline = error, monotonic() + seconds
        raise drive(self._completed(refusal, message, deadline)) from refusal.__cause__

    # leases ----------------------------------------------------------------------------------------------------------

    async def _lease_grant(self, ttl: int, *, lease_id: int = 0, timeout: float | None = None) -> values.LeaseStatus:
        # A grant whose answer was lost leaves a lease without keys behind, which nobody needs to find.
        check_int("ttl", ttl)
        message = wire.lease_message(rpc.LeaseGrantRequest, lease_id, TTL=ttl)
        answer = await self._ask("LeaseGrant", message, timeout, repeat=lease_id == 0)
        if answer.error:  # a refusal that comes as an answer
            raise InvalidRequest(str(answer.error))
        return values.LeaseStatus(answer.ID, answer.TTL, answer.TTL, ())

    lease_grant, alease_grant = twins(_lease_grant)

    async def _lease_revoke(self, lease_id: int, *, timeout: float | None = None) -> None:
        message = wire.lease_message(rpc.LeaseRevokeRequest, lease_id)
        await self._ask("LeaseRevoke", message, timeout, repeat=True, done=LeaseNotFound)

    lease_revoke, alease_revoke = twins(_lease_revoke)

    async def _lease_keep_alive(self, lease_id: int, *, timeout: float | None = None) -> int:
        message = wire.lease_message(rpc.LeaseKeepAliveRequest, lease_id)
        answer = await self._ask("LeaseKeepAlive", message, timeout, repeat=True)
        if answer is None:  # gRPC's result when the server has said nothing but that it is done
            raise ResponseError(f"the renewal of lease {lease_id:x} was not answered")
        if answer.TTL <= 0:
            raise LeaseNotFound(f"there is no lease {lease_id:x}")
        return int(answer.TTL)

    lease_keep_alive, alease_keep_alive = twins(_lease_keep_alive)

    def lease_keep_alive_many(
        self, lease_ids: Sequence[int], sink: RenewalSink, *, clock: Clock = monotonic, timeout: float | None = None
    ) -> None:
        renewals = Renewals(lease_ids, sink, clock)
        deadline = self._deadline(timeout)
        while waiting := len(renewals.waiting):
            self._call("LeaseKeepAliveMany", renewals, deadline - monotonic(), repeat=True)
            if len(renewals.waiting) == waiting:
                raise ClusterError(f"LeaseKeepAlive: {self.endpoint} left {waiting} renewals without an answer", {})

    async def _lease_time_to_live(
        self, lease_id: int, *, keys: bool = False, timeout: float | None = None
    ) -> values.LeaseStatus:
        message = wire.lease_message(rpc.LeaseTimeToLiveRequest, lease_id, keys=keys)
        answer = await self._ask("LeaseTimeToLive", message, timeout, repeat=True)
        return values.LeaseStatus(lease_id, answer.TTL, answer.grantedTTL, tuple(answer.keys))

    lease_time_to_live, alease_time_to_live = twins(_lease_time_to_live)

    async def _lease_list(self, *, timeout: float | None = None) -> tuple[int, ...]:
        answer = await self._ask("LeaseLeases", rpc.LeaseLeasesRequest(), timeout, repeat=True)
        return tuple(lease.ID for lease in answer.leases)

    lease_list, alease_list = twins(_lease_list)

    # watches ---------------------------------------------------------------------------------------------------------

    async def _watch(
        self, request: values.WatchRequest, sink: values.WatchSink, *, timeout: float | None = None
    ) -> values.WatchHandle:
        wire.watch_message(request, request.start_revision)  # its errors belong to the caller, not to the stream
        deadline = self._deadline(timeout)
        watch = EtcdWatch(request, sink, self._hub.forget)
        await self._hub.start(watch, deadline)
        return watch

    watch, awatch = twins(_watch)

    # administration --------------------------------------------------------------------------------------------------

    @property
    def auth(self) -> Auth:
        return Auth(self._ask_fields)

    @property
    def cluster(self) -> Cluster:
        return Cluster(self._ask_fields)

    @property
    def maintenance(self) -> Maintenance:
        return Maintenance(
            self._ask_fields,
            self._member_calls,
            threads=self._threads,
            deadline=self._deadline,
            timeout=self._timeout,
            encrypted=self._tls is not None,
        )
