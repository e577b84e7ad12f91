"""One watch stream: the gRPC call, the requests sent on it, and which watch is meant by which number.

The numbers are ours. Those that a server gives away begin with 0, which it also uses in the refusal of a watch (etcd
3.5.1, without permission), and then takes the refusal to be about the watch 0 and never sends anything of it again.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from django_etcdaero.keyvalue.etcd.connection.balancer import Choice
from django_etcdaero.keyvalue.etcd.connection.member import MemberClient
from django_etcdaero.keyvalue.etcd.messages.classes import Metadata, rpc
from django_etcdaero.keyvalue.etcd.messages.wire import watch_message

from .watching import EtcdWatch


class WatchStream:
    """A stream that carries all watches of an engine. The server answers requests for watches in their order."""

    def __init__(self, choice: Choice, member: MemberClient, metadata: Metadata, token: str | None) -> None:
        self.choice = choice
        self.token = token
        """The token it was opened with."""
        self.interrupted = False
        """It was ended by this side."""
        self.heard = time.monotonic()
        """When something came in last."""
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked: deque[EtcdWatch] = deque()
        self._numbers = itertools.count(1)
        self._watches: dict[int, EtcdWatch] = {}
        self._ids: dict[EtcdWatch, int] = {}
        self._call = member.watch_stream(iter(self._requests.get, None), metadata=metadata)

    def ask(self, watch: EtcdWatch) -> None:
        """Ask for a watch from its next revision on."""
        with self._lock:
            watch_id = next(self._numbers)
            self._watches[watch_id] = watch
            self._ids[watch] = watch_id
            self._asked.append(watch)
            self._requests.put(watch_message(watch.request, watch.next_revision, watch_id))

    def cancel(self, watch: EtcdWatch) -> None:
        """Tell the server that a watch is not wanted any more."""
        with self._lock:
            watch_id = self._ids.pop(watch, None)
            if watch_id is not None:
                self._requests.put(rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=watch_id)))

    def answers(self) -> Iterator[Any]:
        """Return what the server sends. Raises ``grpc.RpcError`` when the stream ends, whichever side ends it."""
        return iter(self._call)

    def watch_of(self, answer: Any) -> EtcdWatch | None:
        """Return the watch that ``answer`` belongs to, ``None`` if it is not known (any more).

        Requests for watches are answered in their order; by number it could not be told, a refusal may have none.
        """
        with self._lock:
            if answer.created:
                watch = self._asked.popleft() if self._asked else None
            else:
                watch = self._watches.get(answer.watch_id)
            if answer.canceled and watch is not None:
                watch_id = self._ids.pop(watch, answer.watch_id)
                self._watches.pop(watch_id, None)
            return watch

    def interrupt(self) -> None:
        """End the stream, from any thread."""
        self.interrupted = True
        self.end()

    def end(self) -> None:
        """Let go of what gRPC holds for it. Idempotent."""
        self._call.cancel()
        self._requests.put(None)  # the end of the requests, for gRPC's thread that takes them
