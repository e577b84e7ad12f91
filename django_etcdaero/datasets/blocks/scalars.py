"""How values that MessagePack does not know are written: one extension code for each type.

=====  ==========  ==================================================================================================
code   type        payload
=====  ==========  ==================================================================================================
1      int         beyond 64 bits: two's complement, big endian, shortest
2      Decimal     its text in scientific notation (exact: exponent, sign of zero, NaN payloads)
3      UUID        16 bytes
4      date        proleptic ordinal, 4 bytes
5      time        microseconds since midnight x 2 + fold, 5 bytes; then the zone, if it has one
6      datetime    microseconds of wall time since 0001-01-01 x 2 + fold, 8 bytes; then the zone, if it has one
7      timedelta   microseconds, two's complement, shortest
8      tuple       MessagePack array
9      set         MessagePack array, elements in the order of their encodings
10     frozenset   likewise
=====  ==========  ==================================================================================================

A zone is ``U`` (UTC), ``F`` and a fixed offset in microseconds (6 bytes), ``N`` and the same and a name of its own, or
``Z`` and the key of a ``zoneinfo.ZoneInfo``. All numbers are big endian. This module has the scalars; the containers
are in :mod:`.codec`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django_etcdaero.exceptions import ResponseError
from django_etcdaero.system.real_dates import real_class

from .digests import DamagedRecord

INT, DECIMAL, UUID_, DATE, TIME, DATETIME, TIMEDELTA, TUPLE, SET, FROZENSET = range(1, 11)

_EPOCH = real_class(datetime)(1, 1, 1)
_EPOCH_UTC = _EPOCH.replace(tzinfo=UTC)
_from_ordinal = real_class(date).fromordinal
_MICROSECOND = timedelta(microseconds=1)
_MINUTE_US = 60_000_000
_TIME_BYTES = 5
_DATETIME_BYTES = 8
_OFFSET_BYTES = 6


def _signed(number: int) -> bytes:
    # (number + 1) for negatives: -128 fits in one byte, 128 does not
    bits = (number + 1 if number < 0 else number).bit_length() + 1
    return number.to_bytes((bits + 7) // 8, "big", signed=True)


def zone_bytes(zone: tzinfo | None) -> bytes:
    """Return how a time zone is written. Raises ``TypeError`` for one that cannot be stored."""
    if zone is None:
        return b""
    if zone is UTC:
        return b"U"
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        name = zone.tzname(None)
        packed = (offset // _MICROSECOND).to_bytes(_OFFSET_BYTES, "big", signed=True)
        if name == timezone(offset).tzname(None):
            return b"F" + packed if offset else b"U"
        return b"N" + packed + name.encode("utf-8", "surrogatepass")
    if type(zone) is ZoneInfo and zone.key is not None:
        return b"Z" + zone.key.encode()
    kind = type(zone)
    raise TypeError(f"the time zone is a {kind.__module__}.{kind.__qualname__}")


def read_zone(data: bytes) -> tzinfo | None:
    """Return the zone that is written so. Raises ``DamagedRecord``; ``ResponseError`` where this machine has none."""
    if not data:
        return None
    tag, rest = data[:1], data[1:]
    if data == b"U":
        return UTC
    if tag in (b"F", b"N"):
        offset = timedelta(microseconds=_fixed(rest[:_OFFSET_BYTES], _OFFSET_BYTES, signed=True))
        name = rest[_OFFSET_BYTES:].decode("utf-8", "surrogatepass")
        return timezone(offset, name) if tag == b"N" else timezone(offset)
    if tag == b"Z":
        key = rest.decode()
        try:
            return ZoneInfo(key)
        except (ZoneInfoNotFoundError, OSError) as error:
            raise ResponseError(
                f"this machine has no time zone {key!r}, which a row uses: update the system's tz database "
                "or install the tzdata package"
            ) from error
    raise DamagedRecord("unknown kind of time zone")


def _pack_time(value: time) -> bytes:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    number = (seconds * 1_000_000 + value.microsecond) * 2 + value.fold
    return number.to_bytes(_TIME_BYTES, "big") + zone_bytes(value.tzinfo)


def _unpack_time(data: bytes) -> time:
    number = _fixed(data[:_TIME_BYTES], _TIME_BYTES)
    minutes, microseconds = divmod(number >> 1, _MINUTE_US)
    hour, minute = divmod(minutes, 60)
    second, microsecond = divmod(microseconds, 1_000_000)
    return time(hour, minute, second, microsecond, read_zone(data[_TIME_BYTES:]), fold=number & 1)


def _pack_datetime(value: datetime) -> bytes:
    zone = value.tzinfo
    if zone is UTC:  # by far the commonest: what the ORM gives with USE_TZ
        since, packed = value - _EPOCH_UTC, b"U"
    else:
        since, packed = (value if zone is None else value.replace(tzinfo=None)) - _EPOCH, zone_bytes(zone)
    number = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 2 + value.fold
    return number.to_bytes(_DATETIME_BYTES, "big") + packed


def _unpack_datetime(data: bytes) -> datetime:
    if len(data) == _DATETIME_BYTES + 1 and data[-1:] == b"U" and not data[-2] & 1:  # by far the commonest
        return _EPOCH_UTC + _MICROSECOND * (int.from_bytes(data[:_DATETIME_BYTES], "big") >> 1)
    number = _fixed(data[:_DATETIME_BYTES], _DATETIME_BYTES)
    zone = data[_DATETIME_BYTES:]
    since = _MICROSECOND * (number >> 1)  # timedelta(microseconds=...) takes much longer
    if number & 1 or (zone and zone != b"U"):
        return (_EPOCH + since).replace(tzinfo=read_zone(zone), fold=number & 1)
    return (_EPOCH_UTC if zone else _EPOCH) + since


def _pack_decimal(value: Decimal) -> bytes:
    # The thread's context may have ``capitals=0``, which must not change the text, and with it the digest. Nothing else
    # in the text has this letter.
    return str(value).replace("e", "E").encode("ascii")


def _pack_timedelta(value: timedelta) -> bytes:
    return _signed((value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds)


def _fixed(data: bytes, length: int, *, signed: bool = False) -> int:
    if len(data) != length:
        raise DamagedRecord(f"{len(data)} bytes where {length} belong")
    return int.from_bytes(data, "big", signed=signed)


def _unpack_int(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _unpack_uuid(data: bytes) -> UUID:
    return UUID(int=_fixed(data, 16))


PACK: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    int: (INT, _signed),
    Decimal: (DECIMAL, _pack_decimal),
    UUID: (UUID_, lambda value: value.bytes),
    real_class(date): (DATE, lambda value: value.toordinal().to_bytes(4, "big")),
    time: (TIME, _pack_time),
    real_class(datetime): (DATETIME, _pack_datetime),
    timedelta: (TIMEDELTA, _pack_timedelta),
}
"""Exact type to its extension code and the function that makes the payload; see :func:`packing`."""


def packing(kind: type) -> tuple[int, Callable[[Any], bytes]] | None:
    """Return the extension code of a type and the function that makes the payload; ``None``: it is not stored."""
    return PACK.get(kind) or PACK.get(real_class(kind))


UNPACK: dict[int, Callable[[bytes], Any]] = {
    INT: _unpack_int,
    DECIMAL: lambda data: Decimal(data.decode("ascii")),
    UUID_: _unpack_uuid,
    DATE: lambda data: _from_ordinal(_fixed(data, 4)),
    TIME: _unpack_time,
    DATETIME: _unpack_datetime,
    TIMEDELTA: lambda data: timedelta(microseconds=_unpack_int(data)),
}
"""Extension code to the function that reads the payload. They raise ``ValueError``, ``OverflowError`` or
``ArithmeticError`` (or what this module names) for payloads that :data:`PACK` cannot have made."""
