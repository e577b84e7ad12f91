"""Which member to talk to: the one that worked last, until it fails.

A member that failed is left alone as long as there is one that has not; when all have failed the one that is due first
is tried, and each is due later the more often it has failed in a row. So a member that hangs is not asked again only
because the call that found out took longer than any pause, and one that has recovered is found when it is needed. Calls
for one particular member (its status, its defragmentation) take it with :meth:`Balancer.open` and leave these marks
alone.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Sequence

from django_etcdaero.keyvalue.administration.maintenance import EndpointState

from .address import Endpoint
from .member import MemberClient

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0


class Seat:
    """One endpoint with its client, which exists while it is in use, and what is known of its health."""

    __slots__ = ("due", "endpoint", "failures", "member", "name")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.name = str(endpoint)
        self.member: MemberClient | None = None
        self.failures = 0
        """Failures in a row."""
        self.due = 0.0
        """Left alone until then, by ``time.monotonic``; 0 while it has not failed."""


class Balancer:
    """The endpoints of a cluster. Starts with a random one, so that clients spread over the members."""

    def __init__(self, endpoints: Sequence[Endpoint], connect: Callable[[Endpoint], MemberClient]) -> None:
        self._connect = connect
        self._seats = [Seat(endpoint) for endpoint in endpoints]
        self._current = random.choice(self._seats)
        self._guests: dict[Endpoint, MemberClient] = {}
        """Clients of endpoints that are not among the seats."""
        self._retired: list[MemberClient] = []
        """Clients that are not used any more; calls on them may still be under way."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def current(self) -> str:
        """The endpoint in use, as ``host:port``."""
        return self._current.name

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints that are chosen from, the one in use first."""
        with self._lock:
            return tuple(seat.endpoint for seat in self._around())

    def states(self) -> tuple[EndpointState, ...]:
        """Return what is known of each endpoint."""
        with self._lock:
            now = time.monotonic()
            return tuple(
                EndpointState(
                    endpoint=seat.name,
                    in_use=seat is self._current and seat.member is not None,
                    failures=seat.failures,
                    retry_in=max(0.0, seat.due - now),
                )
                for seat in self._seats
            )

    def pick(self, tried: Collection[Seat] = ()) -> tuple[Seat, MemberClient]:
        """Return the endpoint to use now, one that is not in ``tried`` if there is any.

        Raises ``ConfigurationError`` if its TLS files cannot be used.
        """
        seat = self._current
        member = seat.member
        if member is not None and not seat.failures and seat not in tried:
            return seat, member
        with self._lock:
            seat = self._choose(tried)
            self._current = seat
            return seat, self._member(seat)

    def open(self, endpoint: Endpoint) -> MemberClient:
        """Return the client of ``endpoint``, whether it is one of those that are chosen from or not.

        Raises ``ConfigurationError`` if its TLS files cannot be used.
        """
        with self._lock:
            seat = next((seat for seat in self._seats if seat.endpoint == endpoint), None)
            if seat is not None:
                return self._member(seat)
            if endpoint not in self._guests:
                self._guests[endpoint] = self._connect(endpoint)
            return self._guests[endpoint]

    def replace(self, endpoints: Sequence[Endpoint]) -> None:
        """Choose from ``endpoints``, at least one, from now on; what is known of those that stay is kept.

        Channels of endpoints that go are closed by the next call of this method: calls on them may end in peace.
        """
        with self._lock:
            kept = {seat.endpoint: seat for seat in self._seats if seat.endpoint in endpoints}
            gone = [seat.member for seat in self._seats if seat.endpoint not in kept and seat.member is not None]
            closing, self._retired = self._retired, gone
            self._seats = [kept.get(endpoint) or Seat(endpoint) for endpoint in endpoints]
            if self._current.endpoint not in kept:
                self._current = random.choice([seat for seat in self._seats if not seat.failures] or self._seats)
        for member in closing:
            member.close()

    def forget(self, endpoint: Endpoint) -> None:
        """Close the channel to an endpoint that is not chosen from."""
        with self._lock:
            member = self._guests.pop(endpoint, None)
        if member is not None:
            member.close()

    def _member(self, seat: Seat) -> MemberClient:
        if seat.member is None:
            seat.member = self._guests.pop(seat.endpoint, None) or self._connect(seat.endpoint)
        return seat.member

    def _around(self) -> list[Seat]:
        start = self._seats.index(self._current)
        return self._seats[start:] + self._seats[:start]

    def _choose(self, tried: Collection[Seat]) -> Seat:
        around = self._around()
        candidates = [seat for seat in around if seat not in tried] or around
        return min(candidates, key=lambda seat: seat.due)

    def failed(self, seat: Seat) -> None:
        """Note that ``seat`` could not do its work. If its TLS files have changed it connects with the new ones."""
        with self._lock:
            now = time.monotonic()
            if seat.due <= now:  # several calls that fail together are one failure
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(seat.failures, 10))
                seat.due = now + pause * random.uniform(0.8, 1.2)
                seat.failures += 1
            if seat.member is not None and seat.member.is_outdated:
                # A channel keeps the files that it was made with; the next use makes another one.
                self._retired.append(seat.member)
                seat.member = None

    def worked(self, seat: Seat) -> None:
        """Note that ``seat`` is healthy."""
        if seat.failures:
            with self._lock:
                seat.failures = 0
                seat.due = 0.0
                if seat in self._seats:
                    self._current = seat

    def drop(self) -> None:
        """Close all channels; calls under way end as cancelled. They are made anew when needed."""
        with self._lock:
            members = [seat.member for seat in self._seats if seat.member is not None]
            members += [*self._guests.values(), *self._retired]
            for seat in self._seats:
                seat.member = None
            self._guests.clear()
            self._retired = []
        for member in members:
            member.close()
