"""Calls that end when they should, also where a test has replaced the clock.

gRPC adds the time allowed to ``time.time()`` and hands the sum to its core, which compares it with the clock of the
machine. Where a test lets ``time.time()`` tell the time of last year, every call would be too late before it is sent;
where it tells that of next year, no call would ever be. So the time allowed is corrected by the difference.
"""

from __future__ import annotations

import sys
import time

_CLOCK = 5 if sys.platform == "linux" else time.CLOCK_REALTIME
"""``CLOCK_REALTIME_COARSE``, for which Python has no name: what replaces ``CLOCK_REALTIME`` as well leaves it alone."""

_SAME = 1.0
"""Seconds by which two looks at one clock may differ: it is coarse, and a thread may have to wait between them."""


def in_real_time(seconds: float | None) -> float | None:
    """Return what to give to gRPC for a call that may take ``seconds``; ``None``: any time."""
    if seconds is None:
        return None
    ahead = time.clock_gettime(_CLOCK) - time.time()
    return seconds if -_SAME < ahead < _SAME else seconds + ahead
