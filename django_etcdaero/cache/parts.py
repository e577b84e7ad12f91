"""Bodies that are too large for one record: cut into parts, in records of their own.

``p<generation><name><n>`` is a part; ``q<generation><name>`` says which entry the parts belong to, so that they can be
found when that is gone. The parts are written first, then the entry that names them, and parts are never overwritten:
who reads an entry finds its own parts, or that one is missing, never those of another value.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from django_etcdaero.records.store import Record, RecordStore

from .envelope import STAMP_BYTES, Parts

HEADROOM: Final = 4096
"""Bytes of the largest record that a part, or an entry in one record, leaves free for header and overhead."""

_INDEX: Final = struct.Struct(">dI")


class Index(NamedTuple):
    """What is known of some parts without their entry."""

    generation: bytes
    name: bytes
    created: float
    """Seconds since the epoch."""
    number: int
    parent: bytes
    """The key of the entry's record."""

    def pieces(self, room: bytes) -> list[bytes]:
        """Return the keys of the parts."""
        start = room + b"p" + self.generation + self.name
        return [start + piece.to_bytes(4, "big") for piece in range(self.number)]


def index_start(room: bytes) -> bytes:
    """Return how the keys of all indexes begin."""
    return room + b"q"


def read_index(key: bytes, value: bytes) -> Index | None:
    """Read an index record; ``None``: it is not one."""
    if len(value) < _INDEX.size:
        return None
    created, number = _INDEX.unpack_from(value)
    return Index(key[-2 * STAMP_BYTES : -STAMP_BYTES], key[-STAMP_BYTES:], created, number, value[_INDEX.size :])


def _index(room: bytes, parent: bytes, parts: Parts) -> Index:
    start = len(room) + 1
    return Index(parent[start : start + STAMP_BYTES], parts.name, time.time(), parts.number, parent)


def write(store: RecordStore, room: bytes, parent: bytes, body: bytes, ttl: int | None) -> Parts:
    """Write the parts of a body, for the entry whose record is ``parent``. Raises what the store raises."""
    size = store.max_value_bytes - HEADROOM
    parts = Parts(os.urandom(STAMP_BYTES), -(-len(body) // size), len(body))
    index = _index(room, parent, parts)
    store.put(
        index_start(room) + index.generation + parts.name, _INDEX.pack(index.created, parts.number) + parent, ttl=ttl
    )
    pieces = index.pieces(room)
    store.put_many({key: body[number * size : (number + 1) * size] for number, key in enumerate(pieces)}, ttl=ttl)
    return parts


def read(store: RecordStore, room: bytes, parent: bytes, parts: Parts) -> bytes | None:
    """Return a body; ``None`` if a part of it is missing."""
    keys = _index(room, parent, parts).pieces(room)
    found: Mapping[bytes, Record] = store.get_many(keys)
    values = [found[key].value for key in keys if key in found]
    body = b"".join(value for value in values if isinstance(value, bytes))
    return body if len(body) == parts.length else None


def touch(store: RecordStore, room: bytes, parent: bytes, parts: Parts, ttl: int | None) -> None:
    """Let the parts live as long as their entry is to."""
    index = _index(room, parent, parts)
    keys = [*index.pieces(room), index_start(room) + index.generation + parts.name]
    store.touch_many(dict.fromkeys(keys), ttl)


def remove(store: RecordStore, room: bytes, parent: bytes, parts: Parts) -> None:
    """Remove the parts of an entry that is replaced."""
    index = _index(room, parent, parts)
    store.delete_many([*index.pieces(room), index_start(room) + index.generation + parts.name])
