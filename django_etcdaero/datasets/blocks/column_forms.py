"""One column of a block by columns (:mod:`.columns`): the values of its rows in one field, read all at once.

====  ==========================================  =====================================================================
form  values                                      stored as
====  ==========================================  =====================================================================
p     None, bool, int, float, str, bytes, and     a MessagePack array of them
      any mixture with the types below
k     each the same text or int as the row's key  nil
d     Decimal, None                               text: each in scientific notation, commas between them, nothing for
                                                  None
o     date, None                                  bytes: proleptic ordinals of 4 bytes; 0 for None
t     datetime of one zone, None                  ``[zone, bytes]``: the ten bytes of each; zeros for None
u     UUID, None                                  bytes: 16 of each; or ``[bytes, places]`` with those of None
g     whatever else a row may hold, such as       bytes: a MessagePack array of the values as :mod:`.codec` writes them
      lists, dicts and sets
====  ==========================================  =====================================================================

The letters, and what the bytes of a value are, are those of :mod:`.short_values`; numbers are big endian, a zone is as
in :mod:`.scalars`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

from .codec import decode
from .digests import DamagedRecord
from .short_values import (
    DATES,
    DATETIMES,
    DECIMALS,
    GENERAL,
    PLAIN,
    STATE_BYTES,
    UUID_BYTES,
    UUIDS,
    dates_of,
    datetimes_of,
    uuids_of,
)

_DATE_BYTES: Final = 4
_NO_STATE: Final = bytes(STATE_BYTES)


def unpack(form: str, stored: Any, count: int, *, frozen: bool) -> Sequence[Any]:
    """Return the ``count`` values of a column of any form but ``SAME``.

    Raises ``DamagedRecord``, ``TypeError``, ``ValueError`` or ``ArithmeticError`` for what was never written.
    """
    if form == PLAIN:
        values = stored
    elif form == GENERAL:
        values = decode(stored, frozen=frozen)
    else:
        values = _UNPACK[form](stored, count)
    if not isinstance(values, list) or len(values) != count:
        raise DamagedRecord(f"a column has not the {count} values of the rows")
    return values


def count_of(form: str, stored: Any) -> int:
    """Return how many values a column has. Raises as :func:`unpack` does."""
    if form == GENERAL:
        return len(decode(stored))
    if form == DATETIMES:
        return len(stored[1]) // STATE_BYTES
    if form == UUIDS and isinstance(stored, list):
        return len(stored[0]) // UUID_BYTES + len(stored[1])
    if form == DECIMALS:
        return int(stored.count(",")) + 1
    return len(stored) // {DATES: _DATE_BYTES, UUIDS: UUID_BYTES}.get(form, 1)


def _read_decimals(text: str, count: int) -> list[Any]:
    texts = text.split(",")
    if ",," in text or not (texts[0] and texts[-1]):
        return [Decimal(each) if each else None for each in texts]
    return list(map(Decimal, texts))


def _read_dates(data: bytes, count: int) -> list[Any]:
    ordinals = struct.unpack(f">{_sized(data, _DATE_BYTES * count) // _DATE_BYTES}I", data)
    if 0 not in ordinals:
        return dates_of(ordinals)
    made = iter(dates_of([ordinal for ordinal in ordinals if ordinal]))
    return [next(made) if ordinal else None for ordinal in ordinals]


def _read_datetimes(stored: Any, count: int) -> list[Any]:
    zone, data = stored
    states = struct.unpack(f"{STATE_BYTES}s" * (_sized(data, STATE_BYTES * count) // STATE_BYTES), data)
    if _NO_STATE not in data or _NO_STATE not in states:
        return datetimes_of(states, zone)
    made = iter(datetimes_of([state for state in states if state != _NO_STATE], zone))
    return [None if state == _NO_STATE else next(made) for state in states]


def _read_uuids(data: Any, count: int) -> list[Any]:
    if isinstance(data, list):
        joined, nulls = data
        if not 0 < len(nulls) <= count or sorted(set(nulls)) != nulls or nulls[0] < 0 or nulls[-1] >= count:
            raise DamagedRecord("a column of UUIDs has wrong places")
        there, absent = iter(_read_uuids(joined, count - len(nulls))), set(nulls)
        return [None if at in absent else next(there) for at in range(count)]
    return uuids_of(struct.unpack(f"{UUID_BYTES}s" * (_sized(data, UUID_BYTES * count) // UUID_BYTES), data))


def _sized(data: bytes, length: int) -> int:
    if type(data) is not bytes or len(data) != length:
        raise DamagedRecord(f"a column of something else than {length} bytes")
    return length


_UNPACK: Final[dict[str, Callable[[Any, int], list[Any]]]] = {
    DECIMALS: _read_decimals,
    DATES: _read_dates,
    DATETIMES: _read_datetimes,
    UUIDS: _read_uuids,
}
