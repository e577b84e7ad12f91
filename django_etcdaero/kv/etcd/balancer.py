"""Which member to talk to: the one that worked last, until it fails.

A member that failed is left alone for a while, longer each time it fails again, unless all have failed: then the one
that is due first is tried.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Sequence

from django_etcdaero.kv.etcd.address import Endpoint
from django_etcdaero.kv.etcd.member import Member

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0


class Seat:
    """One endpoint with its client, which exists while it is in use, and what is known of its health."""

    __slots__ = ("due", "endpoint", "failures", "member", "name")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.name = str(endpoint)
        self.member: Member | None = None
        self.failures = 0
        """Failures in a row."""
        self.due = 0.0
        """Left alone until then, by ``time.monotonic``."""


class Balancer:
    """The endpoints of a cluster. Starts with a random one, so that clients spread over the members."""

    def __init__(self, endpoints: Sequence[Endpoint], connect: Callable[[Endpoint], Member]) -> None:
        self._connect = connect
        self._seats = [Seat(endpoint) for endpoint in endpoints]
        self._current = random.choice(self._seats)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def current(self) -> str:
        """The endpoint in use, as ``host:port``."""
        return self._current.name

    def pick(self, tried: Collection[Seat] = ()) -> tuple[Seat, Member]:
        """Return the endpoint to use now, one that is not in ``tried`` if there is any.

        Raises ``ConfigurationError`` if its TLS files cannot be read.
        """
        seat = self._current
        member = seat.member
        if member is not None and not seat.failures:
            return seat, member
        with self._lock:
            seat = self._choose(tried)
            self._current = seat
            if seat.member is None:
                seat.member = self._connect(seat.endpoint)
            return seat, seat.member

    def _choose(self, tried: Collection[Seat]) -> Seat:
        start = self._seats.index(self._current)
        around = self._seats[start:] + self._seats[:start]
        candidates = [seat for seat in around if seat not in tried] or around
        now = time.monotonic()
        return next((seat for seat in candidates if seat.due <= now), None) or min(candidates, key=lambda s: s.due)

    def failed(self, seat: Seat) -> None:
        """Note that ``seat`` could not do its work."""
        with self._lock:
            now = time.monotonic()
            if seat.due <= now:  # several calls that fail together are one failure
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(seat.failures, 10))
                seat.due = now + pause * random.uniform(0.8, 1.2)
                seat.failures += 1

    def worked(self, seat: Seat) -> None:
        """Note that ``seat`` is healthy."""
        if seat.failures:
            with self._lock:
                seat.failures = 0
                seat.due = 0.0
                self._current = seat

    def drop(self) -> None:
        """Close all channels; calls under way end as cancelled. They are made anew when needed."""
        with self._lock:
            members = [seat.member for seat in self._seats if seat.member is not None]
            for seat in self._seats:
                seat.member = None
        for member in members:
            member.close()
