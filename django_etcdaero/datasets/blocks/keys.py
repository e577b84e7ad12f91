"""Keys of rows that could not be looked up, or told apart, when they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, time
from decimal import Decimal
from typing import Any, Final

from django_etcdaero.exceptions import EncodeError

from .codec import decode
from .explain import shown

_LOOKED_AT: Final = frozenset((float, Decimal, datetime, time, tuple, frozenset))


class KeyCheck:
    """Looks at all keys of a version, a part at a time.

    Two keys that are different where they are published can be equal where they are read: whether aware datetimes are
    equal depends on their ``tzinfo`` objects too. Two objects of one zone, such as one of ``ZoneInfo.no_cache()``, are
    one object again after reading, and then ``fold`` is left out of the comparison; a ``ZoneInfo`` from a file is the
    zone of its name after reading.
    """

    def __init__(self) -> None:
        self._aware: dict[Any, Any] = {}
        """Keys with a time zone as they will be read, to what they are now."""

    def check(self, keys: Sequence[Any], encoded: Sequence[bytes]) -> None:
        """Look at ``keys`` and their encodings. Raises ``EncodeError`` that names the key, or both keys."""
        if _LOOKED_AT.isdisjoint(map(type, keys)):
            return
        for key, data in zip(keys, encoded, strict=True):
            if _holds(key, _is_nan):
                raise EncodeError(f"row {shown(key)}: a key that is NaN, or contains NaN, could not be looked up again")
            if _holds(key, _is_aware):
                other = self._aware.setdefault(decode(data), key)
                if other is not key:
                    raise EncodeError(
                        f"rows {other!r} and {key!r}: these keys are different now, and will be equal when "
                        "they are read, because their time zones are one object then: convert them to UTC while loading"
                    )


def _holds(key: Any, what: Callable[[Any], bool]) -> bool:
    if type(key) is tuple or type(key) is frozenset:
        return any(_holds(item, what) for item in key)
    return what(key)


def _is_nan(value: Any) -> bool:
    return type(value) in (float, Decimal) and value != value


def _is_aware(value: Any) -> bool:
    return type(value) in (datetime, time) and value.tzinfo is not None
