"""One watch stream: the gRPC call, the requests sent on it, which watch is meant by which number, what answers mean.

The numbers are ours. Those that a server gives away begin with 0, which it also uses in the refusal of a watch (etcd
3.5.1, without permission), and then takes the refusal to be about the watch 0 and never sends anything of it again.
"""

from __future__ import annotations

import itertools
import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from django_etcdaero.exceptions import EtcdAeroError, PermissionDenied, Unauthenticated
from django_etcdaero.keyvalue.etcd.calls.unary import UnaryCalls
from django_etcdaero.keyvalue.etcd.connection.balancer import Choice
from django_etcdaero.keyvalue.etcd.connection.member import MemberClient
from django_etcdaero.keyvalue.etcd.connection.tokens import Tokens
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.keyvalue.etcd.messages.wire import watch_message
from django_etcdaero.keyvalue.values import WatchLost
from django_etcdaero.system.clocks import monotonic

from .sinks import SinkThread
from .watching import EtcdWatch, lost

_log = logging.getLogger("django_etcdaero.kv")

_PROBE_TIMEOUT = 5.0

_LONGEST_SILENCE = 5.0
"""Seconds without an answer to a request for a watch after which the member is left. It answers them one by one, at
once, whatever there is to tell of the watch; pings, which its gRPC answers by itself, do not show that it does."""


class WatchStream:
    """A stream that carries all watches of an engine. The server answers requests for watches in their order."""

    def __init__(
        self, choice: Choice, member: MemberClient, tokens: Tokens, *, calls: UnaryCalls, sinks: SinkThread
    ) -> None:
        """``sinks`` is given the events that are not delivered at once; ``calls`` are for second opinions."""
        self.choice = choice
        self.member = member
        self._tokens = tokens
        self._token = tokens.current
        """The token it was opened with."""
        self._calls = calls
        self._sinks = sinks
        self.interrupted = False
        """It was ended by this side."""
        self.heard = monotonic()
        """When something came in last."""
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked: deque[EtcdWatch] = deque()
        self._numbers = itertools.count(1)
        self._watches: dict[int, EtcdWatch] = {}
        self._ids: dict[EtcdWatch, int] = {}
        self._unanswered = 0
        """Requests for watches to which nothing was said yet."""
        self._call = member.watch_stream(self._sending(), metadata=tokens.metadata[True])

    def _sending(self) -> Iterator[Any]:
        """Return the requests as they come; in a thread of gRPC's."""
        for message, watch in iter(self._requests.get, None):
            if watch is not None:
                self._asked.append(watch)
            yield message

    def ask(self, watch: EtcdWatch) -> None:
        """Ask for a watch from its next revision on."""
        with self._lock:
            watch_id = next(self._numbers)
            self._watches[watch_id] = watch
            self._ids[watch] = watch_id
            self._unanswered += 1
            self._call.expect(_LONGEST_SILENCE)
            # The last step, and one: what comes after an exception of a signal handler must not be mixed up.
            self._requests.put((watch_message(watch.request, watch.next_revision, watch_id), watch))

    def cancel(self, watch: EtcdWatch) -> None:
        """Tell the server that a watch is not wanted any more."""
        with self._lock:
            watch_id = self._ids.pop(watch, None)
            if watch_id is not None:
                self._requests.put((rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=watch_id)), None))

    def answers(self) -> Iterator[Any]:
        """Yield what the server sends. Raises ``grpc.RpcError`` when the stream ends, whichever side ends it; with the
        code ``DEADLINE_EXCEEDED`` when nothing came for too long although something should.
        """
        for answer in self._call:
            yield answer
            with self._lock:  # whoever took the answer may have needed long
                self._call.expect(_LONGEST_SILENCE if self._unanswered else math.inf)

    def interrupt(self) -> None:
        """End the stream, from any thread."""
        self.interrupted = True
        self.end()

    def end(self) -> None:
        """Let go of what gRPC holds for it. Idempotent."""
        self._call.cancel()
        self._requests.put(None)  # the end of the requests, for gRPC's thread that takes them

    # answers ----------------------------------------------------------------------------------------------------------

    def take(self, answer: Any, seen: int) -> EtcdWatch | None:
        """Process one answer; return the watch that has ended by it, if one has.

        ``seen`` is the highest revision that the store has shown so far.
        """
        watch = self._watch_of(answer)
        if watch is None or (answer.canceled and watch.ended):
            return None
        if answer.canceled:
            return self._cancelled(watch, answer, seen)
        if answer.created:
            watch.accept(seen)
        else:
            batch = watch.receive(answer)
            if batch is None:
                return None
            # The end of a watch goes through that thread either way; after it nothing of the watch comes in here.
            if watch.prompt:
                watch.deliver(batch)
            else:
                self._sinks.submit(watch, batch)
        return None

    def _cancelled(self, watch: EtcdWatch, answer: Any, seen: int) -> EtcdWatch | None:
        if answer.compact_revision:
            why = WatchLost.COMPACTED
        elif self._tokens.needed and self._is_stale(watch):
            self.interrupt()  # opened again with the new token, it asks for this watch again
            return None
        else:
            _log.warning("the store refused a watch on %r: %s", watch.request.key, answer.cancel_reason)
            why = WatchLost.REFUSED
        self._sinks.submit(watch, lost(why, seen, answer.compact_revision))
        watch.settled.set()
        return watch

    def _is_stale(self, watch: EtcdWatch) -> bool:
        """Tell whether the watch was refused because of the stream's old token only.

        The server checks the token that the stream was opened with whenever a watch is asked for, and an expired one
        looks like a lack of permission. A read of the same range logs in again if it has to.
        """
        if self._token == self._tokens.current:
            request = watch.request
            message = rpc.RangeRequest(key=request.key or b"\0", range_end=request.range_end, limit=1, keys_only=True)
            try:
                self._calls.run("Range", message, timeout=_PROBE_TIMEOUT, repeat=True)
            except (PermissionDenied, Unauthenticated):
                return False
            except EtcdAeroError as error:
                _log.info("whether a watch on %r is allowed could not be found out: %s", request.key, error)
                return True  # the next stream shows it
        return self._token != self._tokens.current

    def _watch_of(self, answer: Any) -> EtcdWatch | None:
        """Return the watch that ``answer`` belongs to, ``None`` if it is not known (any more).

        Requests for watches are answered in their order; by number it could not be told, a refusal may have none.
        """
        with self._lock:
            if answer.created:
                watch = self._asked.popleft() if self._asked else None
                self._unanswered = max(0, self._unanswered - 1)
            else:
                watch = self._watches.get(answer.watch_id)
            if answer.canceled and watch is not None:
                watch_id = self._ids.pop(watch, answer.watch_id)
                self._watches.pop(watch_id, None)
            return watch
