"""Renewing many leases: all requests go out on one stream at once, and the answers are taken as they come.

A stream lasts for one round of renewals. Our side is done as soon as the last request is sent, which the server takes
as the end of the stream after it has answered. So there is nothing to look after between two rounds, and a round is
bounded, repeated and failed over like any other call: what was answered before a stream broke counts, and the next try
asks for the rest.

Servers work a stream off in order, and wait with a lease that is about to end until it has (3.5). A try therefore
takes half of its time at most, and the lease it ended at is asked for after all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc

from django_etcdaero.keyvalue.etcd.messages.classes import Metadata, keep_alive_once, keep_alive_stream, rpc
from django_etcdaero.keyvalue.etcd.messages.faults import CallFault, classify
from django_etcdaero.keyvalue.etcd.messages.wire import lease_message
from django_etcdaero.keyvalue.values import Renewal, RenewalSink


class Renewals:
    """The leases that one call is to renew, fewer with each answer; the same object in all tries."""

    def __init__(self, lease_ids: Iterable[int], sink: RenewalSink, clock: Callable[[], float]) -> None:
        """Raises ``InvalidRequest`` for an id that is none."""
        self.clock = clock
        self.waiting = {each: lease_message(rpc.LeaseKeepAliveRequest, each) for each in lease_ids}
        """The requests without an answer so far, by the ids of their leases, in the order to send them."""
        self._sink = sink

    def take(self, answer: Any, sent: dict[int, float]) -> None:
        """Hand an answer on. ``sent``: when each request was sent."""
        if self.waiting.pop(answer.ID, None) is not None:
            self._sink(Renewal(answer.ID, max(0, answer.TTL), sent[answer.ID]))

    def defer_first(self) -> None:
        """Ask last for the lease that would be asked for first."""
        for lease_id in self.waiting:
            self.waiting[lease_id] = self.waiting.pop(lease_id)
            return


class KeepAliveMany:
    """``LeaseKeepAlive`` of one channel, called as a unary call is, with :class:`Renewals` as the message."""

    def __init__(self, channel: Any) -> None:
        self._once = keep_alive_once(channel)
        self._stream = keep_alive_stream(channel)

    def __call__(self, renewals: Renewals, timeout: float, metadata: Metadata) -> None:
        """Ask once for each lease that waits. Some may still do so afterwards, if others were answered.

        Raises ``grpc.RpcError``, and ``ChannelClosed``.
        """
        asked = tuple(renewals.waiting.items())
        sent: dict[int, float] = {}

        def requests() -> Iterator[Any]:  # in a thread of gRPC's
            for lease_id, message in asked:
                sent[lease_id] = renewals.clock()
                yield message

        if len(asked) == 1:  # the usual case: no thread to send from
            only = self._once(next(requests()), timeout, metadata)
            if only is not None:  # gRPC's result when the server has said nothing but that it is done
                renewals.take(only, sent)
            return
        stream = self._stream(requests(), timeout / 2, metadata)
        try:
            for answer in stream:
                renewals.take(answer, sent)
                if not renewals.waiting:
                    return
        except grpc.RpcError as error:
            late = (
                classify(error.code(), error.details() or "") is CallFault.LATE
            )  # a follower may say so before gRPC does
            if not late or len(renewals.waiting) == len(asked):
                raise
        finally:
            stream.cancel()
            renewals.defer_first()
