"""What stands under the two keys of a record, and how the keys are called.

Each record has two keys below the room of its store: ``h:`` and the record's key has its header, ``v:`` and the
record's key has the header again and the value. So looking at records, and going through all of them, reads no values,
and getting one is a single read. Both are written by one transaction, hang on the same lease and go together: their mod
revisions are equal, and a record is as it was as long as that is.

A header is a format number, what the value is, the generation, and the time of expiry in milliseconds since the epoch.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from django_etcdaero.exceptions import ResponseError
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.records.store import Meta, Record, Value

FORMAT = 1
HEADERS, VALUES = b"h:", b"v:"
"""What follows the room. No ``PREFIX`` of an alias has a colon, so no room stands inside another one's records."""

_HEADER = struct.Struct(">BBQq")
_NUMBER = struct.Struct(">q")
_NEVER = -1
_BYTES, _INT = 0, 1

HEADER_BYTES = _HEADER.size


class Header(NamedTuple):
    """What is known of a record without its value."""

    generation: int
    expires: int | None
    """Milliseconds since the epoch; ``None``: never."""
    is_int: bool

    def encode(self) -> bytes:
        """Return the header as it is stored."""
        expires = _NEVER if self.expires is None else self.expires
        return _HEADER.pack(FORMAT, _INT if self.is_int else _BYTES, self.generation, expires)

    def meta(self, now: int) -> Meta:
        """Return generation and time to live at ``now``."""
        return Meta(self.generation, _left(self.expires, now))


class Stored(NamedTuple):
    """What a read found under one of the keys of a record; an expired record, too."""

    revision: int
    """The mod revision; 0: there is nothing."""
    header: Header | None
    payload: bytes
    """The value as it is stored; empty where only the header was read."""

    @classmethod
    def of(cls, kv: KeyValue, location: str) -> Stored:
        """Take apart what stands under a key. Raises ``ResponseError``."""
        try:
            number, kind, generation, expires = _HEADER.unpack_from(kv.value)
        except struct.error:
            number = kind = generation = expires = -1
        if number != FORMAT or kind not in (_BYTES, _INT):
            raise ResponseError(f"{location}: what stands under the key {kv.key!r} is no record of this release")
        header = Header(generation, None if expires == _NEVER else expires, kind == _INT)
        return cls(kv.mod_revision, header, kv.value[HEADER_BYTES:])

    def live(self, now: int) -> Header | None:
        """Return the header, unless there is nothing or it has expired."""
        header = self.header
        return None if header is None or (header.expires is not None and header.expires <= now) else header

    def value(self) -> Value:
        """Return the value."""
        if self.header is not None and self.header.is_int:
            number: int = _NUMBER.unpack(self.payload)[0]
            return number
        return self.payload

    def record(self, now: int) -> Record | None:
        """Return the record as it is at ``now``, or ``None``."""
        header = self.live(now)
        return None if header is None else Record(self.value(), header.generation, _left(header.expires, now))

    def successor(self, now: int, expires: int | None, *, is_int: bool) -> Header:
        """Return the header of what is written over this at ``now``."""
        before = self.live(now)
        return Header(1 if before is None else before.generation + 1, expires, is_int)


ABSENT = Stored(0, None, b"")


def payload_of(value: Value) -> bytes:
    """Return a value as it is stored."""
    return value if isinstance(value, bytes) else _NUMBER.pack(value)


def _left(expires: int | None, now: int) -> int | None:
    """Whole seconds, rounded up."""
    return None if expires is None else -((now - expires) // 1000)
