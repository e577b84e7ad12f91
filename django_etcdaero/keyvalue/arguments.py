"""Checks of what users pass, before anything is sent: each error names the argument.

A store would refuse some of it in words of its own, take some of it for something else, and not survive the rest: a
``sort_target`` that does not exist crashes an etcd server before 3.6.
"""

from __future__ import annotations

import enum
import time
from typing import TypeVar

from django_etcdaero.exceptions import InvalidRequest

E = TypeVar("E", bound=enum.IntEnum)

_LAST = (1 << 63) - 1
_LONGEST_WAIT = 100_000_000.0
"""Seconds: three years."""


def check_count(name: str, value: object) -> None:
    """Refuse anything but an ``int`` from 0 on that etcd's 64 bits hold: limits, revisions."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"{name} must be an int, not {value!r}")
    if not 0 <= value <= _LAST:
        raise InvalidRequest(f"{name} must be from 0 to {_LAST}, not {value}")


def check_flag(name: str, value: object) -> None:
    """Refuse anything but ``True`` and ``False``."""
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be True or False, not {value!r}")


def check_seconds(name: str, value: object) -> float:
    """Return a number of seconds that all clocks and libraries below can add to the time; longer is cut to that.

    So ``float("inf")`` is a way to say "no limit" (gRPC and Python's locks fail with that, or wait for nothing).
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        raise InvalidRequest(f"{name} must be a number of seconds, not {value!r}")
    return min(value, _LONGEST_WAIT)


def end_of(timeout: float | None) -> float | None:
    """Return when ``timeout`` seconds will be over by ``time.monotonic()``; ``None``: never."""
    return None if timeout is None else time.monotonic() + check_seconds("timeout", timeout)


def check_choice(name: str, value: object, kind: type[E]) -> E:
    """Return ``value`` as a member of ``kind``; its number will do too."""
    if isinstance(value, kind):
        return value
    if type(value) is int and value in tuple(kind):
        return kind(value)
    raise InvalidRequest(f"{name} must be one of {', '.join(map(str, map(repr, kind)))}, not {value!r}")


def lease_id(name: str, lease: object) -> int:
    """Return the id of a lease that is given by its id or as a :class:`~django_etcdaero.keyvalue.client.lease.Lease`.

    An id is any signed number of 64 bits: etcd takes negative ones too. 0 is no lease.
    """
    number = getattr(lease, "id", lease)
    if type(number) is not int or not ~_LAST <= number <= _LAST:
        raise InvalidRequest(f"{name} must be a lease or its id, not {lease!r}")
    return number
