"""Doing something as long as one leads: campaign, call a function, campaign again after a loss."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from django_etcdaero.exceptions import NotLeader
from django_etcdaero.keyvalue.client.background import TRANSIENT, backoff, logger
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.keyvalue.values import Compare
from django_etcdaero.system.steps import drive

from .place import Stopped

if TYPE_CHECKING:
    from .election import Election

T = TypeVar("T")

_STOP_POLL = 0.1
"""Seconds between two looks at the event that ends the leading from outside."""


class Leadership:
    """One time of leading; what the function of
    :meth:`Election.run() <django_etcdaero.keyvalue.queue.election.Election.run>` gets.

    Safe to hand to other threads.
    """

    def __init__(self, election: Election, stop: threading.Event) -> None:
        self.lost = threading.Event()
        """Set when the leadership is lost."""
        self.stop = stop
        """Set by the caller of ``run`` when he wants it to end."""
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

    def proclaim(self, value: Text, *, timeout: float | None = None) -> None:
        """Announce another value. Raises ``NotLeader``."""
        self.check()
        self._election.proclaim(value, timeout=timeout)

    def wait(self, timeout: float) -> bool:
        """Wait ``timeout`` seconds, less if the leadership ends before. Return :attr:`ended`."""
        limit = time.monotonic() + timeout
        while not self.ended and (left := limit - time.monotonic()) > 0:
            self.lost.wait(min(left, _STOP_POLL))
        return self.ended


def lead(election: Election, function: Callable[[Leadership], T], stop: threading.Event) -> T | None:
    """Do what :meth:`Election.run` promises."""
    failures = 0
    while not stop.is_set():
        try:
            drive(election.steps_to_campaign(None, None, stop))
        except Stopped:
            return None
        except (*TRANSIENT, NotLeader) as error:
            failures += 1
            logger.info("campaigning for %r again (try %d): %s", election.label, failures, error)
            stop.wait(backoff(failures))
            continue
        failures = 0
        leadership = Leadership(election, stop)
        try:
            result = function(leadership)
            if not leadership.lost.is_set():
                return result
        except NotLeader:
            if not leadership.lost.is_set():
                raise
        finally:
            election.resign()
    return None
