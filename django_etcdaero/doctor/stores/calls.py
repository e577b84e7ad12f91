"""Calls that try a store, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django_etcdaero.doctor.checking import Verdict, ok, warning
from django_etcdaero.doctor.words import span
from django_etcdaero.system.clocks import monotonic

SLOW: Final = 0.15
"""Seconds that one call may take."""
PROBE_TTL: Final = 60
"""Seconds after which what a probe has written vanishes, should it not get to delete it."""


def time_call(call: Callable[[], object]) -> float:
    """Return for how many seconds one call takes: the second one, for the first has to connect."""
    call()
    began = monotonic()
    call()
    return monotonic() - began


def verdict_on_time(seconds: float, *, of: str = "") -> Verdict:
    """Say how long one call took; ``of``: what is said before that."""
    said = f"{of}one call took {span(seconds)}"
    return warning(said, "look at the store and at the network to it") if seconds > SLOW else ok(said)
