"""A candidate in an election: taking the lead, keeping it, and telling who observes the election.

Here are its protocols over steps; users hold an :class:`~django_etcdaero.keyvalue.queue.election.Election`.
"""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

from django_etcdaero.exceptions import DeadlineExceeded, LockLost, LockTimeout, NotLeader
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.open_watches import Use
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.client.steps import Commit
from django_etcdaero.keyvalue.keys import Text, to_bytes
from django_etcdaero.keyvalue.ops import create_revision, lease_of, put
from django_etcdaero.system.acting import acts

from .contender import Contender
from .guard import Guard
from .holder import Leader, introduction
from .place import Place
from .succession import succeed


class Observer(Protocol):
    """Who is told what the candidate wins and loses, before the store tells."""

    def elected(self, leader: Leader) -> None:
        """Be told that the candidate leads now."""

    def lost(self, leader: Leader) -> None:
        """Be told that the candidate, which led as ``leader``, does not any more."""


class Candidate(Contender):
    """Contends for the leadership, with a value to announce."""

    kind = "election"
    apart = True
    lost_error = NotLeader

    def __init__(self, client: Client, name: Text, *, ttl: int, value: Text = b"") -> None:
        """``value`` is what the candidate announces when it leads; empty: its introduction, a JSON object with host,
        pid, since when, and the client's identity."""
        super().__init__(client, name, ttl=ttl)
        self._given = to_bytes(value, name="value")
        self._proposal = self._given
        self._candidate: Place | None = None
        self._observations: weakref.WeakSet[Observer] = weakref.WeakSet()

    # taking, keeping and giving up the lead --------------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """True while this candidate leads and, as far as this process can know, has not lost the leadership."""
        return self.held

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

    async def announce(self, value: Text, *, timeout: float | None = None) -> None:
        """Announce another value, on the condition that this candidate still leads. Raises ``NotLeader``."""
        text = to_bytes(value, name="value")
        place = self._holding()
        lease = place.session.lease
        if self.lost:
            raise NotLeader(f"{self.label!r} is not led by this Election object any more")
        still = (create_revision(place.key) == place.token, lease_of(place.key) == lease)
        announcement = self._client.txn().when(*still).then(put(place.key, text, lease=lease))
        result = await place.repeat(lambda: Commit(announcement, timeout))
        if not result.succeeded:
            place.guard.report()
            raise NotLeader(f"{self.label!r} is not led by this Election object any more")
        place.value, place.announced = text, result.revision

    @acts
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
            self._tell_loss(place)

    @acts
    def drop(self) -> None:
        """Resign without waiting for anything: the key is deleted in the background."""
        place = self._place
        if place is not None:
            self._drop(place)
            self._tell_loss(place)

    @acts
    def guard(self) -> Guard:
        """Return what tells of the loss of the present leadership. Raises ``NotLeader``."""
        return self._holding().guard

    # observers -------------------------------------------------------------------------------------------------------

    def follow(self, observation: Observer) -> Leader | None:
        """Tell ``observation`` from now on when this candidate wins or loses; return what it leads as, if it does."""
        with self._mutex:
            self._observations.add(observation)
            place = self._place
            return None if place is None or self.lost else _leader(place)

    def unfollow(self, observation: Observer) -> None:
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

    # inside ----------------------------------------------------------------------------------------------------------

    def _make_place(self, session: Session) -> Place:
        about = introduction(self._client, process=True)
        value = self._proposal or introduction(self._client, process=False)
        place = Place(self._client, session, self.name, value, about=about)
        place.use = Use.ELECTION
        self._candidate = place
        return place

    async def _line_up(self, place: Place, limit: float) -> bool:
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

    def _observers(self) -> tuple[Observer, ...]:
        with self._mutex:
            return tuple(self._observations)

    def _tell_loss(self, place: Place | None) -> None:
        if place is not None and not place.session.lease.inherited:
            for observation in self._observers():
                observation.lost(_leader(place))


def _leader(place: Place) -> Leader:
    return Leader(place.key, place.value, place.token, place.announced, place.session.lease.id)
