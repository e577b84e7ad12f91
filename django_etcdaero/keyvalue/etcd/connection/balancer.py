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
from collections.abc import Callable, Collection, Sequence

from django_etcdaero.keyvalue.administration.values import EndpointState
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.system import forks
from django_etcdaero.system.clocks import monotonic

from .member import MemberClient

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0


class Choice:
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
        self._choices = [Choice(endpoint) for endpoint in endpoints]
        self._current = random.choice(self._choices)
        self._others: dict[Endpoint, MemberClient] = {}
        """Clients of endpoints that are not chosen from."""
        self._retired: list[MemberClient] = []
        """Clients that are not used any more; calls on them may still be under way."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._choices)

    @property
    def current(self) -> str:
        """The endpoint in use, as ``host:port``."""
        return self._current.name

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints that are chosen from, the one in use first."""
        with self._lock:
            return tuple(choice.endpoint for choice in self._around())

    def states(self) -> tuple[EndpointState, ...]:
        """Return what is known of each endpoint."""
        with self._lock:
            now = monotonic()
            return tuple(
                EndpointState(
                    endpoint=choice.name,
                    in_use=choice is self._current and choice.member is not None,
                    failures=choice.failures,
                    retry_in=max(0.0, choice.due - now),
                )
                for choice in self._choices
            )

    def pick(self, tried: Collection[Choice] = ()) -> tuple[Choice, MemberClient]:
        """Return the endpoint to use now, one that is not in ``tried`` if there is any.

        Raises ``ConfigurationError`` if its TLS files cannot be used.
        """
        choice = self._current
        member = choice.member
        if member is not None and not choice.failures and choice not in tried:
            return choice, member
        with self._lock:
            choice = self._choose(tried)
            self._current = choice
            return choice, self._member(choice)

    def open(self, endpoint: Endpoint) -> MemberClient:
        """Return the client of ``endpoint``, whether it is one of those that are chosen from or not.

        Raises ``ConfigurationError`` if its TLS files cannot be used.
        """
        with self._lock:
            choice = next((choice for choice in self._choices if choice.endpoint == endpoint), None)
            if choice is not None:
                return self._member(choice)
            if endpoint not in self._others:
                self._others[endpoint] = self._connect(endpoint)
            return self._others[endpoint]

    def replace(self, endpoints: Sequence[Endpoint]) -> None:
        """Choose from ``endpoints``, at least one, from now on; what is known of those that stay is kept.

        Channels of endpoints that go are closed by the next call of this method, so that calls on them may end.
        """
        with self._lock:
            kept = {choice.endpoint: choice for choice in self._choices if choice.endpoint in endpoints}
            gone = [
                choice.member for choice in self._choices if choice.endpoint not in kept and choice.member is not None
            ]
            closing, self._retired = self._retired, gone
            self._choices = [kept.get(endpoint) or Choice(endpoint) for endpoint in endpoints]
            if self._current.endpoint not in kept:
                self._current = random.choice(
                    [choice for choice in self._choices if not choice.failures] or self._choices
                )
        _close(closing)

    def forget(self, endpoint: Endpoint) -> None:
        """Close the channel to an endpoint that is not chosen from."""
        with self._lock:
            member = self._others.pop(endpoint, None)
        if member is not None:
            _close([member])

    def _member(self, choice: Choice) -> MemberClient:
        if choice.member is None:
            choice.member = self._others.pop(choice.endpoint, None) or self._connect(choice.endpoint)
        return choice.member

    def _around(self) -> list[Choice]:
        start = self._choices.index(self._current)
        return self._choices[start:] + self._choices[:start]

    def _choose(self, tried: Collection[Choice]) -> Choice:
        around = self._around()
        candidates = [choice for choice in around if choice not in tried] or around
        return min(candidates, key=lambda choice: choice.due)

    def failed(self, choice: Choice) -> None:
        """Note that ``choice`` could not do its work. If its TLS files have changed it connects with the new ones."""
        with self._lock:
            now = monotonic()
            if choice.due <= now:  # several calls that fail together are one failure
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(choice.failures, 10))
                choice.due = now + pause * random.uniform(0.8, 1.2)
                choice.failures += 1
            if choice.member is not None and choice.member.is_outdated:
                # A channel keeps the files that it was made with; the next use makes another one.
                self._retired.append(choice.member)
                choice.member = None

    def leave(self, member: MemberClient) -> None:
        """Use ``member`` no more: the next use of its endpoint connects anew."""
        with self._lock:
            for choice in self._choices:
                if choice.member is member:
                    choice.member = None
            self._retired = [other for other in self._retired if other is not member]
            for endpoint in [endpoint for endpoint, other in self._others.items() if other is member]:
                del self._others[endpoint]

    def worked(self, choice: Choice) -> None:
        """Note that ``choice`` is healthy."""
        if choice.failures:
            with self._lock:
                choice.failures = 0
                choice.due = 0.0
                if choice in self._choices:
                    self._current = choice

    def revive(self, endpoint: Endpoint) -> None:
        """Note that a member answers at ``endpoint``."""
        for choice in tuple(self._choices):
            if choice.endpoint == endpoint:
                self.worked(choice)

    def drop(self) -> None:
        """Close all channels; calls under way end as cancelled. They are made anew when needed."""
        with self._lock:
            members = [choice.member for choice in self._choices if choice.member is not None]
            members += [*self._others.values(), *self._retired]
            for choice in self._choices:
                choice.member = None
            self._others.clear()
            self._retired = []
        _close(members)


def _close(members: Sequence[MemberClient]) -> None:
    with forks.postponed():
        for member in members:
            member.close()
