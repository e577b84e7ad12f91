"""Following who leads an election, whether one takes part in it or not.

The first event tells how things are: :class:`~.holder.Elected` if the election's own candidate leads, else
:class:`~.holder.Changed` with the leader or ``None``. After that each change is one event. What the own candidate wins
and loses is known to its process before the store tells, and even when the store is away: a
:class:`~.holder.Lost` comes at once, the ``Changed`` with the next leader (or another ``Elected``) when the store shows
it.

It reads who is first in the queue and then watches that contender's key only, so that the coming and going of others in
the queue wakes no observer. Leaders that follow each other faster than they can be looked at may be left out, as may be
values of which a newer one is known before they were consumed.
"""

from __future__ import annotations

import enum
import weakref
from collections.abc import Callable

from django_etcdaero.exceptions import Cancelled, EtcdAeroError, PermissionDenied
from django_etcdaero.keyvalue.arguments import check_function
from django_etcdaero.keyvalue.client.background import TRANSIENT, backoff, logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.items import Inbox
from django_etcdaero.keyvalue.client.open_watches import Followed, Use
from django_etcdaero.keyvalue.keys import prefix_end
from django_etcdaero.keyvalue.values import EventType, WatchBatch, WatchHandle, WatchLost, WatchRequest
from django_etcdaero.system.steps import drive

from .candidate import Candidate
from .holder import Changed, Elected, ElectionEvent, Leader, Lost, Proclaimed
from .layout import contenders, keys_of
from .reading import read_line

_READ_TIMEOUT = 3.0


class _Untold(enum.Enum):
    UNTOLD = enum.auto()


_UNTOLD = _Untold.UNTOLD


async def look(client: Client, name: bytes, timeout: float | None) -> tuple[Leader | None, int]:
    """Read who is first in the queue for ``name``; return the leader, ``None`` if there is none, and the revision."""
    in_line, revision = await read_line(client, name, 1, lambda: timeout)
    return (Leader.read(in_line[0]) if in_line else None), revision


class _Sink:
    """Takes the batches of one watch to the observation, without keeping a forgotten iterator alive."""

    def __init__(self, observation: Observation, number: int, leader: Leader | None) -> None:
        self.number = number
        self.key = None if leader is None else leader.key
        """Who is watched; ``None``: the whole queue, for the first to come."""
        self.handle: WatchHandle | None = None
        self._observation = weakref.ref(observation)
        self._kept = observation if observation.called_back else None

    def __call__(self, batch: WatchBatch) -> None:
        observation = self._observation()
        if observation is not None:
            observation.feed(self, batch)
        elif self.handle is not None:
            self.handle.cancel()


class Observation(Inbox[ElectionEvent]):
    """A running observation; made with
    :meth:`Election.observe() <django_etcdaero.keyvalue.queue.election.Election.observe>`.

    Iterate over it, from one thread with ``for`` or from one task with ``async for``, or give a callback. It ends by
    :meth:`cancel`, the end of its ``with`` block, or the closing of the client or the store; the iteration then stops.
    """

    def __init__(self, client: Client, election: Candidate, callback: Callable[[ElectionEvent], object] | None) -> None:
        if callback is not None:
            check_function("callback", callback)
        super().__init__(client)
        self._client = client
        self._election = election
        self._callback = callback
        self._followed = Followed(Use.OBSERVER, election.name)
        self._told: Leader | _Untold | None = _UNTOLD
        self._mine = False  # what was told last is that the own candidate leads
        self._handle: WatchHandle | None = None
        self._number = 0  # of the watch whose batches count
        self._failures = 0
        self.called_back = callback is not None
        leading = election.follow(self)
        if leading is not None:
            self.elected(leading)
        client.life.keep_watch(self)
        client.chores.submit(self._look)

    def __repr__(self) -> str:
        return f"<Observation of {self._election.label!r}{' ended' if self.closed else ''}>"

    # being told by the own candidate ---------------------------------------------------------------------------------

    def elected(self, leader: Leader) -> None:
        """Be told that the own candidate leads now."""
        with self._changed.lock:
            if not (self._mine and leader.same_as(self._told)):
                self._mine, self._told = True, leader
                self._emit(Elected(leader))

    def lost(self, leader: Leader) -> None:
        """Be told that the own candidate, which led as ``leader``, does not any more."""
        with self._changed.lock:
            told = self._told
            if self._mine and isinstance(told, Leader) and told.same_as(leader):
                self._mine, self._told = False, _UNTOLD
                self._emit(Lost(told))

    # being told by the store -----------------------------------------------------------------------------------------

    def _look(self) -> float | None:
        """Task for the background: see who leads, and watch whether it stays so."""
        with self._changed.lock:
            if self._ended:
                return None
            self._number += 1
            number, handle = self._number, self._handle
        if handle is not None:
            handle.cancel()
        name = self._election.name
        try:
            leader, revision = drive(look(self._client, name, _READ_TIMEOUT))
            self._see(leader, revision)
            if leader is not None:
                request = WatchRequest(leader.key, start_revision=revision + 1)
            else:
                start = keys_of(name)
                request = WatchRequest(start, prefix_end(start), start_revision=revision + 1, no_delete=True)
            sink = _Sink(self, number, leader)
            watch = self._client.start_watch(request, sink, self._followed, timeout=_READ_TIMEOUT)
            handle = sink.handle = drive(watch)
        except TRANSIENT as error:
            self._failures += 1
            logger.debug("observing %r: %s", self._election.label, error)
            return backoff(self._failures)
        except Cancelled:
            self._end(None)
            return None
        except EtcdAeroError as error:
            self._end(error)
            return None
        self._failures = 0
        self._keep(handle)
        return None

    def _keep(self, handle: WatchHandle) -> None:
        with self._changed.lock:
            self._handle = handle
            ended = self._ended
        if ended:
            handle.cancel()

    def feed(self, sink: _Sink, batch: WatchBatch) -> None:
        """Take a batch of a watch."""
        with self._changed.lock:
            if sink.number != self._number or self._ended:
                return
        if batch.lost is WatchLost.CLOSED:
            self._end(None)
        if batch.lost is WatchLost.REFUSED:
            self._end(PermissionDenied(f"the store refused to watch {self._election.label!r}"))
        again = batch.lost is not None
        for event in map(self._client.keyspace.inward_event, batch.events):
            contends = event.type is EventType.PUT and bool(contenders(self._election.name, [event.kv]))
            if sink.key is None:
                again = again or contends
            elif contends and not again:
                self._see(Leader.read(event.kv), event.kv.mod_revision)
            else:
                again = True
        if again:
            with self._changed.lock:
                self._number += 1
            self._client.chores.submit(self._look)

    def _see(self, leader: Leader | None, revision: int) -> None:
        """Take note of who leads, according to the store at ``revision``."""
        with self._changed.lock:
            led_as = self._told if self._mine else None
        if isinstance(led_as, Leader):
            if revision < led_as.token or (leader is not None and leader.token < led_as.token):
                return  # that was before the own candidate won
            if leader is None or not self._election.owns(leader):
                self._election.report_loss(led_as)  # nobody is to hear of it from here before the candidate knows
        with self._changed.lock:
            told = self._told
            same = leader is not None and leader.same_as(told)
            if leader is not None and self._election.owns(leader):
                if self._mine and same:
                    self._see_value(leader)
                return  # the candidate itself tells that it has won or lost
            if self._mine and isinstance(told, Leader):
                self._mine, same = False, False
                self._emit(Lost(told))
            if leader is not None and same:
                self._see_value(leader)
            elif told is _UNTOLD or told is not leader:
                self._told = leader
                self._emit(Changed(leader))

    def _see_value(self, leader: Leader) -> None:
        told = self._told
        if isinstance(told, Leader) and told.revision < leader.revision:
            self._told = leader
            if told.value != leader.value:
                self._emit(Proclaimed(leader))

    def _emit(self, event: ElectionEvent) -> None:
        if self._callback is not None:
            self._client.callbacks.submit(lambda: self._call(event))
            return
        last = self._pending[-1] if self._pending else None
        if isinstance(event, Proclaimed) and isinstance(last, Changed | Proclaimed):
            self._pending[-1] = type(last)(event.leader)  # the newest value is enough
        elif isinstance(event, Changed) and isinstance(last, Changed):
            self._pending[-1] = event
        else:
            self._pending.append(event)
        self._changed.notify_all()

    def _call(self, event: ElectionEvent) -> None:
        assert self._callback is not None
        if self._ended:
            return
        try:
            self._callback(event)
        except BaseException:  # SystemExit too: the thread is not the function's to end
            logger.exception("the callback of the observation of %r failed", self._election.label)

    def _end(self, error: EtcdAeroError | None) -> bool:
        if not super()._end(error):
            return False
        self._election.unfollow(self)
        with self._changed.lock:
            handle = self._handle
        if handle is not None:
            handle.cancel()
        if error is not None and self._callback is not None:
            logger.error("the observation of %r ended: %s", self._election.label, error)
        return True
