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
from django_etcdaero.system import forks
from django_etcdaero.system.steps import adrive, drive
from django_etcdaero.system.twins import twins

from .administration import EtcdAuth, EtcdCluster, EtcdMaintenance, MemberSync
from .administration.direct import MemberCalls
from .calls import read_only
from .calls.unary import UnaryCalls
from .connection import grpc_forks
from .connection.address import Endpoint, Tls, parse_endpoints
from .connection.balancer import Balancer
from .connection.gate import Gate
from .connection.member import MemberClient
from .connection.renewals import Renewals
from .connection.tokens import Tokens
from .messages import wire
from .messages.classes import rpc
from .watches.hub import WatchHub
from .watches.watching import EtcdWatch

_getpid = os.getpid

_inherited: list[Any] = []
"""What a fork has left here: kept for ever, because gRPC's objects must not be touched in a child, not even to free."""


class EtcdEngine(Engine):
    """An etcd cluster, version 3.4 or later."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        timeout: float = 5.0,
        sync_members: float | None = None,
    ) -> None:
        """``endpoints`` are members of one cluster as ``host:port``; ``tls`` ``None`` means unencrypted.

        ``timeout`` (seconds) is the default of every call. ``sync_members``: every so many seconds (at least 1) the
        endpoints are made those of the cluster's members; ``None``: never. Does no I/O. Raises ``ConfigurationError``.
        """
        if sync_members is not None and not sync_members >= 1:
            raise ConfigurationError(f"sync_members must be at least 1 second, not {sync_members!r}")
        if (user is None) != (password is None):
            raise ConfigurationError("user and password are given together or not at all")
        members = parse_endpoints(endpoints)
        scheme = "etcd" if tls is None else "etcds"
        self.info = EngineInfo("etcd", f"{scheme}://{','.join(map(str, members))}")
        self._tls = tls
        self._timeout = self.default_timeout = timeout
        self._pid = _getpid()
        self._gate = Gate(self.info.location)
        self._tokens = Tokens(user, password)
        self._balancer = Balancer(members, self._connect)
        self._calls = UnaryCalls(self._balancer, self._tokens, self._gate)
        self._hub = WatchHub(self._calls, self._balancer, self._tokens, self._gate)
        self._member_calls = MemberCalls(self._calls, self._balancer, self._tokens, self._gate, threads=self._threads)
        self._sync: MemberSync | None = None
        if sync_members is not None:
            self._sync = MemberSync(
                self._ask,
                self._member_calls,
                self._balancer,
                every=sync_members,
                timeout=timeout,
                encrypted=tls is not None,
            )
        forks.protect(self)
        grpc_forks.protect(self)

    def __repr__(self) -> str:
        return f"<EtcdEngine {self.info.location}>"

    def _connect(self, endpoint: Endpoint) -> MemberClient:
        member = MemberClient(endpoint, tls=self._tls, timeout=self._timeout)
        grpc_forks.arm()
        if self._sync is not None:
            self._sync.start()
        return member

    # keys: the blocking forms of the commonest calls are written out, because they are a few per cent faster ----------

    def range(self, request: RangeRequest, *, timeout: float | None = None) -> RangeResult:
        message, leader = wire.range_message(request), not request.serializable
        return wire.range_result(self._call("Range", message, timeout, repeat=True, leader=leader))

    async def arange(self, request: RangeRequest, *, timeout: float | None = None) -> RangeResult:
        message, leader = wire.range_message(request), not request.serializable
        return wire.range_result(await adrive(self._ask("Range", message, timeout, repeat=True, leader=leader)))

    def put(self, request: PutRequest, *, timeout: float | None = None) -> PutResult:
        return wire.put_result(self._call("Put", wire.put_message(request), timeout, repeat=False))

    async def aput(self, request: PutRequest, *, timeout: float | None = None) -> PutResult:
        return wire.put_result(await adrive(self._ask("Put", wire.put_message(request), timeout, repeat=False)))

    def txn(self, request: TxnRequest, *, timeout: float | None = None) -> TxnResult:
        if wire.is_read_only(request):
            return drive(self._read(request, timeout))
        return wire.txn_result(self._call("Txn", wire.txn_message(request), timeout, repeat=False))

    async def atxn(self, request: TxnRequest, *, timeout: float | None = None) -> TxnResult:
        if wire.is_read_only(request):
            return await adrive(self._read(request, timeout))
        return wire.txn_result(await adrive(self._ask("Txn", wire.txn_message(request), timeout, repeat=False)))

    async def _read(self, request: TxnRequest, timeout: float | None) -> TxnResult:
        ask = partial(self._calls.ask, deadline=self._deadline(timeout), repeat=True)
        return await read_only.read(ask, request)

    async def _delete_range(self, request: DeleteRequest, *, timeout: float | None = None) -> DeleteResult:
        message = wire.delete_message(request)
        return wire.delete_result(await self._ask("DeleteRange", message, timeout, repeat=False))

    delete_range, adelete_range = twins(_delete_range)

    async def _compact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        await self._ask("Compact", wire.compaction_message(revision, physical), timeout, repeat=False)

    compact, acompact = twins(_compact)

    # leases ----------------------------------------------------------------------------------------------------------

    async def _lease_grant(self, ttl: int, *, lease_id: int = 0, timeout: float | None = None) -> LeaseStatus:
        # A grant whose answer was lost leaves a lease without keys behind, which nobody needs to find.
        message = wire.grant_message(ttl, lease_id)
        return wire.grant_result(await self._ask("LeaseGrant", message, timeout, repeat=lease_id == 0))

    lease_grant, alease_grant = twins(_lease_grant)

    async def _lease_revoke(self, lease_id: int, *, timeout: float | None = None) -> None:
        await self._ask("LeaseRevoke", wire.revoke_message(lease_id), timeout, repeat=True, done=LeaseNotFound)

    lease_revoke, alease_revoke = twins(_lease_revoke)

    async def _lease_keep_alive(self, lease_id: int, *, timeout: float | None = None) -> int:
        message = wire.keep_alive_message(lease_id)
        return wire.keep_alive_result(lease_id, await self._ask("LeaseKeepAlive", message, timeout, repeat=True))

    lease_keep_alive, alease_keep_alive = twins(_lease_keep_alive)

    def lease_keep_alive_many(
        self,
        lease_ids: Sequence[int],
        sink: RenewalSink,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout: float | None = None,
    ) -> None:
        renewals = Renewals(lease_ids, sink, clock)
        deadline = self._deadline(timeout)
        while waiting := len(renewals.waiting):
            self._call("LeaseKeepAliveMany", renewals, deadline - time.monotonic(), repeat=True)
            if len(renewals.waiting) == waiting:
                raise ClusterError(f"LeaseKeepAlive: {self.endpoint} left {waiting} renewals without an answer", {})

    async def _lease_time_to_live(
        self, lease_id: int, *, keys: bool = False, timeout: float | None = None
    ) -> LeaseStatus:
        message = wire.time_to_live_message(lease_id, keys)
        return wire.time_to_live_result(lease_id, await self._ask("LeaseTimeToLive", message, timeout, repeat=True))

    lease_time_to_live, alease_time_to_live = twins(_lease_time_to_live)

    async def _lease_list(self, *, timeout: float | None = None) -> tuple[int, ...]:
        return wire.leases_result(await self._ask("LeaseLeases", rpc.LeaseLeasesRequest(), timeout, repeat=True))

    lease_list, alease_list = twins(_lease_list)

    # watches ---------------------------------------------------------------------------------------------------------

    async def _watch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        wire.watch_message(request, request.start_revision)  # its errors belong to the caller, not to the stream
        deadline = self._deadline(timeout)
        watch = EtcdWatch(request, sink, self._hub.forget)
        await self._hub.start(watch, deadline)
        return watch

    watch, awatch = twins(_watch)

    # administration --------------------------------------------------------------------------------------------------

    @property
    def auth(self) -> EtcdAuth:
        return EtcdAuth(self._ask)

    @property
    def cluster(self) -> EtcdCluster:
        return EtcdCluster(self._ask)

    @property
    def maintenance(self) -> EtcdMaintenance:
        return EtcdMaintenance(
            self._ask,
            self._member_calls,
            self._balancer,
            threads=self._threads,
            deadline=self._deadline,
            timeout=self._timeout,
            encrypted=self._tls is not None,
        )

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
        self._check_usable()
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
        grpc_forks.wait_for_threads()

    def after_fork_in_parent(self) -> None:
        if not grpc_forks.in_progress():
            self._gate.open()

    def abandon(self) -> None:
        # No lock of the inherited objects is taken here: a thread of the parent may hold it for ever.
        _inherited.append((self._balancer, self._hub, self._calls, self._tokens, self._member_calls, self._sync))
        self._gate = Gate(self.info.location)
        self._gate.shut()
        self._forget_threads()
        self._pid = _getpid()

    # ------------------------------------------------------------------------------------------------------------------

    def _call(self, method: str, message: Any, timeout: float | None, repeat: bool, leader: bool = True) -> Any:
        """Return the answer to ``message``, blocking."""
        if self._pid != _getpid() or self._gate.is_shut:
            self._check_usable()
        seconds = self._timeout if timeout is None else check_seconds("timeout", timeout)
        return self._calls.run(method, message, seconds, repeat, leader)

    async def _ask(
        self,
        method: str,
        message: Any,
        timeout: float | None,
        *,
        repeat: bool,
        leader: bool = True,
        done: type[EtcdAeroError] | None = None,
    ) -> Any:
        """Return the answer to ``message``. A protocol."""
        deadline = self._deadline(timeout)
        return await self._calls.ask(method, message, deadline, repeat=repeat, leader=leader, done=done)

    def _deadline(self, timeout: float | None) -> float:
        """Return when a call must end that begins now, by ``time.monotonic``; raise if no call may begin."""
        self._check_usable()
        return time.monotonic() + (self._timeout if timeout is None else check_seconds("timeout", timeout))

    def _check_usable(self) -> None:
        if self._pid != _getpid():
            raise ConfigurationError(
                f"the engine on {self.info.location} was opened in process {self._pid} and is used in its fork "
                f"{_getpid()}: abandon it there and open another one"
            )
        if self._gate.is_shut:
            raise Cancelled(f"the engine on {self.info.location} was closed")
