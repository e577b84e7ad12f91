"""Leader election, in the layout of etcd's own Go client: ``etcdctl elect NAME`` stands in the same queue.

An election is a queue of contenders under its name (:mod:`django_etcdaero.keyvalue.queue.place` has the protocol); who
is first in the queue leads, and the value of its key is what it announces. As with locks, a leader that sleeps past its
lease is succeeded without knowing it yet: :meth:`Election.compare` and :attr:`Election.token` make its late writes
fail.

The value belongs to the user, so who the candidates are stands in second keys (:mod:`.layout`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar, overload

from django_etcdaero.exceptions import InvalidRequest, NotLeader
from django_etcdaero.keyvalue.arguments import check_function
from django_etcdaero.keyvalue.client.background import TRANSIENT, backoff, logger
from django_etcdaero.keyvalue.client.loss import LossReason
from django_etcdaero.keyvalue.client.steps import wait
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.keyvalue.values import Compare
from django_etcdaero.system.acting import acts
from django_etcdaero.system.blocking import refuse_in_event_loop
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.steps import Apply, Pause, adrive, drive
from django_etcdaero.system.twins import TwinBlocks, twins

from .candidate import Candidate
from .holder import ElectionEvent, Leader
from .observation import Observation, look
from .place import Stopped

T = TypeVar("T")

_STOP_POLL = 0.1
"""Seconds between two looks at the event that ends the leading from outside."""


class Leadership:
    """One time of leading; what the function of
    :meth:`Election.run() <django_etcdaero.keyvalue.queue.election.Election.run>` gets.

    Safe to hand to other threads.
    """

    def __init__(self, election: Candidate, stop: threading.Event) -> None:
        self.stop = stop
        """Set by the caller of ``run`` who wants it to end."""
        self.token = election.token
        """The fencing token: each leader's is greater than those of all before."""
        self._election = election
        self._compare = election.compare()
        self._guard = election.guard()
        self._lost = Flag()
        self._guard.subscribe(self._lost.set)

    def __repr__(self) -> str:
        state = f"lost ({self.lost_reason.value})" if self.lost_reason else "leading"
        return f"<Leadership of {self._election.label!r} token={self.token} {state}>"

    @property
    def lost(self) -> bool:
        """True when the leadership is lost, as far as this process knows."""
        return self._lost.is_set()

    @property
    def lost_reason(self) -> LossReason | None:
        """Why it is lost; ``None`` while it is not."""
        return self._guard.reason if self.lost else None

    @property
    def ended(self) -> bool:
        """True when the function should return: the leadership is lost or its end is wanted."""
        return self.lost or self.stop.is_set()

    def check(self) -> None:
        """Raise ``NotLeader`` if the leadership is lost. Asks no store: :meth:`compare` is the real guard."""
        if self.lost or not self._election.is_leader:
            raise NotLeader(f"the leadership of {self._election.label!r} is lost")

    def compare(self) -> Compare:
        """Return a condition for transactions of the same client that holds exactly as long as the leadership."""
        return self._compare

    async def _proclaim(self, value: Text, *, timeout: float | None = None) -> None:
        """Announce another value. Raises ``NotLeader``."""
        self.check()
        await self._election.announce(value, timeout=timeout)

    proclaim, aproclaim = twins(_proclaim)

    async def _wait(self, timeout: float) -> bool:
        """Wait ``timeout`` seconds, less if the leadership ends before. Return :attr:`ended`."""
        limit = monotonic() + check_seconds("timeout", timeout)
        await wait(self._guard, lambda: 0.0 if self.ended else limit - monotonic(), poll=_STOP_POLL)
        return self.ended

    wait, asleep = twins(_wait, awaited="asleep")


async def lead(
    election: Candidate, function: Callable[[Leadership], T | Awaitable[T]], stop: threading.Event
) -> T | None:
    """Do what :meth:`.Election.run` promises."""
    check_function("function", function, may_be_awaited=True)
    if not isinstance(stop, threading.Event):
        raise InvalidRequest(f"stop must be a threading.Event, not {stop!r}")
    failures = 0
    while not stop.is_set():
        try:
            await election.take_the_lead(None, None, stop)
        except Stopped:
            return None
        except (*TRANSIENT, NotLeader) as error:
            failures += 1
            logger.info("campaigning for %r again (try %d): %s", election.label, failures, error)
            await _pause(backoff(failures), stop)
            continue
        failures = 0
        leadership = Leadership(election, stop)
        try:
            result = await Apply(function, leadership)
        except (asyncio.CancelledError, GeneratorExit):
            election.drop()
            raise
        except BaseException as error:
            lost = leadership.lost
            await election.give_up()
            if not (lost and isinstance(error, NotLeader)):
                raise
        else:
            lost = leadership.lost
            await election.give_up()
            if not lost:
                return result
    return None


async def _pause(seconds: float, stop: threading.Event) -> None:
    limit = monotonic() + seconds
    while not stop.is_set() and (left := limit - monotonic()) > 0:
        await Pause(min(left, _STOP_POLL))


class Election(Candidate, TwinBlocks):
    """A candidate in an election; made with
    :meth:`KV.election() <django_etcdaero.keyvalue.facade.KV.election>`.

    One object is one candidate: threads and tasks that compete use one object each. To look at an election, or to
    observe it, an object that never campaigns will do.

    As a context manager, also an asynchronous one, it campaigns, for as long as it takes, and resigns; a body that
    finished although the leadership was lost meanwhile gets ``NotLeader``, unless it raised an error of its own.
    """

    # leading ---------------------------------------------------------------------------------------------------------

    @acts
    async def _campaign(self, value: Text | None = None, timeout: float | None = None) -> Literal[True]:
        """Get into the queue; return, always ``True``, when this candidate leads.

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
        return True

    campaign, acampaign = twins(_campaign)
    proclaim, aproclaim = twins(Candidate.announce, name="proclaim")
    resign, aresign = twins(Candidate.give_up, name="resign")

    async def _enter(self) -> None:
        await self.take_the_lead(None, None)

    async def _leave(self, error: type[BaseException] | None) -> None:
        reason = self.lost_reason
        await self.give_up()
        if reason is not None and error is None:
            raise NotLeader(f"{self.label!r} had been lost before it was resigned{self._why()}")

    def _abort(self) -> None:
        self.drop()

    def run(self, function: Callable[[Leadership], T], *, stop: threading.Event | None = None) -> T | None:
        """Campaign and call ``function(leadership)`` while leading; after a loss campaign again.

        The function should look at its :class:`Leadership` now and then and return soon after it was lost or
        ``stop`` was set. When it returns although neither happened its work is done: the leadership is given up and its
        result returned. ``None`` is returned when ``stop`` was set first. An error of the function ends the leadership
        and is raised, except for ``NotLeader`` after a loss. While the store is away it is tried again.
        """
        refuse_in_event_loop("run()", "await arun(…)")
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

    # looking ---------------------------------------------------------------------------------------------------------

    async def _leader(self, *, timeout: float | None = None) -> Leader | None:
        """Return who leads now, this candidate or another; ``None`` if nobody does.

        A lock of the same name stands in the same queue: its holder is shown like a leader, its introduction as value.
        """
        return (await look(self._client, self.name, timeout))[0]

    leader, aleader = twins(_leader)

    @acts
    def observe(self, *, callback: Callable[[ElectionEvent], object] | None = None) -> Observation:
        """Follow who leads: :mod:`django_etcdaero.keyvalue.queue.observation`.

        Iterate over the answer with ``for`` or ``async for``, or give a ``callback(event)``, which is called in the
        client's dispatcher thread.
        """
        return Observation(self._client, self, callback)
