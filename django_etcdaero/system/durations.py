"""Numbers of seconds that users pass, before anything waits for so long."""

from __future__ import annotations

from django_etcdaero.exceptions import InvalidRequest

_LONGEST_WAIT = 100_000_000.0
"""Seconds: three years."""


def check_seconds(name: str, value: object) -> float:
    """Return a number of seconds that all clocks and libraries below can add to the time; longer is cut to that.

    So ``float("inf")`` is a way to say "no limit" (gRPC and Python's locks fail with that, or wait for nothing). Raises
    ``InvalidRequest`` for what is no number.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        raise InvalidRequest(f"{name} must be a number of seconds, not {value!r}")
    return min(value, _LONGEST_WAIT)
