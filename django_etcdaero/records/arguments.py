"""What every record store refuses before it does anything, so that all of them refuse the same.

Each function raises: ``TypeError`` naming the type that was given, ``InvalidRequest`` for a value out of range,
``OverflowError`` for an integer beyond 64 bits, ``RecordTooBig``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from django_etcdaero.exceptions import InvalidRequest, RecordTooBig

MAX_KEY_BYTES = 1024
"""Longest key every store takes."""

MAX_TTL = 315_360_000
"""Longest time to live in seconds (ten years: Aerospike's limit)."""

DEFAULT_MAX_VALUE_BYTES = 1_000_000
"""Largest value of the stores that have no limit of their own: a little less than what Aerospike takes in one record
with its default settings (1 MiB with the record's overhead), so that what works in development works there."""

MIN_INT, MAX_INT = -(2**63), 2**63 - 1


def check_key(key: object) -> None:
    """``bytes``, 1 to ``MAX_KEY_BYTES``."""
    if type(key) is not bytes or not 1 <= len(key) <= MAX_KEY_BYTES:
        check_keys((key,))


def check_keys(keys: object) -> None:
    """A collection (an iterator would be used up by the check) of ``bytes``, 1 to ``MAX_KEY_BYTES`` each."""
    if not isinstance(keys, Collection):
        raise TypeError(f"keys must be a collection of bytes, not {type(keys).__name__}")
    for key in keys:
        if not isinstance(key, bytes):
            raise TypeError(f"key must be bytes, not {type(key).__name__}")
        if not 1 <= len(key) <= MAX_KEY_BYTES:
            raise InvalidRequest(f"key has {len(key)} bytes, allowed are 1 to {MAX_KEY_BYTES}")


def check_int(name: str, number: object) -> None:
    """An integer of 64 bits, and not a ``bool``."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{name} must be int, not {type(number).__name__}")
    if not MIN_INT <= number <= MAX_INT:
        raise OverflowError(f"{name} does not fit into 64 bits: {number}")


def check_items(items: Mapping[bytes, object], max_value_bytes: int) -> None:
    """Keys as in :func:`check_keys`; values are ``bytes`` of at most ``max_value_bytes`` or integers of 64 bits."""
    check_keys(items)
    for key, value in items.items():
        if isinstance(value, bytes):
            if len(value) > max_value_bytes:
                raise RecordTooBig(f"value of {key!r} has {len(value)} bytes, the store takes {max_value_bytes}")
        elif isinstance(value, int) and not isinstance(value, bool):
            check_int("value", value)
        else:
            raise TypeError(f"value must be bytes or int, not {type(value).__name__}")


def check_ttl(ttl: object) -> None:
    """``None`` or 1 to ``MAX_TTL`` whole seconds."""
    if ttl is None:
        return
    if isinstance(ttl, bool) or not isinstance(ttl, int):
        raise TypeError(f"ttl must be int or None, not {type(ttl).__name__}")
    if not 1 <= ttl <= MAX_TTL:
        raise InvalidRequest(f"ttl is {ttl} seconds, allowed are 1 to {MAX_TTL}, and None for ever")


def check_generations(generations: Iterable[object]) -> None:
    """Each is ``None`` or 1 or more."""
    for generation in generations:
        if generation is None:
            continue
        if isinstance(generation, bool) or not isinstance(generation, int):
            raise TypeError(f"generation must be int or None, not {type(generation).__name__}")
        if generation < 1:
            raise InvalidRequest(f"generation is {generation}; the first one of a record is 1")


def check_prefix(prefix: object) -> None:
    """``bytes``, of any length."""
    if not isinstance(prefix, bytes):
        raise TypeError(f"prefix must be bytes, not {type(prefix).__name__}")


def check_timeout(timeout: object) -> None:
    """``None`` or a finite number of seconds, 0 or more; 0: do not wait at all."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
    if not (math.isfinite(timeout) and timeout >= 0):
        raise InvalidRequest(f"timeout is {timeout} seconds; it must be finite and not negative")
