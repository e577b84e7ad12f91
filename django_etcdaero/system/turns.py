"""One at a time, for what threads and tasks do in several steps, and where handlers of signals raise.

A lock that is taken in one statement, to be given back at the end of the next, stays taken when a handler raises
between the two. A turn belongs to a claim, an object that exists before: to give it back does no harm where it was
never taken, so that stands in a ``finally`` around both. And a claim says for how long it wants the turn at most; one
that is over time, because something has come between even then, holds up nobody any longer.
"""

from __future__ import annotations

import threading

from .clocks import monotonic
from .conditions import NAP, Bell


class Claim:
    """Somebody who wants the turn, once."""

    __slots__ = ("seconds", "thread", "until")

    def __init__(self, seconds: float) -> None:
        """``seconds``: for so long it may have the turn."""
        self.seconds = seconds
        self.thread = threading.get_ident()
        """The thread that wants it, itself or for one of its tasks."""
        self.until = 0.0


class Turn:
    """What one claim has at a time."""

    __slots__ = ("_bell", "_lock", "_taken")

    def __init__(self) -> None:
        self._taken: dict[None, Claim] = {}
        self._lock = threading.Lock()  # whoever takes something out looks at it before
        self._bell = Bell()

    @property
    def holder(self) -> Claim | None:
        """Who has it now."""
        return self._taken.get(None)

    def take(self, claim: Claim) -> bool:
        """Take it if it is free, or over time; return whether ``claim`` has it."""
        now = monotonic()
        claim.until = now + claim.seconds
        holder = self._taken.setdefault(None, claim)  # one step
        if holder is not claim and holder.until < now:
            self.give_back(holder)
            holder = self._taken.setdefault(None, claim)
        return holder is claim

    def wait(self, claim: Claim, timeout: float) -> bool:
        """Take it within ``timeout`` seconds; return whether ``claim`` has it."""
        limit = monotonic() + timeout
        while not self._bell.wait_for(lambda: self.take(claim), min(NAP, limit - monotonic())):
            if monotonic() >= limit:
                return False
        return True

    def give_back(self, claim: Claim) -> None:
        """Let others have it, if ``claim`` has it."""
        with self._lock:
            if self._taken.get(None) is claim:
                del self._taken[None]
        self._bell.ring()
