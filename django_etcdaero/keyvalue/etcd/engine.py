"""The engine: each operation of the waist as one call to an etcd cluster.

Processes and forks: nothing connects before the first call. When the process forks, calls under way are given a moment,
streams are ended and channels closed, and the parent goes on afterwards: watches resume by themselves, leases are the
store's and need no connection. A child never uses or closes what it inherited, and opens an engine of its own. The
environment variable ``GRPC_ENABLE_FORK_SUPPORT`` is best left alone, or set to ``1``; with ``0`` a busy process now and
then has a child that hangs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    ConfigurationError,
    EtcdAeroError,
    LeaseNotFound,
    PermissionDenied,
)
from django_etcdaero.keyvalue.arguments import check_seconds
from django_etcdaero.keyvalue.engine import Engine, EngineInfo
from django_etcdaero.keyvalue.values import (
    DeleteRequest,
    DeleteResult,
    LeaseStatus,
    PutRequest,
    PutResult,
    RangeRequest,
    RangeResult,
    RenewalSink,
    TxnRequest,
    TxnResult,
    WatchHandle,
    WatchRequest,
    WatchSink,
)
from django_etcdaero.stores.credentials import Tls
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.stores.etcd import EtcdAddress, address_of
from django_etcdaero.system import forks
from django_etcdaero.system.steps import Step, drive

from .administration import EtcdAuth, EtcdCluster, EtcdMaintenance, MemberSync
from .administration.direct import Direct
from .calls import read_only
from .calls.awaited import AwaitedCalls
from .calls.renewals import Renewals
from .calls.unary import Calls
from .calls.waiting import AwaitingWay
from .connection import grpc_forks as quiescence
from .connection.balancer import Balancer
from .connection.gate import Gate
from .connection.member import Member
from .connection.tokens import Tokens
from .messages import wire
from .messages.classes import rpc
from .watches.hub import WatchHub
from .watches.watching import EtcdWatch

_getpid = os.getpid

_inherited: list[Any] = []
"""What a fork has left here: kept for ever, because gRPC's objects must not be touched in a child, not even to free."""


class _Asking(Step[Any]):
    """One call of several that have a deadline together."""

    __slots__ = ("_deadline", "_engine", "_leader", "_message", "_method")

    def __init__(self, engine: EtcdEngine, deadline: float, method: str, message: Any, leader: bool) -> None:
        self._engine = engine
        self._deadline = deadline
        self._method = method
        self._message = message
        self._leader = leader

    def block(self) -> Any:
        left = self._deadline - time.monotonic()
        return self._engine._call(self._method, self._message, left, repeat=True, leader=self._leader)

    async def suspend(self) -> Any:
        left = self._deadline - time.monotonic()
        return await self._engine._acall(self._method, self._message, left, repeat=True, leader=self._leader)


class EtcdEngine(AwaitedCalls, Engine):
    """An etcd cluster, version 3.4 or later."""

    def __init__(
        self,
        cluster: EtcdAddress | Sequence[str],
        *,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        timeout: float = 5.0,
        sync_members: float | None = None,
    ) -> None:
        """``cluster`` is an address, which says all but ``timeout``, or members of one cluster as ``host:port``.

        ``timeout`` (seconds) is the default of every call; ``tls`` ``None`` means unencrypted. ``sync_members``: every
        so many seconds (at least 1) the endpoints are made those of the cluster's members; ``None``: never. Does no
        I/O. Raises ``ConfigurationError``.
        """
        if not isinstance(cluster, EtcdAddress):
            cluster = address_of(cluster, user=user, password=password, tls=tls, sync_members=sync_members)
        tls, credentials = cluster.tls, cluster.credentials
        self.info = EngineInfo("etcd", cluster.safe)
        self._tls = tls
        self._timeout = self.default_timeout = timeout
        self._pid = _getpid()
        self._gate = Gate(self.info.location)
        self._tokens = Tokens(*(credentials.user, credentials.password) if credentials else (None, None))
        self._balancer = Balancer(cluster.endpoints, self._connect)
        self._calls = Calls(self._balancer, self._tokens, self._gate)
        self._hub = WatchHub(self._calls, self._balancer, self._tokens, self._gate)
        self._direct = Direct(self._calls, self._balancer, self._tokens, self._gate)
        self._sync: MemberSync | None = None
        if cluster.sync is not None:
            self._sync = MemberSync(
                self._call,
                self._direct,
                self._balancer,
                every=cluster.sync,
                timeout=timeout,
                encrypted=tls is not None,
            )
        forks.protect(self)
        quiescence.protect(self)

    def __repr__(self) -> str:
        return f"<EtcdEngine {self.info.location}>"

    def _connect(self, endpoint: Endpoint) -> Member:
        member = Member(endpoint, tls=self._tls, timeout=self._timeout)
        quiescence.arm()
        if self._sync is not None:
            self._sync.start()
        return member

    # keys ------------------------------------------------------------------------------------------------------------

    def range(self, request: RangeRequest, *, timeout: float | None = None) -> RangeResult:
        message, leader = wire.range_message(request), not request.serializable
        return wire.range_result(self._call("Range", message, timeout, repeat=True, leader=leader))

    def put(self, request: PutRequest, *, timeout: float | None = None) -> PutResult:
        return wire.put_result(self._call("Put", wire.put_message(request), timeout, repeat=False))

    def delete_range(self, request: DeleteRequest, *, timeout: float | None = None) -> DeleteResult:
        return wire.delete_result(self._call("DeleteRange", wire.delete_message(request), timeout, repeat=False))

    def txn(self, request: TxnRequest, *, timeout: float | None = None) -> TxnResult:
        only_reads = wire.is_read_only(request)
        if only_reads and read_only.ends_with_its_caller(request):
            return drive(self._read(request, timeout))
        return wire.txn_result(self._call("Txn", wire.txn_message(request), timeout, repeat=only_reads))

    def compact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        self._call("Compact", wire.compaction_message(revision, physical), timeout, repeat=False)

    # leases ----------------------------------------------------------------------------------------------------------

    def lease_grant(self, ttl: int, *, lease_id: int = 0, timeout: float | None = None) -> LeaseStatus:
        # A grant whose answer was lost leaves a lease without keys behind, which nobody needs to find.
        message = wire.grant_message(ttl, lease_id)
        return wire.grant_result(self._call("LeaseGrant", message, timeout, repeat=lease_id == 0))

    def lease_revoke(self, lease_id: int, *, timeout: float | None = None) -> None:
        self._call("LeaseRevoke", wire.revoke_message(lease_id), timeout, repeat=True, done=LeaseNotFound)

    def lease_keep_alive(self, lease_id: int, *, timeout: float | None = None) -> int:
        message = wire.keep_alive_message(lease_id)
        return wire.keep_alive_result(lease_id, self._call("LeaseKeepAlive", message, timeout, repeat=True))

    def lease_keep_alive_many(
        self,
        lease_ids: Sequence[int],
        sink: RenewalSink,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout: float | None = None,
    ) -> None:
        renewals = Renewals(lease_ids, sink, clock)
        deadline = time.monotonic() + (self._timeout if timeout is None else check_seconds("timeout", timeout))
        while waiting := len(renewals.waiting):
            self._call("LeaseKeepAliveMany", renewals, deadline - time.monotonic(), repeat=True)
            if len(renewals.waiting) == waiting:
                raise ClusterError(f"LeaseKeepAlive: {self.endpoint} left {waiting} renewals without an answer", {})

    def lease_time_to_live(self, lease_id: int, *, keys: bool = False, timeout: float | None = None) -> LeaseStatus:
        message = wire.time_to_live_message(lease_id, keys)
        return wire.time_to_live_result(lease_id, self._call("LeaseTimeToLive", message, timeout, repeat=True))

    def lease_list(self, *, timeout: float | None = None) -> tuple[int, ...]:
        return wire.leases_result(self._call("LeaseLeases", rpc.LeaseLeasesRequest(), timeout, repeat=True))

    # watches ---------------------------------------------------------------------------------------------------------

    def watch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        watch = self._make_watch(request, sink)
        self._hub.add(watch, timeout=self._timeout if timeout is None else check_seconds("timeout", timeout))
        return watch

    # administration --------------------------------------------------------------------------------------------------

    @property
    def auth(self) -> EtcdAuth:
        return EtcdAuth(self._call)

    @property
    def cluster(self) -> EtcdCluster:
        return EtcdCluster(self._call)

    @property
    def maintenance(self) -> EtcdMaintenance:
        return EtcdMaintenance(
            self._call,
            self._reach_members,
            self._balancer,
            timeout=self._timeout,
            encrypted=self._tls is not None,
        )

    def _reach_members(self) -> Direct:
        if self._pid != _getpid() or self._gate.is_shut:
            self._refuse()
        return self._direct

    # life ------------------------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The member in use, as ``host:port``."""
        return self._balancer.current

    def client(self) -> Any:
        """Return the ``etcd3.Etcd3Client`` of the member in use, for what the waist does not have.

        That is: ``members``, ``status()``, ``list_alarms()``, ``defragment()``, ``snapshot(file)`` and the like. It is
        closed with the engine, not by the caller, and its errors are its own.
        """
        if self._pid != _getpid() or self._gate.is_shut:
            self._refuse()
        _, member = self._balancer.pick()
        if self._tokens.needed:
            with suppress(PermissionDenied):  # logged in all the same
                self._calls.run("Range", rpc.RangeRequest(key=b"\0"), timeout=self._timeout, repeat=True)
            member.metadata = self._tokens.metadata[False]
        return member

    def close(self) -> None:
        if self._pid != _getpid():
            self.abandon()
            return
        if self._gate.shut():
            self._stop_threads()
            self._hub.stop()
            self._balancer.drop()
            if self._sync is not None:
                self._sync.stop()

    def before_fork(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        if not self._gate.close():
            return
        self._hub.interrupt()
        empty = self._gate.wait_empty(timeout * 0.75)
        self._balancer.drop()
        if not empty:  # what was under way ends as cancelled now
            self._gate.wait_empty(max(0.0, deadline - time.monotonic()))
        quiescence.wait_for_threads()

    def after_fork_in_parent(self) -> None:
        if not quiescence.in_progress():
            self._gate.open()

    def abandon(self) -> None:
        # No lock of the inherited objects is taken here: a thread of the parent may hold it for ever.
        _inherited.append((self._balancer, self._hub, self._calls, self._tokens, self._direct, self._sync))
        self._gate = Gate(self.info.location)
        self._gate.shut()
        self._forget_threads()
        self._pid = _getpid()

    # ------------------------------------------------------------------------------------------------------------------

    async def _read(self, request: TxnRequest, timeout: float | None) -> TxnResult:
        deadline = time.monotonic() + (self._timeout if timeout is None else check_seconds("timeout", timeout))
        return await read_only.read(partial(_Asking, self, deadline), request)

    def _call(
        self,
        method: str,
        message: Any,
        timeout: float | None,
        repeat: bool,
        leader: bool = True,
        done: type[EtcdAeroError] | None = None,
    ) -> Any:
        if self._pid != _getpid() or self._gate.is_shut:
            self._refuse()
        seconds = self._timeout if timeout is None else check_seconds("timeout", timeout)
        return self._calls.run(method, message, seconds, repeat, leader, done)

    async def _acall(self, method: str, message: Any, timeout: float | None, **options: Any) -> Any:
        seconds = self._timeout if timeout is None else check_seconds("timeout", timeout)
        return await self._calls.arun(self._way(), method, message, timeout=seconds, **options)

    async def _awatch(self, request: WatchRequest, sink: WatchSink, timeout: float | None) -> WatchHandle:
        watch = self._make_watch(request, sink)
        seconds = self._timeout if timeout is None else check_seconds("timeout", timeout)
        await self._hub.aadd(self._way(), watch, timeout=seconds)
        return watch

    def _way(self) -> AwaitingWay:
        if self._pid != _getpid() or self._gate.is_shut:
            self._refuse()
        return AwaitingWay(self._gate, self._threads())

    def _make_watch(self, request: WatchRequest, sink: WatchSink) -> EtcdWatch:
        wire.watch_message(request, request.start_revision)  # its errors belong to the caller, not to the stream
        if self._pid != _getpid() or self._gate.is_shut:
            self._refuse()
        return EtcdWatch(request, sink, self._hub.forget)

    def _refuse(self) -> None:
        if self._pid != _getpid():
            raise ConfigurationError(
                f"the engine on {self.info.location} was opened in process {self._pid} and is used in its fork "
                f"{_getpid()}: abandon it there and open another one"
            )
        raise Cancelled(f"the engine on {self.info.location} was closed")
