"""All watches of an engine on one stream, kept up whatever happens to connections and members.

The thread ``etcdaero-watch`` connects, asks for all watches from where each of them has got to, and reads answers until
the stream breaks; then it begins again. Before a stream is opened a read that needs the cluster's majority shows which
store it is and how far it has got. A cluster that answers with another id, a revision below one already seen, or an
older raft term has been wiped, replaced or restored: watches would be silent there for ever, or go on in a history that
is not theirs, so they end as ``RESET``. (The header of the stream itself would not do: a member may lag behind.)
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass

import grpc

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    EtcdAeroError,
    PermissionDenied,
    Unauthenticated,
)
from django_etcdaero.keyvalue.etcd.calls.retries import FIRST_TRY
from django_etcdaero.keyvalue.etcd.calls.unary import UnaryCalls
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer
from django_etcdaero.keyvalue.etcd.connection.gate import Entry, Gate
from django_etcdaero.keyvalue.etcd.connection.member import MemberClient
from django_etcdaero.keyvalue.etcd.connection.tokens import Tokens
from django_etcdaero.keyvalue.etcd.messages.calling import ChannelClosed
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.keyvalue.etcd.messages.faults import describe, unanswered
from django_etcdaero.keyvalue.values import WatchLost
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Condition
from django_etcdaero.system.threads import Background

from .sinks import SinkThread
from .stream import WatchStream
from .watching import EtcdWatch, Settled, lost

_log = logging.getLogger("django_etcdaero.kv")

_JOIN_TIMEOUT = 5.0
_LONGEST_PAUSE = 5.0
_IDENTIFY_TIMEOUT = 5.0

_LOOKS = 3
_LOOK_PAUSE = 0.05
"""So often, seconds apart, a store is looked at that is less far than it was."""


@dataclass(slots=True)
class _Store:
    """Which store answers, and how far it has got."""

    cluster_id: int
    raft_term: int
    revision: int

    def continues(self, known: _Store) -> bool:
        """Tell whether it is the store that was ``known`` before."""
        return (
            self.cluster_id == known.cluster_id
            and self.raft_term >= known.raft_term
            and self.revision >= known.revision
        )


class WatchHub:
    """Owner of the thread ``etcdaero-watch``, which runs from the first watch until :meth:`stop`."""

    def __init__(self, calls: UnaryCalls, balancer: Balancer, tokens: Tokens, gate: Gate) -> None:
        self._calls = calls
        self._balancer = balancer
        self._tokens = tokens
        self._gate = gate
        self._sinks = SinkThread()
        self._changed = Condition()
        self._watches: dict[EtcdWatch, None] = {}  # in the order in which they were asked for
        self._stream: WatchStream | None = None
        self._thread = Background(self._run, name="etcdaero-watch")
        self._stopping = False
        self._store: _Store | None = None
        self._trouble: EtcdAeroError | None = None
        """What kept the last stream from being opened."""
        self._failures = 0
        """Streams in a row that broke or could not be opened."""

    async def start(self, watch: EtcdWatch, deadline: float) -> None:
        """Take over ``watch`` and return when the store has accepted or refused it. A protocol.

        Whoever gives up waiting cancels the watch. Raises ``ClusterError``, ``DeadlineExceeded``, ``Unauthenticated``,
        ``ConfigurationError`` and ``Cancelled``.
        """
        with self._changed:
            if self._stopping:
                raise Cancelled("the engine was closed")
            if watch.inverted:
                self._sinks.submit(watch, lost(WatchLost.REFUSED, 0))
                return
            self._watches[watch] = None
            if self._stream is not None:
                self._stream.ask(watch)
            self._thread.start()
            self._changed.notify_all()
        patience = FIRST_TRY
        try:
            while not await Settled(watch.settled, max(0.0, min(patience, deadline - monotonic()))):
                if monotonic() >= deadline:
                    raise self._unaccepted()
                self._suspect()
                patience *= 2
        except BaseException:
            watch.cancel()
            raise
        if watch.error is not None:
            self.forget(watch)
            raise watch.error

    def forget(self, watch: EtcdWatch) -> None:
        """Keep a watch up no longer."""
        with self._changed:
            self._watches.pop(watch, None)
            stream = self._stream
        if stream is not None:
            stream.cancel(watch)

    def interrupt(self) -> None:
        """End the stream, from outside; it is opened again as soon as the gate allows."""
        with self._changed:
            stream = self._stream
        if stream is not None:
            stream.interrupt()

    def leave(self, member: MemberClient) -> None:
        """End the stream if it is on ``member``; it is opened again on another channel, and nothing is missed."""
        with self._changed:
            stream = self._stream
        if stream is not None and stream.member is member:
            stream.interrupt()

    def stop(self) -> None:
        """End all watches as ``CLOSED`` and join the threads, within some seconds. The gate must be shut before."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self.interrupt()
        self._thread.join(_JOIN_TIMEOUT)
        with self._changed:
            watches, self._watches = tuple(self._watches), {}
        for watch in watches:
            self._sinks.submit(watch, lost(WatchLost.CLOSED, watch.next_revision - 1))
            watch.error = watch.error or (None if watch.established else Cancelled("the engine was closed"))
            watch.settled.set()
        self._sinks.stop()

    # the thread ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._wait_for_watches():
            try:
                if self._serve():
                    continue
                self._failures += 1
            except Cancelled:
                return  # the gate was shut
            except EtcdAeroError as error:
                self._failures += 1
                self._report(error)
            except Exception:
                self._failures += 1
                _log.exception("the watch stream failed; it is opened again")
            self._pause()

    def _wait_for_watches(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._watches or self._stopping)
            return not self._stopping

    def _serve(self) -> bool:
        """Open a stream and read it until it ends; return whether it was this side that ended it."""
        self._identify()
        entry = Entry(self._gate)
        entry.enter(None)
        stream: WatchStream | None = None
        try:
            choice, member = self._balancer.pick()
            stream = WatchStream(choice, member, self._tokens, calls=self._calls, sinks=self._sinks)
            with self._changed:
                self._stream, self._trouble = stream, None
                if not self._gate.is_open or member.interrupted:  # who would have interrupted it has found no stream
                    return True
                for watch in self._watches:
                    stream.ask(watch)
            for answer in stream.answers():
                self._failures = 0
                stream.heard = monotonic()
                ended = stream.take(answer, self._seen(answer.header.revision))
                if ended is not None:
                    self.forget(ended)
                while not self._sinks.wait_for_room(0.5) and not stream.interrupted:
                    pass
            return stream.interrupted
        except grpc.RpcError as error:
            assert stream is not None
            # It has no deadline but the one for its silence, after which the channel was left: an interruption, too.
            if stream.interrupted and error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                return True
            self._balancer.failed(stream.choice)
            text = describe(error.code(), error.details() or "")
            _log.info("the watch stream to %s broke, it is opened again: %s", stream.choice.name, text)
            return False
        except (ChannelClosed, ValueError):  # the channel was closed in another thread
            return True
        finally:
            with self._changed:
                self._stream = None
            if stream is not None:
                stream.end()
            entry.leave()

    def _identify(self) -> None:
        """Find out which store there is now, and end all watches if it is not the one they were on."""
        known = self._store
        for _ in range(_LOOKS):
            try:
                found = self._look()
            except PermissionDenied:
                return  # the answer to the watch itself tells its owner
            if known is None or found.continues(known):
                break
            # An event may be here before the write that made it has ended, and reads do not show that one yet.
            time.sleep(_LOOK_PAUSE)
        self._store = found
        if known is None or found.continues(known):
            return
        _log.warning(
            "the etcd store was wiped, replaced or restored (revision %d, was %d)", found.revision, known.revision
        )
        with self._changed:
            gone = [watch for watch in self._watches if watch.established]
        for watch in gone:
            self.forget(watch)
            self._sinks.submit(watch, lost(WatchLost.RESET, found.revision))

    def _look(self) -> _Store:
        """Read what store there is. Raises ``PermissionDenied``, and what other reads raise."""
        with self._changed:
            key = next((watch.request.key for watch in self._watches if watch.established), None)
            key = key if key is not None else next((watch.request.key for watch in self._watches), b"")
        message = rpc.RangeRequest(key=key or b"\0", keys_only=True)
        header = self._calls.run("Range", message, timeout=_IDENTIFY_TIMEOUT, repeat=True).header
        return _Store(header.cluster_id, header.raft_term, header.revision)

    def _seen(self, revision: int) -> int:
        """Return the highest revision that the store has shown, ``revision`` included."""
        if self._store is None:
            return revision
        if revision > self._store.revision:
            self._store.revision = revision
        return self._store.revision

    def _report(self, error: EtcdAeroError) -> None:
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        _log.log(level, "watches wait for the cluster (try %d): %s", self._failures, error)
        self._trouble = error
        if not isinstance(error, Unauthenticated | ConfigurationError):
            return
        with self._changed:
            waiting = [watch for watch in self._watches if not watch.established]
        for watch in waiting:
            watch.error = error
            watch.settled.set()

    def _unaccepted(self) -> EtcdAeroError:
        trouble = self._trouble
        if isinstance(trouble, ClusterError):
            return unanswered(f"no endpoint accepted the watch: {trouble}", trouble.errors)
        asked = ", ".join(map(str, self._balancer.endpoints))
        return DeadlineExceeded(f"no endpoint accepted the watch in time: {trouble or asked}")

    def _pause(self) -> None:
        seconds = min(_LONGEST_PAUSE, 0.05 * 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, seconds)

    def _suspect(self) -> None:
        """Leave the member on whose stream nothing has been heard although it was asked for a watch."""
        with self._changed:
            stream = self._stream
        if stream is not None and monotonic() - stream.heard >= FIRST_TRY:
            self._balancer.failed(stream.choice)
            stream.interrupt()
