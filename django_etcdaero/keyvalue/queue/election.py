"""Leader election, in the layout of etcd's own Go client: ``etcdctl elect NAME`` stands in the same queue.

An election is a queue of contenders under its name (:mod:`django_etcdaero.keyvalue.queue.place` has the protocol); who
is first in the queue leads, and the value of its key is what it announces. As with locks, a leader that sleeps past its
lease is succeeded without knowing it yet: :meth:`Election.compare` and :attr:`Election.token` make its late writes
fail.

The value belongs to the user, so who the candidates are (host, process, since when) stands in second keys outside the
queue, ``<name>:contenders/…``; for candidates of other clients it is not known.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

from django_etcdaero.exceptions import DeadlineExceeded, LockLost, LockTimeout, NotLeader, OutcomeUnknown
from django_etcdaero.keyvalue.client.background import backoff
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.client.steps import Commit, Wait
from django_etcdaero.keyvalue.keys import Text, to_bytes
from django_etcdaero.keyvalue.txn import create_revision, lease_of, put
from django_etcdaero.system.steps import adrive, drive
from django_etcdaero.system.twins import twins

from .contender import Contender
from .guard import Guard
from .holder import introduction
from .leader import ElectionEvent, Leader
from .leading import Leadership, lead
from .observation import Observation, look
from .place import Place
from .succession import succeed

T = TypeVar("T")

_PROCLAIM_TRIES = 3


class Election(Contender):
    """A candidate in an election; made with
    :meth:`KV.election() <django_etcdaero.keyvalue.facade.KV.election>`.

    One object is one candidate: threads and tasks that compete use one object each. To look at an election, or to
    observe it, an object that never campaigns will do.
    """

    kind = "election"
    apart = True

    def __init__(self, client: Client, name: Text, *, ttl: int, value: Text = b"") -> None:
        """``value`` is what the candidate announces when it leads; empty: its introduction, a JSON object with host,
        pid, since when, and the client's identity."""
        super().__init__(client, name, ttl=ttl)
        self._given = to_bytes(value, name="value")
        self._proposal = self._given
        self._candidate: Place | None = None
        self._observations: weakref.WeakSet[Observation] = weakref.WeakSet()

    # leading ---------------------------------------------------------------------------------------------------------

    async def _campaign(self, value: Text | None = None, timeout: float | None = None) -> None:
        """Get into the queue and return when this candidate leads.

        ``value`` replaces the one given to the constructor, for this campaign. ``timeout`` is in seconds; ``None``
        waits as long as it takes, 0 tries once without getting into the queue. Raises ``DeadlineExceeded``;
        ``NotLeader`` if the place in the queue was lost (the store was away for longer than the ttl, or somebody
        deleted the key); ``InvalidRequest`` if this object campaigns or leads already; and what a transaction raises.
        Where the store does not answer, and when nothing stays in it, are as with :meth:`Lock.acquire
        <django_etcdaero.keyvalue.queue.lock.Lock.acquire>`.

        A candidate with a value of its own that is started anew on the same host takes over the place of its dead
        predecessor: :mod:`django_etcdaero.keyvalue.queue.succession`. The key of a waiting task that is cancelled is
        deleted in the background.
        """
        await self.take_the_lead(value, timeout)

    campaign, acampaign = twins(_campaign)

    async def announce(self, value: Text, *, timeout: float | None = None) -> None:
        """Announce another value, on the condition that this candidate still leads. Raises ``NotLeader``."""
        text = to_bytes(value, name="value")
        place = self._holding()
        lease = place.session.lease
        if self.lost:
            raise NotLeader(f"{self.label!r} is not led by this Election object any more")
        still = (create_revision(place.key) == place.token, lease_of(place.key) == lease)
        announcement = self._client.txn().when(*still).then(put(place.key, text, lease=lease))
        for attempt in range(1, _PROCLAIM_TRIES):
            try:
                result = await Commit(announcement, timeout)
                break
            except OutcomeUnknown:  # to announce it twice does no harm
                end = time.monotonic() + backoff(attempt)
                await Wait(lease, lambda end=end: end - time.monotonic())  # type: ignore[misc]
        else:
            result = await Commit(announcement, timeout)
        if not result.succeeded:
            place.guard.report()
            raise NotLeader(f"{self.label!r} is not led by this Election object any more")
        place.value, place.announced = text, result.revision

    proclaim, aproclaim = twins(announce, name="proclaim")

    async def give_up(self) -> None:
        """Give the leadership up and let the next in the queue lead; no error if this candidate does not lead.

        If the store cannot be reached the key is deleted in the background; that is no error.
        """
        place = self._place
        if place is None:
            return
        try:
            await self._give_back()
        finally:
            if not place.session.lease.inherited:
                self._tell_loss(place)

    resign, aresign = twins(give_up, name="resign")

    def run(self, function: Callable[[Leadership], T], *, stop: threading.Event | None = None) -> T | None:
        """Campaign and call ``function(leadership)`` while leading; after a loss campaign again.

        The function should look at its :class:`~.leading.Leadership` now and then and return
        soon after it was lost or ``stop`` was set. When it returns although neither happened its work is done: the
        leadership is given up and its result returned. ``None`` is returned when ``stop`` was set first. An error of
        the function ends the leadership and is raised, except for ``NotLeader`` after a loss. While the store is away
        it is tried again.
        """
        return drive(lead(self, function, stop or threading.Event()))

    @overload
    async def arun(
        self, function: Callable[[Leadership], Awaitable[T]], *, stop: threading.Event | None = None
    ) -> T | None: ...
    @overload
    async def arun(self, function: Callable[[Leadership], T], *, stop: threading.Event | None = None) -> T | None: ...

    async def arun(self, function: Callable[[Leadership], Any], *, stop: threading.Event | None = None) -> Any:
        """Do what :meth:`run` does, without blocking the event loop; ``function`` may be a coroutine function.

        When the task is cancelled the leadership is given up in the background.
        """
        return await adrive(lead(self, function, stop or threading.Event()))

    @property
    def is_leader(self) -> bool:
        """True while this candidate leads and, as far as this process can know, has not lost the leadership."""
        return self.held

    # looking ---------------------------------------------------------------------------------------------------------

    async def _leader(self, *, timeout: float | None = None) -> Leader | None:
        """Return who leads now, this candidate or another; ``None`` if nobody does.

        A lock of the same name stands in the same queue: its holder is shown like a leader, its introduction as value.
        """
        return (await look(self._client, self.name, timeout))[0]

    leader, aleader = twins(_leader)

    def observe(self, *, callback: Callable[[ElectionEvent], object] | None = None) -> Observation:
        """Follow who leads: :mod:`django_etcdaero.keyvalue.queue.observation`.

        Iterate over the answer, or give a ``callback(event)``, which is called in the client's dispatcher thread.
        """
        return Observation(self._client, self, callback)

    def aobserve(self) -> Observation:
        """Follow who leads, with ``async for``: the answer is an asynchronous iterator and context manager."""
        return self.observe()

    # for the parts of an election ------------------------------------------------------------------------------------

    async def take_the_lead(
        self, value: Text | None, timeout: float | None, stop: threading.Event | None = None
    ) -> None:
        """Campaign; ``Stopped`` is raised soon after ``stop`` was set."""
        self._proposal = self._given if value is None else to_bytes(value, name="value")
        try:
            await self._take(timeout, stop=stop)
        except LockTimeout as error:
            why = "" if error.__cause__ is None else f": {error.__cause__}"
            raise DeadlineExceeded(f"{self.label!r} was not won in time{why}") from error
        except LockLost as error:
            raise NotLeader(str(error)) from error

    def drop(self) -> None:
        """Resign without waiting for anything: the key is deleted in the background."""
        place = self._place
        if place is not None:
            self._drop()
            if not place.session.lease.inherited:
                self._tell_loss(place)

    def follow(self, observation: Observation) -> Leader | None:
        """Tell ``observation`` from now on when this candidate wins or loses; return what it leads as, if it does."""
        with self._mutex:
            self._observations.add(observation)
            place = self._place
            return None if place is None or self.lost else _leader(place)

    def unfollow(self, observation: Observation) -> None:
        """Tell it no more."""
        with self._mutex:
            self._observations.discard(observation)

    def owns(self, leader: Leader) -> bool:
        """Tell whether ``leader`` is this candidate, which may not know of its victory or loss yet."""
        place = self._candidate
        return (
            place is not None
            and (place.key, place.session.lease.id) == (leader.key, leader.lease)
            and place.token in (0, leader.token)
        )

    def report_loss(self, leader: Leader) -> None:
        """Be told, by who saw it in the store, that this candidate does not lead as ``leader`` any more."""
        place = self._place
        if place is not None and _leader(place).same_as(leader):
            place.guard.report()

    def guard(self) -> Guard:
        """Return what tells of the loss of the present leadership. Raises ``NotLeader``."""
        return self._holding().guard

    # inside ----------------------------------------------------------------------------------------------------------

    def _make_place(self, session: Session) -> Place:
        about = introduction(self._client, process=True)
        place = Place(self._client, session, self.name, self._proposal or introduction(self._client), about=about)
        self._candidate = place
        return place

    async def _enter(self, place: Place, limit: float) -> bool:
        if self._proposal and (await succeed(self._client, place, limit)):
            return False  # it may have been a place further back
        return await place.enter(limit)

    def _hold(self, place: Place) -> None:
        self._place = place
        for observation in self._observers():
            observation.elected(_leader(place))
        super()._hold(place)

    def _holding(self) -> Place:
        place = self._place
        if place is None:
            raise NotLeader(f"{self.label!r} is not led by this Election object")
        return place

    def _lose(self) -> None:
        super()._lose()
        self._tell_loss(self._candidate)

    def _observers(self) -> tuple[Observation, ...]:
        with self._mutex:
            return tuple(self._observations)

    def _tell_loss(self, place: Place | None) -> None:
        if place is not None:
            for observation in self._observers():
                observation.lost(_leader(place))


def _leader(place: Place) -> Leader:
    return Leader(place.key, place.value, place.token, place.announced, place.session.lease.id)
