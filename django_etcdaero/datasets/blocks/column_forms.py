"""One column of a block: the values that its rows have in one field, in a form that is read all at once.

====  ==========================================  =====================================================================
form  values                                      stored as
====  ==========================================  =====================================================================
p     None, bool, int, float, str, bytes, and     a MessagePack array of them
      any mixture with the types below
k     each the same text or int as the row's key  nil
d     Decimal, None                               text: each in scientific notation, commas between them, nothing for
                                                  None
o     date, None                                  bytes: proleptic ordinals of 4 bytes; 0 for None
t     datetime of one zone, None                  ``[zone, bytes]``: year (2 bytes), month + 128 x fold, day, hour,
                                                  minute, second, microsecond (3 bytes); zeros for None
u     UUID, None                                  bytes: 16 of each; or ``[bytes, places]`` with those of None
g     whatever else a row may hold, such as       bytes: a MessagePack array of the values as :mod:`.codec` writes them
      lists, dicts and sets
====  ==========================================  =====================================================================

Numbers are big endian, a zone is as in :mod:`.scalars`. Which form a column has follows from the types of its values
alone, so equal values of equal types give equal bytes. None of them makes one type of another.

The ten bytes of a datetime are those of its pickled state, which the class takes as an argument: that takes a sixth of
the time of adding microseconds to an epoch. It believes them, so they are checked here.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal, getcontext
from itertools import repeat
from operator import attrgetter
from types import NoneType
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID, SafeUUID

from django_etcdaero.system.real_dates import real_class

from .codec import Encoder, array_header, decode
from .digests import DamagedRecord
from .scalars import FROZENSET, PACK, SET, TUPLE, read_zone, zone_bytes
from .stored_as import as_plain

PLAIN, SAME, DECIMALS, DATES, DATETIMES, UUIDS, GENERAL = "pkdotug"

Packed: TypeAlias = tuple[str, Any]
"""The form of a column and what is stored of it."""

_DATE, _DATETIME = real_class(date), real_class(datetime)
_from_state: Any = _DATETIME
_NATIVE: Final = frozenset((NoneType, bool, int, float, str, bytes))
_SCALARS: Final = _NATIVE | PACK.keys()
_STORED: Final = _SCALARS | {list, tuple, dict, set, frozenset}

_DATE_BYTES: Final = 4
_STATE_BYTES: Final = 10
_NO_STATE: Final = bytes(_STATE_BYTES)
_state = _DATETIME.__reduce_ex__
_ordinal = _DATE.toordinal
_from_ordinal = _DATE.fromordinal
_UUID_BYTES: Final = 16


def all_of(calls: Iterable[Any]) -> None:
    """Run an iterator to its end."""
    deque(calls, maxlen=0)


# --- writing ---------------------------------------------------------------------------------------------------------
#
# In two steps, because rows come in another sequence than that of their blocks: what values of a type become is done
# for some hundred rows as they come, what depends on all rows of a block when these are together.


class Way(NamedTuple):
    """How the values of a column are written."""

    form: str
    """One of the forms above, or ``MIXED``, which becomes one of them."""
    zone: bytes = b""
    """Of ``DATETIMES``."""


MIXED: Final = "x"

_PLAIN_WAY: Final = Way(PLAIN)
_ONLY_NONE: Final = frozenset((NoneType,))


def shorten(values: Sequence[Any], encoder: Encoder, usual: Way = _PLAIN_WAY) -> tuple[Way, Sequence[Any]]:
    """Return how values are written, and what MessagePack itself has a form for in place of each.

    ``usual`` is the way if there is nothing but ``None``. Raises one of ``PACKING_ERRORS`` for what cannot be stored.
    """
    kinds = frozenset(map(type, values))
    if kinds <= _NATIVE:
        way = usual if kinds == _ONLY_NONE else _PLAIN_WAY
        return way, encoder.each(values) if way.form == GENERAL else values
    if not kinds <= _STORED:
        values = [as_plain(value) for value in values]
        kinds = frozenset([real_class(type(value)) for value in values])
    shortening = _SHORTEN.get(kinds - _ONLY_NONE)
    if shortening is not None:
        return shortening(values, NoneType in kinds)
    if kinds <= _NATIVE:
        return _PLAIN_WAY, values
    if kinds <= _SCALARS:
        return Way(MIXED), values
    return Way(GENERAL), encoder.each(values)


def finish(way: Way, values: Sequence[Any], encoder: Encoder) -> Packed:
    """Return the form of a column of a block and what is stored, of what :func:`shorten` has made of its values."""
    form, zone = way
    if form == MIXED:
        way, values = shorten(values, encoder)
        return (PLAIN, values) if way.form == MIXED else finish(way, values, encoder)
    if form == PLAIN:
        return PLAIN, values
    none = form != GENERAL and None in values
    if none and _ONLY_NONE.issuperset(map(type, values)):
        return PLAIN, values
    if form == GENERAL:
        if any(map(_is_container, values)):
            return GENERAL, array_header(len(values)) + b"".join(values)
        return pack([decode(value) for value in values], encoder)
    if form == DECIMALS:
        return DECIMALS, ",".join([value or "" for value in values] if none else values)
    if form == DATES:
        return DATES, struct.pack(f">{len(values)}I", *([value or 0 for value in values] if none else values))
    if form == DATETIMES:
        return DATETIMES, [zone, b"".join([value or _NO_STATE for value in values] if none else values)]
    joined = b"".join(filter(None, values))
    return UUIDS, [joined, [at for at, value in enumerate(values) if value is None]] if none else joined


def pack(values: Sequence[Any], encoder: Encoder) -> Packed:
    """Return a column's form and what is stored of it. Raises one of ``PACKING_ERRORS`` for what cannot be stored."""
    way, shortened = shorten(values, encoder)
    return (PLAIN, shortened) if way.form == MIXED else finish(way, shortened, encoder)


def restore(way: Way, value: Any) -> Any:
    """Return the value of which :func:`shorten` has made one."""
    form, zone = way
    if value is None or form in (PLAIN, MIXED):
        return value
    if form == DECIMALS:
        return Decimal(value)
    if form == DATES:
        return _from_ordinal(value)
    if form == DATETIMES:
        return _from_state(value, read_zone(zone))
    if form == UUIDS:
        return UUID(bytes=value)
    return decode(value)


def _is_container(encoded: bytes) -> bool:
    """Tell whether something encoded is a list, dict, tuple or set."""
    head = encoded[0]
    if 0x80 <= head <= 0x9F or 0xDC <= head <= 0xDF:
        return True
    at = 1 if 0xD4 <= head <= 0xD8 else {0xC7: 2, 0xC8: 3, 0xC9: 5}.get(head)
    return at is not None and encoded[at] in (TUPLE, SET, FROZENSET)


def is_same(values: Sequence[Any], keys: Sequence[Any]) -> bool:
    """Tell whether each value is the text or number that is the row's key."""
    kind = type(keys[0])
    return (
        type(values[0]) is kind
        and (kind is str or kind is int)
        and values[0] == keys[0]
        and list(values) == list(keys)
        and {kind}.issuperset(map(type, values))
        and {kind}.issuperset(map(type, keys))
    )


def _decimals(values: Sequence[Any], none: bool) -> tuple[Way, Sequence[Any]]:
    texts = [None if value is None else str(value) for value in values] if none else list(map(str, values))
    if not getcontext().capitals:  # which must not change the bytes; nothing else in the text has this letter
        texts = [text and text.replace("e", "E") for text in texts]
    return Way(DECIMALS), texts


def _dates(values: Sequence[Any], none: bool) -> tuple[Way, Sequence[Any]]:
    if none:
        return Way(DATES), [None if value is None else _ordinal(value) for value in values]
    return Way(DATES), list(map(_ordinal, values))


def _datetimes(values: Sequence[Any], none: bool) -> tuple[Way, Sequence[Any]]:
    there = list(filter(None, values)) if none else values
    # By object, because zones can be equal that have different names.
    zones = {id(zone): zone for zone in map(attrgetter("tzinfo"), there)}
    written = {zone_bytes(zone) for zone in zones.values()}
    for zone in written:
        read_zone(zone)
    if len(written) > 1:
        return Way(MIXED), values
    if none:
        states = [None if value is None else _state(value, 4)[1][0] for value in values]
    else:
        states = [made[1][0] for made in map(_state, values, repeat(4))]
    return Way(DATETIMES, written.pop()), states


def _uuids(values: Sequence[Any], none: bool) -> tuple[Way, Sequence[Any]]:
    return Way(UUIDS), [None if value is None else value.bytes for value in values]


_SHORTEN: Final[dict[frozenset[type], Callable[[Sequence[Any], bool], tuple[Way, Sequence[Any]]]]] = {
    frozenset((Decimal,)): _decimals,
    frozenset((_DATE,)): _dates,
    frozenset((_DATETIME,)): _datetimes,
    frozenset((UUID,)): _uuids,
}


# --- reading ---------------------------------------------------------------------------------------------------------


def unpack(form: str, stored: Any, count: int, *, frozen: bool) -> Sequence[Any]:
    """Return the ``count`` values of a column of any form but ``SAME``.

    Raises ``DamagedRecord``, ``TypeError``, ``ValueError`` or ``ArithmeticError`` for what :func:`pack` cannot have
    made.
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


def unpack_some(form: str, stored: Any, count: int, places: Sequence[int]) -> Sequence[Any]:
    """Return those values of a column of ``count`` that are at some places, in their order; nothing is made of others.

    Raises as :func:`unpack` does.
    """
    if form == DECIMALS:
        texts = stored.split(",")
        return _read_decimals(",".join([texts[at] for at in places]), len(places)) if places else []
    if form == DATETIMES:
        zone, data = stored
        return _read_datetimes([zone, _at(data, _STATE_BYTES, count, places)], len(places))
    if form == DATES:
        return _read_dates(_at(stored, _DATE_BYTES, count, places), len(places))
    values = unpack(form, stored, count, frozen=False)
    return [values[at] for at in places]


def _at(data: bytes, width: int, count: int, places: Sequence[int]) -> bytes:
    """Return some of ``count`` values that have the same width in bytes."""
    _sized(data, width * count)
    return b"".join([data[width * at : width * at + width] for at in places])


def _read_decimals(text: str, count: int) -> list[Any]:
    texts = text.split(",")
    if ",," in text or not (texts[0] and texts[-1]):
        return [Decimal(each) if each else None for each in texts]
    return list(map(Decimal, texts))


def _read_dates(data: bytes, count: int) -> list[Any]:
    ordinals = struct.unpack(f">{_sized(data, _DATE_BYTES * count) // _DATE_BYTES}I", data)
    if 0 in ordinals:
        return [_from_ordinal(ordinal) if ordinal else None for ordinal in ordinals]
    return list(map(_from_ordinal, ordinals))


def _read_datetimes(stored: Any, count: int) -> list[Any]:
    zone, data = stored
    tzinfo = read_zone(zone)
    states = struct.unpack("10s" * (_sized(data, _STATE_BYTES * count) // _STATE_BYTES), data)
    if _NO_STATE in data and _NO_STATE in states:
        there = b"".join([state for state in states if state != _NO_STATE])
        made = iter(_read_datetimes([zone, there], len(there) // _STATE_BYTES))
        return [None if state == _NO_STATE else next(made) for state in states]
    values = list(map(_from_state, states, repeat(tzinfo)))
    _check_states(data, values)
    return values


_MONTHS: Final = bytes(range(1, 13)) + bytes(range(129, 141))
_DAYS: Final = bytes(range(1, 32))
_HOURS: Final = bytes(range(24))
_SIXTY: Final = bytes(range(60))
# What is right whatever the other bytes are: years 256 to 9983, days of every month, less than 983,040 µs.
_ALL_YEARS: Final = bytes(range(1, 0x27))
_ALL_DAYS: Final = bytes(range(1, 29))
_ALL_MICROSECONDS: Final = bytes(range(0x0F))


def _check_states(data: bytes, values: Sequence[datetime]) -> None:
    """Refuse what is no time: the class has believed it. Raises ``ValueError``."""
    if (
        data[2::_STATE_BYTES].translate(None, _MONTHS)
        or data[3::_STATE_BYTES].translate(None, _DAYS)
        or data[4::_STATE_BYTES].translate(None, _HOURS)
        or data[5::_STATE_BYTES].translate(None, _SIXTY)
        or data[6::_STATE_BYTES].translate(None, _SIXTY)
    ):
        raise DamagedRecord("a column of datetimes has what is none")
    for place, certain in ((0, _ALL_YEARS), (3, _ALL_DAYS), (7, _ALL_MICROSECONDS)):
        found = data[place::_STATE_BYTES]
        if found.translate(None, certain):
            for value, byte in zip(values, found, strict=True):
                if byte not in certain:
                    value.replace(fold=value.fold)  # this checks all fields


def _read_uuids(data: Any, count: int) -> list[Any]:
    if isinstance(data, list):
        joined, nulls = data
        if not 0 < len(nulls) <= count or sorted(set(nulls)) != nulls or nulls[0] < 0 or nulls[-1] >= count:
            raise DamagedRecord("a column of UUIDs has wrong places")
        there, absent = iter(_read_uuids(joined, count - len(nulls))), set(nulls)
        return [None if at in absent else next(there) for at in range(count)]
    states = struct.unpack("16s" * (_sized(data, _UUID_BYTES * count) // _UUID_BYTES), data)
    numbers = [int.from_bytes(state, "big") for state in states]
    # What UUID() does, which takes four times as long in Python.
    made = list(map(object.__new__, repeat(UUID, count)))
    all_of(map(_SET_INT, made, numbers))
    all_of(map(_SET_IS_SAFE, made, repeat(SafeUUID.unknown)))
    return made


_SET_INT: Final = UUID.__dict__["int"].__set__
_SET_IS_SAFE: Final = UUID.__dict__["is_safe"].__set__


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
