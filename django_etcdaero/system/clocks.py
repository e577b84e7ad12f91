"""The clocks that durations are measured with, and that nothing replaces.

A test may stop Python's clocks or move them: freezegun puts others in the place of ``time.monotonic`` and
``time.time``, wherever a module has them under a name of its own, and time-machine moves the clock of the day. A wait
whose clock stands still never ends, and what is due never comes. So every deadline, pause and age of this package is
measured with what is here. The time of day, ``time.time()``, is only what is shown or written down.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

_MONOTONIC = getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC)
_BOOT = getattr(time, "CLOCK_BOOTTIME", _MONOTONIC)

monotonic: Callable[[], float] = partial(time.clock_gettime, _MONOTONIC)
"""Return seconds of the clock of :func:`time.monotonic`, for deadlines and pauses."""


def elapsed() -> float:
    """Return seconds of a clock that never steps and, where there is one, goes on while the host is suspended."""
    return time.clock_gettime(_BOOT)
