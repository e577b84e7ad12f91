"""One call's tries: what a failed one means, and whether and when there is another."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from django_etcdaero.exceptions import DeadlineExceeded, EtcdAeroError, OutcomeUnknown, StoreBusy
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer, Choice
from django_etcdaero.keyvalue.etcd.connection.member import MemberClient
from django_etcdaero.keyvalue.etcd.messages.faults import CallFault, describe, status_of, translate, unanswered

FIRST_TRY = 2.0
"""Seconds that one try may take where there are other members to ask; doubled with each round through all of them."""

_SHORTEST_PAUSE = 0.025
_LONGEST_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Failure:
    """One try that brought no answer."""

    choice: Choice
    member: MemberClient
    token: str | None
    cause: Exception
    code: Any
    details: str
    fault: CallFault


class Retries:
    """What has happened to one call that did not succeed at once."""

    def __init__(self, balancer: Balancer, repeat: bool) -> None:
        self._balancer = balancer
        self._repeat = repeat
        self._tries = 0
        self.tried: set[Choice] = set()
        """The endpoints that have failed in this round through all of them."""
        self._errors: dict[str, str] = {}
        self._last = CallFault.UNSENT
        self._relogins = 0
        self.perhaps_applied = False
        """A try was sent and not answered."""
        self.stale_token: str | None = None
        """The token that a server did not accept; never ``None`` once that has happened."""

    def share(self) -> float:
        """Return the seconds that the next try may take."""
        return FIRST_TRY * 2.0 ** (self._tries // len(self._balancer))

    def failed(self, try_: Failure, *, with_user: bool) -> float:
        """Note a failed try; return how long to wait before the next one, or raise if there cannot be one.

        ``with_user``: there is one to log in.
        """
        choice, fault = try_.choice, try_.fault
        self._tries += 1
        self._last = fault
        self._errors[choice.name] = describe(try_.code, try_.details)
        if fault is CallFault.TOKEN:
            self._relogins += 1
            # Another thread's new token may go stale in turn before it is used; more than that is no coincidence.
            if not with_user or try_.token is None or self._relogins > 3:
                raise translate(try_.code, try_.details)
            self.stale_token = try_.token
            return 0.0
        if fault is not CallFault.BUSY:
            self._balancer.failed(choice)
        self.perhaps_applied = self.perhaps_applied or fault in (CallFault.LATE, CallFault.LOST)
        if not self._repeat and fault in (CallFault.LATE, CallFault.LOST):
            text = f"{choice.name}: {self._errors[choice.name]}; the write may have been applied or not"
            raise OutcomeUnknown(text).with_code(status_of(try_.code))
        self.tried.add(choice)
        if len(self.tried) < len(self._balancer):
            return 0.0
        self.tried.clear()
        return self._pause()

    def over(self, method: str) -> EtcdAeroError:
        """Return the error for a call whose time is over."""
        if self._last is CallFault.BUSY:
            return StoreBusy(f"{method}: the server has too many requests: {self._list()}")
        if not self._errors:
            return DeadlineExceeded(f"{method}: no time was left to send it")
        return unanswered(f"{method}: no endpoint could answer: {self._list()}", self._errors)

    def _pause(self) -> float:
        round_ = self._tries // len(self._balancer)
        return min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0 ** min(round_, 10)) * random.uniform(0.9, 1.1)

    def _list(self) -> str:
        return "; ".join(f"{name}: {text}" for name, text in sorted(self._errors.items()))
