"""Giving way to the other threads of a process in a long computation.

A thread that computes is asked to give way only when another one has waited for ``sys.getswitchinterval()``, 5 ms. What
this package does in the background gives way by itself, after a millisecond.
"""

from __future__ import annotations

import time

from .clocks import monotonic

SLICE = 0.001
"""Seconds of work between two pauses."""
PAUSE = 0.00005
"""Seconds of a pause: with none at all a thread that waits is often too slow to take its turn."""


class GivingWay:
    """One computation: call it again and again, after work of at most a few hundred microseconds."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = monotonic() + SLICE

    def __call__(self) -> None:
        """Pause if a slice is over."""
        if monotonic() >= self._until:
            time.sleep(PAUSE)
            self._until = monotonic() + SLICE
