"""An entry as it stands in the store, for somebody who looks at it.

Nothing is loaded, written or unpickled by that, and it counts neither as a hit nor as a use. What the process holds of
the cache, in its near cache and of stamps, is left aside: the answer is what the store says now.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.records.store import Record, RecordStore

from . import compressors, parts, serializers
from .codec import Codec
from .envelope import NEVER, Envelope, unpack
from .reading import encoded

INTEGER: Final = "integer"
"""What stands for a serializer where the value is an integer of the store."""


class EntryState(enum.StrEnum):
    """Whether an entry counts."""

    FRESH = "fresh"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    """A tag of it was invalidated."""
    DELETED = "deleted"
    """A mark in its place keeps it from coming back with a server that was away."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """An entry. Times are in seconds, sizes in bytes."""

    stored_key: str
    """With key prefix and version."""
    state: EntryState
    why: str = ""
    """It cannot be read."""
    serializer: str = INTEGER
    compressor: str | None = None
    signed: bool = False
    size: int
    """Of the value as it is stored."""
    records: int = 1
    """How many records it takes in the store."""
    created: float | None = None
    """Seconds since the epoch; ``None``: not known."""
    expires_in: float | None
    """Until it expires; ``None``: never."""
    gone_in: float | None
    """Until nothing of it is left, not even for loads that fail; ``None``: never."""
    tags: dict[str, bool] = field(default_factory=dict)
    """By tag, whether it has not been invalidated since the entry was written."""
    loading: bool = False
    """Somebody makes its value at this moment."""
    content: bytes | int | None = None
    """The value, decompressed and not unpickled or decoded otherwise; ``None``: it cannot be had."""

    @property
    def stands_in(self) -> bool:
        """Whether it counts as missing, and ``get_or_set(stale=…)`` may fall back on it until it is gone."""
        return self.state in (EntryState.EXPIRED, EntryState.INVALIDATED) and self.gone_in != 0


class Looking:
    """The entries of one key prefix in one ``generation``, as they stand in ``store``."""

    def __init__(self, store: RecordStore, codec: Codec, *, room: bytes, generation: bytes, timeout: float) -> None:
        """``room`` begins the keys of all records; ``timeout``: seconds for each call to the store."""
        self._store = store
        self._codec = codec
        self._room = room
        self._generation = generation
        self._timeout = timeout

    def entry(self, key: str, record_key: bytes, lock_key: bytes) -> StoredEntry | None:
        """Return the entry with this (whole) key, whose record has ``record_key``; ``None``: there is none.

        ``lock_key`` is that of the record which says that somebody loads it. Raises what the store raises.
        """
        record = self._store.peek(record_key, timeout=self._timeout)
        if record is None:
            return None
        loading = self._store.exists(lock_key, timeout=self._timeout) is not None
        if not isinstance(record.value, bytes):
            return StoredEntry(
                stored_key=key,
                state=EntryState.FRESH,
                size=8,
                expires_in=record.ttl,
                gone_in=record.ttl,
                loading=loading,
                content=record.value,
            )
        envelope = unpack(record.value)
        if envelope is None:
            return self._damaged(key, record, loading)
        tags, now = self._tags(envelope), time.time()
        expires_in = record.ttl if envelope.expires == NEVER else max(0.0, envelope.expires - now)
        gone_in = record.ttl if envelope.until == NEVER else max(0.0, envelope.until - now)
        state, why, content = _state(envelope, tags, now), "", None
        if state is not EntryState.DELETED:
            try:
                content = self._content(record_key, envelope)
            except CorruptBlock as error:
                state, why = EntryState.UNREADABLE, str(error)
        return StoredEntry(
            stored_key=key,
            state=state,
            why=why,
            serializer=_serializer_name(envelope.serializer),
            compressor=_compressor_name(envelope.compressor),
            signed=envelope.signature is not None,
            size=len(envelope.body) if envelope.parts is None else envelope.parts.length,
            records=1 if envelope.parts is None else 2 + envelope.parts.number,
            created=envelope.created,
            expires_in=expires_in,
            gone_in=gone_in,
            tags=tags,
            loading=loading,
            content=content,
        )

    def _damaged(self, key: str, record: Record, loading: bool) -> StoredEntry:
        assert isinstance(record.value, bytes)
        return StoredEntry(
            stored_key=key,
            state=EntryState.UNREADABLE,
            why="it is damaged, or of another format",
            serializer="unknown",
            size=len(record.value),
            expires_in=record.ttl,
            gone_in=record.ttl,
            loading=loading,
        )

    def _tags(self, envelope: Envelope) -> dict[str, bool]:
        if not envelope.tags:
            return {}
        start = self._room + b"t" + self._generation
        found = self._store.get_many([start + encoded(tag) for tag, _ in envelope.tags], timeout=self._timeout)
        return {
            tag: (record := found.get(start + encoded(tag))) is not None and record.value == stamp
            for tag, stamp in envelope.tags
        }

    def _content(self, record_key: bytes, envelope: Envelope) -> bytes:
        """Return the value as its serializer made it. Raises ``CorruptBlock`` if this project would not read it."""
        if envelope.parts is not None:
            longest = self._codec.longest
            body = None
            if envelope.parts.length <= longest:
                body = parts.read(self._store, self._room, record_key, envelope.parts)
            if body is None:
                raise CorruptBlock("a part of it is missing")
            envelope = envelope._replace(body=body, parts=None)
        return self._codec.unpacked(record_key, envelope)


def _state(envelope: Envelope, tags: Mapping[str, bool], now: float) -> EntryState:
    if envelope.tombstone:
        return EntryState.DELETED
    if envelope.expires > now and all(tags.values()):
        return EntryState.FRESH
    return EntryState.EXPIRED if envelope.expires <= now else EntryState.INVALIDATED


def _serializer_name(code: int) -> str:
    if code == serializers.CUSTOM:
        return "of the project"
    return next((each.name for each in serializers.BUILT_IN.values() if each.code == code), f"unknown ({code})")


def _compressor_name(code: int) -> str | None:
    if code == compressors.NONE:
        return None
    found = compressors.BY_CODE.get(code)
    return f"unknown ({code})" if found is None else found.name
