"""Keys that could not be looked up, or told apart, when they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, time, tzinfo
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django_etcdaero.exceptions import EncodeError

from .codec import decode
from .explain import shown

_LOOKED_AT: Final = frozenset((float, Decimal, datetime, time, tuple, frozenset))

_EQUAL: Final = (
    "are different now, and will be equal when they are read, because their time zones are one object then: convert "
    "them to UTC while loading"
)


class KeyCheck:
    """Looks at all keys of a version, a part at a time; ``zones`` are those of all datetimes encoded so far.

    Two keys that are different where they are published can be equal where they are read: whether aware datetimes are
    equal depends on their ``tzinfo`` objects too. Two objects of one zone, such as one of ``ZoneInfo.no_cache()``, are
    one object again after reading, and then ``fold`` is left out of the comparison; a ``ZoneInfo`` from a file is the
    zone of its name after reading.
    """

    def __init__(self, zones: AbstractSet[tzinfo | None]) -> None:
        self._zones = zones
        self._known = 0
        self._replaced = False
        """Whether there is a zone among them that will be another object when it is read."""
        self._aware: dict[Any, Any] = {}
        """Keys with a time zone as they will be read, to what they are now."""

    def check_keys(self, keys: Sequence[Any], encoded: Sequence[bytes]) -> None:
        """Look at keys and their encodings. Raises ``EncodeError`` that names the key, or both keys."""
        if not _LOOKED_AT.isdisjoint(map(type, keys)):
            self._check_keys(keys, encoded)

    def check_rows(self, keys: Sequence[Any], rows: Sequence[Any], encode: Callable[[], Sequence[bytes]]) -> None:
        """Look at rows after they were encoded; ``encode`` gives the encoding of each, one by one.

        Raises ``EncodeError`` that names a row in which keys are concerned.
        """
        if len(self._zones) > self._known:
            self._known = len(self._zones)
            self._replaced = any(map(_is_replaced, self._zones))
        if self._replaced:
            for key, row, data in zip(keys, rows, encode(), strict=True):
                if _entries(row) != _entries(decode(data)):
                    raise EncodeError(f"row {shown(key)}: keys or elements of sets in it {_EQUAL}")

    def _check_keys(self, keys: Sequence[Any], encoded: Sequence[bytes]) -> None:
        for key, data in zip(keys, encoded, strict=True):
            if _holds(key, _is_nan):
                raise EncodeError(f"row {shown(key)}: a key that is NaN, or contains NaN, could not be looked up again")
            if _holds(key, _is_aware):
                other = self._aware.setdefault(decode(data), key)
                if other is not key and other != key:  # of a stream: keys that are equal now are told by who has all
                    raise EncodeError(f"rows {other!r} and {key!r}: these keys {_EQUAL}")


def _holds(key: Any, what: Callable[[Any], bool]) -> bool:
    if type(key) is tuple or type(key) is frozenset:
        return any(_holds(item, what) for item in key)
    return what(key)


def _is_nan(value: Any) -> bool:
    return type(value) in (float, Decimal) and value != value


def _is_aware(value: Any) -> bool:
    return type(value) in (datetime, time) and value.tzinfo is not None


def _is_replaced(zone: tzinfo | None) -> bool:
    if type(zone) is not ZoneInfo or zone.key is None:
        return False
    try:
        return ZoneInfo(zone.key) is not zone
    except (ZoneInfoNotFoundError, ValueError, OSError):  # it cannot be read on this machine
        return False


def _entries(value: Any) -> int:
    """Return how many keys, elements and items are in a value, at all its levels."""
    count, pending = 0, [value]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            count += len(value)
            pending.extend(value)
            pending.extend(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            count += len(value)
            pending.extend(value)
    return count
