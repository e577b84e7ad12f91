"""Whether the whole cluster is known to be away, so that nobody waits for it in vain.

A call that no endpoint could answer makes the thread ``etcdaero-outage`` ask each endpoint for something that a member
answers alone, at once: whether there is a leader, or a majority, does not matter. If none answers the cluster is known
to be away, until one does; the thread asks again and again. So a member that is frozen, an election, an overload or a
refusal for a moment are no outage, and the first call after one finds the cluster.

While the cluster is known to be away calls fail at once. Only one now and then waits a moment for an endpoint to
answer, so that who comes right after the end of an outage does not hear of it any more. And those of the package's own
threads are tried as ever: nobody waits for these, and whatever they do goes on as soon as it can.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import grpc

from django_etcdaero.exceptions import Cancelled, EtcdAeroError
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer
from django_etcdaero.keyvalue.etcd.connection.gate import Entry, Gate
from django_etcdaero.keyvalue.etcd.messages.calling import ChannelClosed
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.keyvalue.etcd.messages.faults import CallFault, classify, describe, unanswered
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Bell
from django_etcdaero.system.steps import Step
from django_etcdaero.system.threads import Background, in_background

_log = logging.getLogger("django_etcdaero.kv")

PROBE = rpc.RangeRequest(key=b"\0", keys_only=True, serializable=True)
"""What a member answers from what it has, without the others."""

_PATIENCE = 1.0
"""Seconds that an endpoint has to answer, and between two rounds of questions."""

_WAITED_EVERY = 5.0
"""Seconds between two calls that wait a moment for the end of an outage."""

_POLL = 0.01
"""Seconds between two looks of a task whether it is over."""

_AWAY = (CallFault.UNCONNECTED, CallFault.LATE)


class _Over(Step[bool]):
    """Wait until something is so, or a moment of ``time.monotonic``; the answer is whether it is."""

    __slots__ = ("_bell", "_condition", "_limit")

    def __init__(self, bell: Bell, condition: Callable[[], bool], limit: float) -> None:
        self._bell = bell
        self._condition = condition
        self._limit = limit

    def block(self) -> bool:
        return self._bell.wait_for(self._condition, self._limit - monotonic())

    async def suspend(self) -> bool:
        while not self._condition() and monotonic() < self._limit:
            await asyncio.sleep(_POLL)
        return self._condition()


class Outage:
    """Owner of the thread, which runs while it is in doubt whether the cluster is there, and while it is not."""

    def __init__(self, balancer: Balancer, gate: Gate) -> None:
        self._balancer = balancer
        self._gate = gate
        self._lock = threading.Lock()
        self._bell = Bell()
        self._running = False
        self._stopping = False
        self._suspected = 0.0
        self._waited = -math.inf
        self._calls: dict[Endpoint, Any] = {}
        self._errors: dict[str, str] = {}
        self._since: datetime | None = None

    @property
    def is_known(self) -> bool:
        """Whether the cluster is known to be away."""
        return self._since is not None

    async def check(self, method: str, deadline: float) -> None:
        """Raise ``ClusterError`` if the cluster is known to be away, except in the package's own threads. A protocol.

        ``deadline`` is that of the call, by ``time.monotonic``.
        """
        since = self._since
        if since is None or in_background():
            return
        now = monotonic()
        if self._waited < now - _WAITED_EVERY:
            self._waited = now
            if await _Over(self._bell, lambda: not self.is_known, min(deadline, now + _PATIENCE)):
                return
        raise unanswered(
            f"{method}: no endpoint has answered since {since:%Y-%m-%d %H:%M:%S} UTC: {self._told()}",
            self._errors,
            since=since,
        )

    def _told(self) -> str:
        return "; ".join(f"{name}: {text}" for name, text in sorted(dict(self._errors).items()))

    def suspect(self) -> None:
        """Be told that no endpoint could answer a call: find out whether any is there."""
        with self._lock:
            if not self._running and not self._stopping:
                self._running = True
                self._suspected = time.time()
                self._errors = {}
                Background(self._run, name="etcdaero-outage").start()

    def interrupt(self) -> None:
        """End the questions under way, before a fork."""
        for call in tuple(self._calls.values()):
            call.cancel()

    def stop(self) -> None:
        """End the thread, soon. The gate must be shut before."""
        self._stopping = True
        self.interrupt()
        self._bell.ring()

    # the thread ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                begun = monotonic()
                found = self._ask()
                if found:
                    if self._since is not None:
                        _log.warning("an endpoint answers again, after %.0f s", time.time() - self._suspected)
                    return
                if found is not None and self._since is None:
                    self._since = datetime.fromtimestamp(self._suspected, UTC)
                    _log.warning("no endpoint answers: %s", self._told())
                self._bell.wait_for(lambda: self._stopping, begun + _PATIENCE - monotonic())
        except Cancelled:
            pass  # the gate was shut
        finally:
            with self._lock:
                self._running = False
            self._since = None
            self._bell.ring()

    def _ask(self) -> bool | None:
        """Ask all endpoints at once; return whether one has answered, ``None`` if a fork came between."""
        entry = Entry(self._gate)
        entry.enter(None)
        try:
            for endpoint in self._balancer.endpoints:
                self._send(endpoint)
            calls = self._calls
            self._bell.wait_for(
                lambda: any(map(self._answered, calls.values())) or all(call.done() for call in calls.values()),
                2 * _PATIENCE,
            )
            answered = [endpoint for endpoint, call in calls.items() if self._answered(call)]
            if not answered and any(call.cancelled() for call in calls.values()):
                return None
            for endpoint, call in calls.items():
                if call.done() and self._since is None:
                    self._errors[str(endpoint)] = describe(call.code(), call.details() or "")
                call.cancel()
            for endpoint in answered:
                self._balancer.revive(endpoint)
            return bool(answered)
        finally:
            self._calls = {}
            entry.leave()

    def _send(self, endpoint: Endpoint) -> None:
        # Later the connection is waited for: gRPC before 1.80 makes none while no call waits.
        wait = self.is_known or None
        try:
            ask = self._balancer.open(endpoint).calls["Range"].future
            call = ask(PROBE, _PATIENCE, (), wait_for_ready=wait)
        except (grpc.RpcError, ChannelClosed, EtcdAeroError) as error:
            self._errors[str(endpoint)] = str(error)
            return
        self._calls[endpoint] = call
        call.add_done_callback(lambda _: self._bell.ring())

    def _answered(self, call: Any) -> bool:
        """Tell whether a member has answered. A connection that breaks is no answer once the cluster is away."""
        if not call.done() or call.cancelled():
            return False
        code, details = call.code(), call.details() or ""
        if code is grpc.StatusCode.OK:
            return True
        fault = classify(code, details)
        if fault is CallFault.LOST and self.is_known:
            return details.startswith("etcdserver: ")
        return fault not in _AWAY
