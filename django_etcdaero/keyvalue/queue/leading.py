"""Doing something as long as one leads: campaign, call a function, campaign again after a loss."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from django_etcdaero.exceptions import NotLeader
from django_etcdaero.keyvalue.client.background import TRANSIENT, backoff, logger
from django_etcdaero.keyvalue.client.steps import Wait
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.keyvalue.values import Compare
from django_etcdaero.system.steps import Apply, Pause
from django_etcdaero.system.twins import twins

from .guard import Guard
from .place import Stopped

T = TypeVar("T")

_STOP_POLL = 0.1
"""Seconds between two looks at the event that ends the leading from outside."""


class Candidate(Protocol):
    """An election, as far as leading needs it."""

    label: str

    @property
    def token(self) -> int:
        """The fencing token of the present leadership."""

    @property
    def is_leader(self) -> bool:
        """True while this candidate leads."""

    def compare(self) -> Compare:
        """Return a condition that holds exactly as long as the present leadership."""

    def guard(self) -> Guard:
        """Return what tells of the loss of the present leadership."""

    async def take_the_lead(
        self, value: Text | None, timeout: float | None, stop: threading.Event | None = None
    ) -> None:
        """Campaign; ``Stopped`` is raised soon after ``stop`` was set."""

    async def announce(self, value: Text, *, timeout: float | None = None) -> None:
        """Announce another value."""

    async def give_up(self) -> None:
        """Resign."""

    def drop(self) -> None:
        """Resign without waiting for anything."""


class Leadership:
    """One time of leading; what the function of
    :meth:`Election.run() <django_etcdaero.keyvalue.queue.election.Election.run>` gets.

    Safe to hand to other threads.
    """

    def __init__(self, election: Candidate, stop: threading.Event) -> None:
        self.lost = threading.Event()
        """Set when the leadership is lost."""
        self.stop = stop
        """Set by the caller of ``run`` who wants it to end."""
        self.token = election.token
        """The fencing token: each leader's is greater than those of all before."""
        self._election = election
        self._compare = election.compare()
        self._guard = election.guard()
        self._guard.subscribe(self.lost.set)

    @property
    def ended(self) -> bool:
        """True when the function should return: the leadership is lost or its end is wanted."""
        return self.lost.is_set() or self.stop.is_set()

    def check(self) -> None:
        """Raise ``NotLeader`` if the leadership is lost. Asks no store: :meth:`compare` is the real guard."""
        if self.lost.is_set() or not self._election.is_leader:
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
        limit = time.monotonic() + timeout
        await Wait(self._guard, lambda: 0.0 if self.ended else limit - time.monotonic(), poll=_STOP_POLL)
        return self.ended

    wait, asleep = twins(_wait, awaited="asleep")


async def lead(
    election: Candidate, function: Callable[[Leadership], T | Awaitable[T]], stop: threading.Event
) -> T | None:
    """Do what :meth:`.Election.run` promises."""
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
            lost = leadership.lost.is_set()
            await election.give_up()
            if not (lost and isinstance(error, NotLeader)):
                raise
        else:
            lost = leadership.lost.is_set()
            await election.give_up()
            if not lost:
                return result
    return None


async def _pause(seconds: float, stop: threading.Event) -> None:
    limit = time.monotonic() + seconds
    while not stop.is_set() and (left := limit - time.monotonic()) > 0:
        await Pause(min(left, _STOP_POLL))
