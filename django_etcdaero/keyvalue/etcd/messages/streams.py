"""Calls of gRPC with many answers, whose reader does not rely on the thread of gRPC's that brings them.

Where that thread does not run (:mod:`django_etcdaero.keyvalue.etcd.messages.calling` tells why) gRPC's own iterator
never ends, not even when the call is cancelled. It waits on a condition, for a moment at a time: what is looked at here
each time.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import grpc

from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Condition

from .calling import GRACE, GuardedChannel, Unanswered, UnaryCall


class _Waiting(Condition):
    """The condition of one stream."""

    channel: GuardedChannel
    limit = math.inf
    """When gRPC must have told that the time is over, by ``time.monotonic``."""
    cancelled = False
    reader: int | None = None
    """The thread that reads; the other one that waits here, gRPC's own that sends, ends with the call."""

    def wait(self, timeout: float | None = None) -> bool:
        woken = super().wait(timeout)
        if not woken and threading.get_ident() == self.reader:
            if self.cancelled and self.channel.is_left:
                raise Unanswered(grpc.StatusCode.CANCELLED, "the channel was left")
            if monotonic() >= self.limit:
                raise self.channel.silent()
        return woken


class Stream:
    """The answers to a call, for one reader. Raises ``grpc.RpcError`` where there are no more of them."""

    def __init__(self, call: Any, timeout: float | None) -> None:
        """``timeout`` (seconds) is that of the call, ``None``: none."""
        self._call = call
        self._condition = call._state.condition
        self._condition.__class__ = _Waiting
        self._condition.channel = call.guarded
        if timeout is not None:
            self._condition.limit = monotonic() + timeout + GRACE

    def expect(self, seconds: float) -> None:
        """End it, with ``DEADLINE_EXCEEDED``, if ``seconds`` pass without another word from this method; infinity: any
        time may pass. From any thread.
        """
        if not self._condition.cancelled:
            self._condition.limit = monotonic() + seconds

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        self._condition.reader = threading.get_ident()
        return next(self._call)

    def cancel(self) -> None:
        """End it, from any thread."""
        self._condition.limit = min(self._condition.limit, monotonic() + GRACE)
        self._condition.cancelled = True
        self._call.cancel()


class StreamCall(UnaryCall):
    """A call of gRPC with many answers: a :class:`Stream` of them."""

    __slots__ = ()

    def __call__(self, message: Any, timeout: float | None = None, metadata: Any = None, **options: Any) -> Any:
        return Stream(self._start(self._call, message, timeout, metadata, options), timeout)
