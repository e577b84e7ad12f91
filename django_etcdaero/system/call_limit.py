"""One end for all calls to stores that a piece of work makes, however many they are and whatever times they have.

A call that ends before the work is given up says which server did not answer and why; one that is cut off says nothing.
The stores that are reached over a network keep to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from .clocks import monotonic

_until: Final[ContextVar[float]] = ContextVar("etcdaero_calls_until", default=math.inf)


@contextmanager
def calls_end_within(seconds: float) -> Iterator[None]:
    """Let calls of this thread (or task) end within ``seconds`` from now, or earlier if that was said around it."""
    token = _until.set(min(_until.get(), monotonic() + seconds))
    try:
        yield
    finally:
        _until.reset(token)


def bounded_seconds(seconds: float) -> float:
    """Return how long a call may take that has ``seconds`` of its own; 0: no time is left."""
    until = _until.get()
    return seconds if until == math.inf else max(0.0, min(seconds, until - monotonic()))
