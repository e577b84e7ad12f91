"""Finding a row by its key, where all that is known of the rows' keys is how they are encoded.

In a ``dict`` keys of different types can be equal: ``1``, ``1.0``, ``True`` and ``Decimal("1.00")`` are one key, and so
are one moment in two time zones, and tuples of such. So each key has a *usual form*: values that are equal have the
same one, and for text, bytes and whole numbers, which are nearly all keys there are, it is the value itself. What is
looked up is brought into its usual form. Rows whose own key is in another form are found by the usual one in a small
table of their own (:mod:`.form`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from itertools import chain
from typing import Any, Final
from uuid import UUID
from zlib import crc32

import msgpack

from django_etcdaero.datasets.blocks import scalars
from django_etcdaero.datasets.blocks.codec import Encoder, decode
from django_etcdaero.exceptions import EncodeError
from django_etcdaero.system.real_dates import real_class

PLAIN: Final = frozenset((str, int, bytes))
"""Types whose values are in their usual form, and that :data:`pack` takes."""

pack: Final[Callable[[Any], bytes]] = msgpack.Packer(strict_types=True).pack
"""Encode a value of one of the :data:`PLAIN` types: no code of Python runs meanwhile, so threads may share it.

Raises ``UnicodeEncodeError`` and ``OverflowError`` for what only an :class:`.codec.Encoder` can do."""

MIX: Final = 0x9E3779B1
"""2**32 over the golden ratio, as where rows are assigned to blocks (:mod:`.blocks.partition`)."""
_USUAL_TYPES: Final = frozenset((str, int, bytes, type(None), UUID, real_class(date), timedelta))
_MOST_DIGITS: Final = 400
"""Of a ``Decimal`` that is taken for a whole number: ``Decimal("1E+999999")`` would be one of a million digits."""
_ENCODERS: Final = threading.local()


def mixed(encoded: bytes) -> int:
    """Return a hash of 32 bits. Its upper bits are the number of the block that a row is in (``block_of``)."""
    return crc32(encoded) * MIX & 0xFFFFFFFF


def usual(key: Any) -> Any:
    """Return the form in which ``key`` is looked up, equal for equal keys. Raises ``TypeError`` as ``hash`` does."""
    kind = type(key)
    if kind in _USUAL_TYPES:
        return key
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, int):
        return int(key)
    if isinstance(key, bytes):
        return bytes(key)
    if isinstance(key, float):
        return int(key) if key.is_integer() else float(key)
    if isinstance(key, Decimal):
        return _usual_decimal(key)
    if isinstance(key, datetime):
        return _usual_datetime(key)
    if isinstance(key, time):
        return _usual_time(key)
    if isinstance(key, tuple):
        return tuple([usual(item) for item in key])
    if isinstance(key, frozenset):
        return frozenset([usual(item) for item in key])
    hash(key)
    return key


def _usual_decimal(key: Decimal) -> Any:
    if key.is_infinite() or key.is_nan():
        return float(key)
    if key.adjusted() < _MOST_DIGITS and key == key.to_integral_value():
        return int(key)
    if float(key) == key:
        return float(key)
    digits = len(key.as_tuple().digits)
    return key.normalize(Context(prec=digits, Emin=MIN_EMIN, Emax=MAX_EMAX))


def _usual_datetime(key: datetime) -> datetime:
    # As its hash does: the first of two moments that the clocks of a zone show alike.
    key = key.replace(fold=0)
    offset, naive = key.utcoffset(), key.replace(tzinfo=None)
    if offset is None:
        return naive
    try:
        return (naive - offset).replace(tzinfo=UTC)
    except OverflowError:  # in the first or the last hours that there are
        return naive.replace(tzinfo=UTC)


def _usual_time(key: time) -> Any:
    key = key.replace(fold=0)
    offset = key.utcoffset()
    if offset is None:
        return key.replace(tzinfo=None)
    since = timedelta(hours=key.hour, minutes=key.minute, seconds=key.second, microseconds=key.microsecond)
    return since - offset


def encoded(key: Any) -> bytes | None:
    """Return the encoding of a key's usual form; ``None``: it is of a type that no row's key can be of.

    Raises ``TypeError`` for what cannot be a key of a dictionary.
    """
    encoder: Encoder | None = getattr(_ENCODERS, "encoder", None)
    if encoder is None:
        encoder = _ENCODERS.encoder = Encoder()
    form = usual(key)
    try:
        return encoder.encode((form,), (None,))[0][0]
    except EncodeError:
        return None


_ALWAYS_USUAL: Final = frozenset((scalars.INT, scalars.UUID_, scalars.DATE, scalars.TIMEDELTA))
_FIRST_BYTES: Final = frozenset(
    chain(range(0x80), range(0xA0, 0xC1), range(0xC4, 0xC7), range(0xCC, 0xD4), range(0xD9, 0xDC), range(0xE0, 0x100))
)
"""Of None, text, bytes and whole numbers of at most 64 bits, in MessagePack."""
_EXTENSIONS: Final = {0xC7: 2, 0xC8: 3, 0xC9: 5, 0xD4: 1, 0xD5: 1, 0xD6: 1, 0xD7: 1, 0xD8: 1}
"""Where the code of an extension stands, by its first byte."""


def other_forms(keys: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Return those of the encoded ``keys`` that are not in the usual form: where they stand, and that form, encoded."""
    found = []
    for index, key in enumerate(keys):
        first = key[0]
        if first in _FIRST_BYTES:
            continue
        at = _EXTENSIONS.get(first)
        if at is not None and key[at] in _ALWAYS_USUAL:
            continue
        form = encoded(decode(key, frozen=True))
        if form is not None and form != key:
            found.append((index, form))
    return found
