"""Limits: moments by ``time.monotonic()`` until which a caller is willing to wait, however many calls that takes."""

from __future__ import annotations

import time

SLACK = 0.01
"""Seconds by which a store's own timer may be ahead of ours."""

_SHORTEST = 0.001


def seconds_left(limit: float) -> float:
    """Return the time that a call may take; when the limit has passed the shortest there is, so that it fails."""
    return max(_SHORTEST, limit - time.monotonic())


def is_over(limit: float) -> bool:
    """Tell whether an error that comes now is due to the limit."""
    return time.monotonic() >= limit - SLACK
