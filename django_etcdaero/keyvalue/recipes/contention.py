"""What recipes that read, decide and write only if nothing has changed have in common: their patience.

Such a write fails only because somebody else's succeeded, so the contenders as a whole always get on. One of them may
still lose often: after each failure it pauses for a random time, whose bound doubles, and after too many it gives up.
"""

from __future__ import annotations

import random

from django_etcdaero.exceptions import DeadlineExceeded, InvalidRequest, TxnFailed
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.system.clocks import monotonic

MAX_ATTEMPTS = 100
"""How often a write is tried before it is given up."""

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.25
"""Bounds of the random pauses after the first and after many failures, in seconds."""

_FRESH = 0.005
"""Seconds after which what was read at the last failure is not worth a try: somebody else will have changed it."""


def check_positive(name: str, value: object) -> None:
    """Raise ``InvalidRequest`` naming the argument unless ``value`` is an ``int``, at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidRequest(f"{name} must be a whole number, at least 1, not {value!r}")


class Contention:
    """Counts the failures of one write and the time it has taken."""

    def __init__(self, what: str, *, max_attempts: int = MAX_ATTEMPTS, timeout: float | None) -> None:
        """``what`` names the write in errors; ``timeout`` is in seconds, ``None`` for no limit but the attempts."""
        check_positive("max_attempts", max_attempts)
        self._what = what
        self._max_attempts = max_attempts
        self._limit = end_of(timeout)
        self._failures = 0

    def left(self) -> float | None:
        """Return the seconds left, ``None`` if there is no limit. Raises ``DeadlineExceeded``."""
        if self._limit is None:
            return None
        left = self._limit - monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"{self._what} was not done in time ({self._failures} conflicts)")
        return left

    def fail(self) -> float:
        """Note a failure and return the seconds to pause. Raises ``TxnFailed`` when there were too many.

        A pause that would not end in time raises ``DeadlineExceeded`` at once.
        """
        self._failures += 1
        if self._failures >= self._max_attempts:
            raise TxnFailed(f"{self._what} was given up: others changed what it had read, {self._failures} times")
        pause = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10)))
        left = self.left()
        if left is not None and pause >= left:
            raise DeadlineExceeded(f"{self._what} was not done in time ({self._failures} conflicts)")
        return pause

    @staticmethod
    def still_fresh(pause: float) -> bool:
        """Tell whether what was read when a try failed is worth another one after ``pause`` seconds."""
        return pause <= _FRESH
