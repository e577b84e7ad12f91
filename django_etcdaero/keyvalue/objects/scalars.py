"""How single values are written as JSON.

=========  ==========================================================================================================
type       written as
=========  ==========================================================================================================
str, bool  themselves
int        a number without a fraction, of any size
float      a number; NaN and the infinities do not exist in JSON and are refused
bytes      text in base64
Decimal    text, exact
UUID       text
date       text as in ISO 8601
time       likewise; a ``zoneinfo`` zone follows in brackets
datetime   likewise, as in RFC 9557: ``2026-03-01T12:00:00+01:00[Europe/Vienna]``; ``fold`` is kept with a zone only
timedelta  text, the seconds as an ISO 8601 duration: ``PT90.5S``
Enum       the member's value, which must be a str, int or bool
Literal    the value
=========  ==========================================================================================================

Values must be of exactly these classes: a subclass would come back as something else.
"""

from __future__ import annotations

import base64
import enum
import math
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system.real_dates import real_class

from .forms import Form, Json, Misfit, expected, named, shown

_ZONED = re.compile(r"(?P<moment>[^\[]*)(?:\[(?P<zone>[^\]]+)\])?")
_SECONDS = re.compile(r"(?P<sign>-?)PT(?P<whole>\d+)(?:\.(?P<fraction>\d{1,6}))?S")
_MICROSECOND = timedelta(microseconds=1)

_datetime_of: Callable[[str], datetime] = real_class(datetime).fromisoformat

_decimals = Context(capitals=1)
"""The thread's own context may have ``capitals=0``, which would change the text."""


def _same(cls: type) -> Form:
    def check(value: Any) -> Any:
        if type(value) is not cls:
            raise expected(named(cls), value)
        return value

    return Form(named(cls), check, check, frozenset((cls,)), frozenset((cls,)))


def _write_float(value: Any) -> Json:
    if type(value) is int:
        return value
    if type(value) is not float:
        raise expected("float", value)
    if not math.isfinite(value):
        raise Misfit(f"{value} cannot be written as JSON")
    return value


def _read_float(data: Any) -> float:
    if type(data) is not float and type(data) is not int:
        raise expected("float", data)
    try:
        return float(data)
    except OverflowError as error:
        raise Misfit("the number is too large for a float") from error


def _write_decimal(value: Decimal) -> str:
    if value.is_snan():  # it cannot even be compared without an error
        raise Misfit("a signalling NaN cannot be stored")
    return _decimals.to_sci_string(value)


def _as_text(cls: type, write: Callable[[Any], str], read: Callable[[str], Any]) -> Form:
    name = named(cls)

    def encode(value: Any) -> Json:
        if type(value) is not cls and real_class(type(value)) is not cls:
            raise expected(name, value)
        return write(value)

    def decode(data: Any) -> Any:
        if type(data) is not str:
            raise expected(f"{name} as text", data)
        try:
            return read(data)
        except (ValueError, ArithmeticError) as error:
            raise Misfit(f"{shown(data)} is not a {name}") from error

    return Form(name, encode, decode, frozenset((cls,)), frozenset((str,)))


# --- times -----------------------------------------------------------------------------------------------------------


def _zone_suffix(zone: tzinfo | None) -> str:
    if zone is None or type(zone) is timezone:
        return ""
    if type(zone) is ZoneInfo and zone.key is not None:
        return f"[{zone.key}]"
    raise Misfit(f"the time zone is a {named(type(zone))}, not a datetime.timezone or zoneinfo.ZoneInfo")


def _write_moment(value: datetime | time) -> str:
    offset = value.utcoffset()
    if offset and abs(offset) < timedelta(seconds=1):
        raise ValueError(f"an offset of {offset} from UTC, which Python does not read again")  # fromisoformat: UTC
    return value.isoformat() + _zone_suffix(value.tzinfo)


def _split(text: str) -> tuple[str, ZoneInfo | None]:
    found = _ZONED.fullmatch(text)
    if found is None:
        raise ValueError("brackets that do not match")
    key = found["zone"]
    try:
        return found["moment"], None if key is None else ZoneInfo(key)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise Misfit(f"this machine has no time zone {key!r}: update the tz database or install tzdata") from error


def _read_datetime(text: str) -> datetime:
    iso, zone = _split(text)
    moment = _datetime_of(iso)
    if zone is None:
        return moment
    for fold in (0, 1):
        local = moment.replace(tzinfo=zone, fold=fold)
        if local.utcoffset() == moment.utcoffset():
            return local
    # The zone's rules were changed since this was written: the instant is kept, not the reading of the clock.
    return moment.astimezone(zone)


def _date_form(cls: Any) -> Form:
    return _as_text(cls, cls.isoformat, cls.fromisoformat)


def _read_time(text: str) -> time:
    iso, zone = _split(text)
    moment = time.fromisoformat(iso)
    return moment if zone is None else moment.replace(tzinfo=zone)


def _write_timedelta(value: timedelta) -> str:
    number = value // _MICROSECOND
    whole, fraction = divmod(abs(number), 1_000_000)
    digits = f".{fraction:06}".rstrip("0") if fraction else ""
    return f"{'-' if number < 0 else ''}PT{whole}{digits}S"


def _read_timedelta(text: str) -> timedelta:
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise ValueError("not seconds as a duration")
    microseconds = int((found["fraction"] or "").ljust(6, "0"))
    length = timedelta(seconds=int(found["whole"]), microseconds=microseconds)
    return -length if found["sign"] else length


# --- closed sets of values -------------------------------------------------------------------------------------------


def enum_form(cls: type[enum.Enum]) -> Form:
    """Return the form of an enumeration. Raises ``ConfigurationError`` if a value of it is no str, int or bool."""
    name = named(cls)
    for member in cls:
        if not isinstance(member.value, str | int):
            kind = named(type(member.value))
            raise ConfigurationError(f"{name}.{member.name} has a {kind} as its value; it must be a str, int or bool")

    def encode(value: Any) -> Json:
        if type(value) is not cls:
            raise expected(name, value)
        content = value.value
        for plain in (bool, str, int):  # a member of a StrEnum or IntEnum may have another such member as value
            if isinstance(content, plain):
                return plain(content)
        raise expected(f"value of {name}", content)

    shapes = frozenset(type(encode(member)) for member in cls)

    def decode(data: Any) -> Any:
        if type(data) not in shapes:
            raise expected(name, data)
        try:
            return cls(data)
        except ValueError as error:
            raise Misfit(f"{shown(str(data))} is not a value of {name}") from error

    return Form(name, encode, decode, frozenset((cls,)), shapes)


def literal_form(values: tuple[Any, ...]) -> Form:
    """Return the form of ``Literal[values]``. Raises ``ConfigurationError`` for values other than str, int and bool."""
    name = f"Literal[{', '.join(map(repr, values))}]"
    kinds = frozenset(map(type, values))
    if not kinds <= {str, int, bool}:
        raise ConfigurationError(f"{name} may hold values of str, int and bool only")
    allowed = {(type(value), value) for value in values}

    def check(value: Any) -> Any:
        if type(value) not in kinds or (type(value), value) not in allowed:
            raise Misfit(f"expected {name}, got {shown(str(value))}")
        return value

    return Form(name, check, check, kinds, kinds)


SCALARS: dict[Any, Form] = {
    **{cls: _same(cls) for cls in (str, int, bool, type(None))},
    float: Form("float", _write_float, _read_float, frozenset((float,)), frozenset((float,))),
    bytes: _as_text(
        bytes, lambda value: base64.b64encode(value).decode("ascii"), lambda text: base64.b64decode(text, validate=True)
    ),
    Decimal: _as_text(Decimal, _write_decimal, Decimal),
    UUID: _as_text(UUID, str, UUID),
    real_class(date): _date_form(real_class(date)),
    time: _as_text(time, _write_moment, _read_time),
    real_class(datetime): _as_text(real_class(datetime), _write_moment, _read_datetime),
    timedelta: _as_text(timedelta, _write_timedelta, _read_timedelta),
}
"""The forms of the classes in the table above."""
