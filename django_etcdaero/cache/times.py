"""Times and shares that callers give: one rule for all methods, and errors that name the argument."""

from __future__ import annotations

import math
from datetime import datetime
from typing import SupportsFloat

from django_etcdaero.records.arguments import MAX_TTL


def timeout_of(value: object, name: str = "timeout") -> float | None:
    """Return a timeout in seconds: ``None`` never, 0 at once (also for less). Infinity is longer than any.

    Takes what Django's backends take: ``int``, ``float``, ``bool``, text that is a number, and what else has a value as
    ``float`` (``Decimal``, ``Fraction``). Raises ``TypeError`` or ``ValueError`` naming the argument.
    """
    return None if value is None else max(0.0, _number(name, value, "a number of seconds or None"))


def moment_of(value: object, *, unit: float = 1.0) -> float:
    """Return seconds since the epoch, of a datetime or a number of ``unit`` seconds. Raises as :func:`timeout_of`."""
    if isinstance(value, datetime):
        try:
            return value.timestamp()
        except (OverflowError, OSError, ValueError) as error:
            raise ValueError(f"when must be a datetime that has a timestamp, not {value!r}: {error}") from None
    return _number("when", value, "a datetime or a number") * unit


def span_of(value: object, name: str) -> float:
    """Return a length of time in seconds, at most ten years. Raises as :func:`timeout_of`, and for less than 0."""
    wanted = "a number of seconds of at least 0"
    seconds = _number(name, _no_bool(name, value, wanted), wanted)
    if seconds < 0:
        raise ValueError(f"{name} must be {wanted}, not {value!r}")
    return min(seconds, float(MAX_TTL))


def share_of(value: object, name: str, *, most: float, above_zero: bool = False) -> float:
    """Return a share of a timeout, from 0 to ``most``. Raises as :func:`timeout_of`."""
    wanted = f"a share of the timeout, {'above' if above_zero else 'at least'} 0 and at most {most:g}"
    share = _number(name, _no_bool(name, value, wanted), wanted)
    if not 0 <= share <= most or (above_zero and share == 0):
        raise ValueError(f"{name} must be {wanted}, not {value!r}")
    return share


def _no_bool(name: str, value: object, wanted: str) -> object:
    if isinstance(value, bool):  # True would be taken for one second, or the whole timeout
        raise TypeError(f"{name} must be {wanted}, not {value}")
    return value


def _number(name: str, value: object, wanted: str) -> float:
    if type(value) is not float and type(value) is not int and not isinstance(value, str | SupportsFloat):
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond all floats
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {wanted}, not {value!r}") from None
    if math.isnan(number):
        raise ValueError(f"{name} must be {wanted}, not nan")
    return number
