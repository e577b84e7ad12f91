"""What to do with each answer on the watch stream."""

from __future__ import annotations

import logging
from typing import Any

from django_etcdaero.exceptions import EtcdAeroError, PermissionDenied, Unauthenticated
from django_etcdaero.keyvalue.etcd.calls.unary import UnaryCalls
from django_etcdaero.keyvalue.etcd.connection.tokens import Tokens
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.keyvalue.values import WatchLost

from .sinks import SinkThread
from .stream import WatchStream
from .watching import EtcdWatch, lost

_log = logging.getLogger("django_etcdaero.kv")

_PROBE_TIMEOUT = 5.0


class Incoming:
    """Hands events on to sinks, or to their thread, and settles which watches go on and which have ended."""

    def __init__(self, sinks: SinkThread, calls: UnaryCalls, tokens: Tokens) -> None:
        self._sinks = sinks
        self._calls = calls
        self._tokens = tokens

    def take(self, stream: WatchStream, answer: Any, seen: int) -> EtcdWatch | None:
        """Process one answer; return the watch that has ended by it, if one has.

        ``seen`` is the highest revision that the store has shown so far.
        """
        watch = stream.watch_of(answer)
        if watch is None or (answer.canceled and watch.ended):
            return None
        if answer.canceled:
            return self._cancelled(stream, watch, answer, seen)
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

    def _cancelled(self, stream: WatchStream, watch: EtcdWatch, answer: Any, seen: int) -> EtcdWatch | None:
        if answer.compact_revision:
            why = WatchLost.COMPACTED
        elif self._tokens.needed and self._is_stale(stream, watch):
            stream.interrupt()  # opened again with the new token, it asks for this watch again
            return None
        else:
            _log.warning("the store refused a watch on %r: %s", watch.request.key, answer.cancel_reason)
            why = WatchLost.REFUSED
        self._sinks.submit(watch, lost(why, seen))
        watch.settled.set()
        return watch

    def _is_stale(self, stream: WatchStream, watch: EtcdWatch) -> bool:
        """Tell whether the watch was refused because of the stream's old token only.

        The server checks the token that the stream was opened with whenever a watch is asked for, and an expired one
        looks like a lack of permission. A read of the same range logs in again if it has to.
        """
        if stream.token == self._tokens.current:
            request = watch.request
            message = rpc.RangeRequest(key=request.key or b"\0", range_end=request.range_end, limit=1, keys_only=True)
            try:
                self._calls.run("Range", message, timeout=_PROBE_TIMEOUT, repeat=True)
            except (PermissionDenied, Unauthenticated):
                return False
            except EtcdAeroError as error:
                _log.info("whether a watch on %r is allowed could not be found out: %s", request.key, error)
                return True  # the next stream shows it
        return stream.token != self._tokens.current
