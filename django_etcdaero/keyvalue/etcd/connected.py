"""An engine's connection to its cluster: made at the first call, used by each, closed, and kept out of forks.

Processes and forks: nothing connects before the first call. When the process forks, calls under way are given a moment,
streams are ended and channels closed, and the parent goes on afterwards: watches resume by themselves, leases are the
store's and need no connection. A child never uses or closes what it inherited, and opens an engine of its own. The
environment variable ``GRPC_ENABLE_FORK_SUPPORT`` is best left alone, or set to ``1``; with ``0`` a busy process now and
then has a child that hangs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django_etcdaero.exceptions import Compacted, ConfigurationError, EtcdAeroError, PermissionDenied
from django_etcdaero.keyvalue.administration.asking import Fields
from django_etcdaero.keyvalue.engine import Engine, EngineInfo
from django_etcdaero.stores.credentials import Tls
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.stores.etcd import EtcdAddress, address_of
from django_etcdaero.system import forks
from django_etcdaero.system.call_limit import bounded_seconds
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.durations import check_seconds

from .administration.member_calls import MemberCalls
from .administration.sync import MemberSync
from .calls.outage import Outage
from .calls.unary import UnaryCalls
from .connection import grpc_forks
from .connection.balancer import Balancer
from .connection.gate import Gate
from .connection.interrupted import InterruptedChannels
from .connection.member import MemberClient
from .connection.tokens import Tokens
from .messages.classes import REQUESTS, rpc
from .messages.faults import first_key
from .watches.compacted import complete
from .watches.hub import WatchHub

_getpid = os.getpid

_CLOSE_TIMEOUT = 1.0
"""Seconds that closing waits for channels through which exceptions have gone."""

_inherited: list[Any] = []
"""What a fork has left here: kept for ever, because gRPC's objects must not be touched in a child, not even to free."""


class ConnectedEngine(Engine):
    """What an engine on etcd needs to make calls; the calls themselves are those of a subclass."""

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
        elif (user, password, tls, sync_members) != (None, None, None, None):
            raise ConfigurationError("an address says user, password, tls and sync_members itself")
        tls, credentials = cluster.tls, cluster.credentials
        self.info = EngineInfo("etcd", cluster.safe)
        self._tls = tls
        self._timeout = self.default_timeout = timeout
        self._pid = _getpid()
        self._gate = Gate(self.info.location)
        self._tokens = Tokens(*(credentials.user, credentials.password) if credentials else (None, None))
        self._balancer = Balancer(cluster.endpoints, self._connect)
        self._outage = Outage(self._balancer, self._gate)
        self._calls = UnaryCalls(self._balancer, self._tokens, self._gate, self._outage)
        self._hub = WatchHub(self._calls, self._balancer, self._tokens, self._gate)
        self._interrupted = InterruptedChannels(self._hub.leave)
        self._member_calls = MemberCalls(self._balancer, self._tokens, self._gate, threads=self._threads)
        self._sync: MemberSync | None = None
        if cluster.sync is not None:
            self._sync = MemberSync(
                self._ask_fields,
                self._member_calls,
                self._balancer,
                every=cluster.sync,
                timeout=timeout,
                encrypted=tls is not None,
            )
        forks.protect(self)

    def __repr__(self) -> str:
        return f"<EtcdEngine {self.info.location}>"

    def _connect(self, endpoint: Endpoint) -> MemberClient:
        member = MemberClient(endpoint, tls=self._tls, timeout=self._timeout, interrupted=self._leave)
        grpc_forks.arm()
        if self._sync is not None:
            self._sync.start()
        return member

    def _leave(self, member: MemberClient) -> None:
        """Have all calls made on another channel from now on. In the thread that was interrupted."""
        self._balancer.leave(member)
        self._interrupted.add(member)

    @property
    def endpoint(self) -> str:
        """The member in use, as ``host:port``."""
        return self._balancer.current

    def client(self) -> Any:
        """Return the ``etcd3.Etcd3Client`` of the member in use, for what the waist does not have.

        That is: ``members``, ``status()``, ``list_alarms()``, ``defragment()``, ``snapshot(file)`` and the like. It is
        closed with the engine, not by the caller, and its errors are its own. Its ``transaction()`` is sent as it is:
        one that only reads can end a server before etcd 3.5.5 when its time is over.
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
            self._outage.stop()
            self._stop_threads()
            self._hub.stop()
            with forks.postponed():
                self._balancer.drop()
                self._interrupted.stop()
                self._interrupted.close(_CLOSE_TIMEOUT)
            if self._sync is not None:
                self._sync.stop()

    def before_fork(self, timeout: float) -> None:
        deadline = monotonic() + timeout
        if not self._gate.close():
            return
        self._hub.interrupt()
        self._outage.interrupt()
        empty = self._gate.wait_empty(timeout * 0.75)
        self._balancer.drop()
        self._interrupted.close(max(0.0, deadline - monotonic()))
        if not empty:  # what was under way ends as cancelled now
            self._gate.wait_empty(max(0.0, deadline - monotonic()))

    def after_fork_in_parent(self) -> None:
        self._gate.open()

    def abandon(self) -> None:
        # No lock of the inherited objects is taken here: a thread of the parent may hold it for ever.
        _inherited.append((self._balancer, self._hub, self._calls, self._tokens, self._member_calls, self._sync))
        _inherited.append((self._interrupted, self._outage))
        self._gate = Gate(self.info.location)
        self._gate.shut()
        self._forget_threads()
        self._pid = _getpid()

    # ------------------------------------------------------------------------------------------------------------------

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
        try:
            return await self._calls.ask(method, message, deadline, repeat=repeat, leader=leader, done=done)
        except Compacted as error:
            refusal = error
        raise await self._completed(refusal, message, deadline) from refusal.__cause__

    async def _completed(self, refusal: Compacted, message: Any, deadline: float) -> Compacted:
        """Return the refusal of ``message`` with the oldest revision that can still be read. A protocol."""
        return await complete(refusal, self._hub, first_key(message) or b"\0", deadline)

    async def _ask_fields(self, method: str, fields: Fields, timeout: float | None, *, repeat: bool) -> Any:
        return await self._ask(method, REQUESTS[method](**fields), timeout, repeat=repeat)

    def _deadline(self, timeout: float | None) -> float:
        """Return when a call must end that begins now, by ``time.monotonic``; raise if no call may begin."""
        self._check_usable()
        return monotonic() + bounded_seconds(self._timeout if timeout is None else check_seconds("timeout", timeout))

    def _check_usable(self) -> None:
        if self._pid != _getpid() or self._gate.is_shut:
            raise self._refusal(self._pid)
