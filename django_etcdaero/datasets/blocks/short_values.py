"""Values that MessagePack itself has a form for, in place of those that rows have in one field, and back.

====  ==========================================  =====================================================================
form  values                                      written as
====  ==========================================  =====================================================================
p     None, bool, int, float, str, bytes, and     what they are; the others as :mod:`.codec` writes them
      any mixture with the types below
k     each the same text or int as the row's key  nil
d     Decimal, None                               text, in scientific notation
o     date, None                                  int: the proleptic ordinal
t     datetime of one zone, None                  10 bytes: year (2 bytes), month + 128 x fold, day, hour, minute,
                                                  second, microsecond (3 bytes)
u     UUID, None                                  16 bytes
g     whatever else a row may hold, such as       bytes, as :mod:`.codec` writes them
      lists, dicts and sets
====  ==========================================  =====================================================================

Numbers are big endian, and ``None`` is nil. Which form the values of some rows have follows from their types alone, so
equal values of equal types give equal bytes. None of them makes one type of another.

The ten bytes of a datetime are those of its pickled state, which the class takes as an argument: that takes a sixth of
the time of adding microseconds to an epoch. It believes them, so they are checked here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal, getcontext
from itertools import repeat
from operator import attrgetter
from types import NoneType
from typing import Any, Final, NamedTuple
from uuid import UUID, SafeUUID

from django_etcdaero.system.real_dates import real_class

from .codec import Encoder, array_header, decode
from .digests import DamagedRecord
from .scalars import FROZENSET, PACK, SET, TUPLE, read_zone, zone_bytes
from .stored_as import as_plain

PLAIN, SAME, DECIMALS, DATES, DATETIMES, UUIDS, GENERAL = "pkdotug"

_DATE, _DATETIME = real_class(date), real_class(datetime)
_from_state: Any = _DATETIME
_NATIVE: Final = frozenset((NoneType, bool, int, float, str, bytes))
_SCALARS: Final = _NATIVE | PACK.keys()
_STORED: Final = _SCALARS | {list, tuple, dict, set, frozenset}

STATE_BYTES: Final = 10
UUID_BYTES: Final = 16
_state = _DATETIME.__reduce_ex__
_zone_of = attrgetter("tzinfo")
_ordinal = _DATE.toordinal
_from_ordinal = _DATE.fromordinal


def all_of(calls: Iterable[Any]) -> None:
    """Run an iterator to its end."""
    deque(calls, maxlen=0)


# --- writing ---------------------------------------------------------------------------------------------------------


class Way(NamedTuple):
    """How the values of a field are written."""

    form: str
    """One of the forms above, or ``MIXED``."""
    zone: bytes = b""
    """Of ``DATETIMES``."""


MIXED: Final = "x"
"""Values of several types, which are written as ``PLAIN``; some of them alone may have another form."""

PLAIN_WAY: Final = Way(PLAIN)
SAME_WAY: Final = Way(SAME)
ONLY_NONE: Final = frozenset((NoneType,))


def kinds_of(values: Sequence[Any]) -> frozenset[type]:
    """Return the classes of values."""
    return frozenset(map(type, values))


def shorten(
    values: Sequence[Any], kinds: frozenset[type], encoder: Encoder, usual: Way = PLAIN_WAY
) -> tuple[Way, Sequence[Any]]:
    """Return how values are written, and what is written in place of each; ``kinds`` are their classes.

    ``usual`` is the way if there is nothing but ``None``. Raises one of ``PACKING_ERRORS`` for what cannot be stored.
    """
    if kinds <= _NATIVE:
        way = usual if kinds == ONLY_NONE else PLAIN_WAY
        return way, encoder.each(values) if way.form == GENERAL else values
    if not kinds <= _STORED:
        values = [as_plain(value) for value in values]
        kinds = frozenset([real_class(type(value)) for value in values])
    shortening = _SHORTEN.get(kinds - ONLY_NONE)
    if shortening is not None:
        return shortening(values, NoneType in kinds)
    if kinds <= _NATIVE:
        return PLAIN_WAY, values
    if kinds <= _SCALARS:
        return Way(MIXED), values
    return Way(GENERAL), encoder.each(values)


def is_container(encoded: bytes) -> bool:
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
    zones = list(map(_zone_of, there))
    # By object, because zones can be equal that have different names.
    if len(set(map(id, zones))) == 1:
        zone = zone_bytes(zones[0])
    else:
        written = {zone_bytes(each) for each in {id(each): each for each in zones}.values()}
        for each in written:
            read_zone(each)
        if len(written) > 1:
            return Way(MIXED), values
        zone = written.pop()
    read_zone(zone)
    if none:
        return Way(DATETIMES, zone), [None if value is None else _state(value, 4)[1][0] for value in values]
    return Way(DATETIMES, zone), [made[1][0] for made in map(_state, values, repeat(4))]


def _uuids(values: Sequence[Any], none: bool) -> tuple[Way, Sequence[Any]]:
    return Way(UUIDS), [None if value is None else value.bytes for value in values]


_SHORTEN: Final[dict[frozenset[type], Callable[[Sequence[Any], bool], tuple[Way, Sequence[Any]]]]] = {
    frozenset((Decimal,)): _decimals,
    frozenset((_DATE,)): _dates,
    frozenset((_DATETIME,)): _datetimes,
    frozenset((UUID,)): _uuids,
}


# --- reading ---------------------------------------------------------------------------------------------------------
#
# These raise ``DamagedRecord``, ``TypeError``, ``ValueError`` or ``ArithmeticError`` for what :func:`shorten` cannot
# have made.


def lengthen(form: str, zone: bytes, values: Sequence[Any], *, frozen: bool) -> Sequence[Any]:
    """Return the values that are written so, in any form but ``SAME``.

    Containers are those of :mod:`.frozen`, or as they were written.
    """
    if form == PLAIN:
        return values
    if form == GENERAL:
        read: Sequence[Any] = decode(array_header(len(values)) + b"".join(values), frozen=frozen)
        if len(read) != len(values):
            raise DamagedRecord("a field has not as many values as there are rows")
        return read
    try:
        return _lengthened(form, zone, values)
    except TypeError:  # looking for None beforehand takes as long as making a number
        if None not in values:
            raise
    there = [value for value in values if value is not None]
    made = iter(_lengthened(form, zone, there) if there else ())
    return [None if value is None else next(made) for value in values]


def _lengthened(form: str, zone: bytes, values: Sequence[Any]) -> Sequence[Any]:
    if form == DECIMALS:
        return decimals_of(values)
    if form == DATES:
        return dates_of(values)
    if form == DATETIMES:
        return datetimes_of(values, zone)
    if form == UUIDS:
        return uuids_of(values)
    raise DamagedRecord(f"a field has the unknown form {form!r}")


def decimals_of(texts: Sequence[Any]) -> list[Any]:
    """Return numbers of their texts."""
    if type(texts[0]) is not str:  # the class takes numbers too
        raise TypeError("a field of Decimals has something else than text")
    return list(map(Decimal, texts))


def dates_of(ordinals: Sequence[Any]) -> list[Any]:
    """Return dates of their ordinals."""
    return list(map(_from_ordinal, ordinals))


def datetimes_of(states: Sequence[Any], zone: bytes) -> list[Any]:
    """Return datetimes of their ten bytes."""
    values = list(map(_from_state, states, repeat(read_zone(zone))))
    _check_states(b"".join(states), values)
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
        data[2::STATE_BYTES].translate(None, _MONTHS)
        or data[3::STATE_BYTES].translate(None, _DAYS)
        or data[4::STATE_BYTES].translate(None, _HOURS)
        or data[5::STATE_BYTES].translate(None, _SIXTY)
        or data[6::STATE_BYTES].translate(None, _SIXTY)
    ):
        raise DamagedRecord("a field of datetimes has what is none")
    for place, certain in ((0, _ALL_YEARS), (3, _ALL_DAYS), (7, _ALL_MICROSECONDS)):
        found = data[place::STATE_BYTES]
        if found.translate(None, certain):
            for value, byte in zip(values, found, strict=True):
                if byte not in certain:
                    value.replace(fold=value.fold)  # this checks all fields


def uuids_of(states: Sequence[Any]) -> list[Any]:
    """Return UUIDs of their sixteen bytes."""
    if not {UUID_BYTES}.issuperset(map(len, states)):
        raise DamagedRecord(f"a field of UUIDs has something else than {UUID_BYTES} bytes")
    numbers = [int.from_bytes(state, "big") for state in states]
    # What UUID() does, which takes four times as long in Python.
    made = list(map(object.__new__, repeat(UUID, len(numbers))))
    all_of(map(_SET_INT, made, numbers))
    all_of(map(_SET_IS_SAFE, made, repeat(SafeUUID.unknown)))
    return made


_SET_INT: Final = UUID.__dict__["int"].__set__
_SET_IS_SAFE: Final = UUID.__dict__["is_safe"].__set__
