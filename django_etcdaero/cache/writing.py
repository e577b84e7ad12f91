"""Entries of caches in a record store: how a value gets into the record of its entry.

An ``int`` is kept as an integer of the store, which increments it atomically and keeps its time to live; whatever else
is kept, and an ``int`` with tags or with a fraction of a second in its timeout, stands in an envelope.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from django_etcdaero.exceptions import (
    ConfigurationError,
    KeyExists,
    RecordTooBig,
    StoreBusy,
    StoreFull,
    VersionConflict,
)
from django_etcdaero.records.arguments import MAX_KEY_BYTES
from django_etcdaero.records.store import Value
from django_etcdaero.system.clocks import monotonic

from . import parts
from .bound import Bound
from .codec import is_number
from .envelope import MAX_HEADER_FIELDS, NEVER, STAMP_BYTES, TAG_OVERHEAD, Envelope, unpack
from .lifetime import Life
from .reading import Found, Reading, encoded

AT_ONCE: Final = 3
"""Times that a change is tried without a pause when others change the same entry."""

FIRST_PAUSE: Final = 0.001
LONGEST_PAUSE: Final = 0.05
"""Seconds: the bound of the random pause before it is tried again grows from the one to the other."""

TOMBSTONE_TTL: Final = 86_400
"""Seconds that the mark of a deleted entry stays whose record had no time to live."""

NO_TOMBSTONES: Final = (ConfigurationError, StoreFull)
"""What a store says that takes no marks, because it is full or lets nothing expire. Records are then really removed."""


class Writing(Reading):
    """The records of entries, written with one codec. Raises what the store raises."""

    def __init__(
        self,
        *args: Any,
        wrote_parts: Callable[[], object],
        patience: float,
        bound: Bound | None = None,
        **options: Any,
    ) -> None:
        """``wrote_parts`` is called before an entry is written in parts; ``patience``: seconds for which a change is
        tried again while others change the same entry; the rest is for :class:`.reading.Reading`."""
        super().__init__(*args, **options)
        self._wrote_parts = wrote_parts
        self._patience = patience
        self._bound = bound

    def stamps(self, prefix: str, tags: Iterable[str], life: Life) -> tuple[tuple[str, bytes], ...]:
        found = super().stamps(prefix, tags, life)
        if found and self._bound is not None and (evicted := self._bound.keep_stamps(self.generation(prefix))):
            self._stamps.forget_some(evicted)
        return found

    def check_tags(self, tags: Iterable[str], key: str) -> None:
        """Raise ``ValueError`` if an entry cannot have all these tags, before anything is made or asked for it."""
        longest = MAX_KEY_BYTES - len(self._room) - 1 - STAMP_BYTES
        size = 0
        for tag in tags:
            length = len(encoded(tag))
            if length > longest:
                raise ValueError(f"tags: {tag[:40]!r}… is too long: {length} bytes, a tag may have {longest}")
            size += TAG_OVERHEAD + length
        most = MAX_HEADER_FIELDS - (len(text) if len(text := encoded(key)) > self._longest_key else 0)
        if size > most:
            raise ValueError(
                f"tags take {size} bytes together ({TAG_OVERHEAD} each beside the names), allowed are {most}"
            )

    def _encode_or_bury(
        self, record_key: bytes, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...]
    ) -> Value | Envelope:
        try:
            return self._encode(record_key, key, value, life, tags)
        except RecordTooBig:
            self._bury(record_key)
            raise

    def _encode(
        self,
        record_key: bytes,
        key: str,
        value: Any,
        life: Life,
        tags: tuple[tuple[str, bytes], ...],
        *,
        until: float = NEVER,
    ) -> Value | Envelope:
        """Return the value of the record, or an envelope that does not fit into one. Raises ``RecordTooBig``."""
        digested = record_key[len(self._room) : len(self._room) + 1] == b"d"
        if is_number(value) and not tags and life.expires == NEVER and not digested:
            return int(value)
        serializer, compressor, body = self._codec.body(value)
        most = self._store().max_value_bytes
        if not tags and not digested and until == NEVER and len(body) + parts.HEADROOM <= most:
            packed = self._codec.packed(record_key, serializer, compressor, life.expires, body)
            self._counters.bytes_written += len(packed)
            return packed
        named = key if digested else ""
        envelope = Envelope(serializer, compressor, time.time(), body, life.expires, tags, named, until=until)
        if len(body) + parts.HEADROOM > most:
            return envelope
        sealed = self._sealed(record_key, envelope)
        return sealed if len(sealed) <= most else envelope  # many tags

    def _sealed(self, record_key: bytes, envelope: Envelope) -> bytes:
        packed = self._codec.seal(record_key, envelope).pack()
        self._counters.bytes_written += len(packed)
        return packed

    def _put(self, record_key: bytes, encoded: Value | Envelope, life: Life, generation: int | None = None) -> None:
        if not isinstance(encoded, Envelope):
            self._store().put(record_key, encoded, ttl=life.ttl, generation=generation)
            self._evict(record_key)
            return
        store = self._store()
        former = store.get(record_key)
        self._put_parts(record_key, encoded, life, generation=generation)
        if former is not None:
            self._drop_parts({record_key: former.value})
        self._evict(record_key)

    def _put_parts(self, record_key: bytes, envelope: Envelope, life: Life, **condition: Any) -> None:
        """Write the parts of a large body, then its record, on a condition as ``put`` of the store takes it."""
        store, body = self._store(), envelope.body
        self._wrote_parts()
        signed = self._codec.seal(record_key, envelope)
        self._counters.bytes_written += len(body)
        written = parts.write(store, self._room, record_key, body, life.ttl)
        try:
            store.put(record_key, signed._replace(body=b"", parts=written).pack(), ttl=life.ttl, **condition)
        except (KeyExists, VersionConflict):
            parts.remove(store, self._room, record_key, written)
            raise

    def _create(self, record_key: bytes, encoded: Value | Envelope, life: Life) -> bool:
        if isinstance(encoded, Envelope):
            return False  # goes the long way
        try:
            self._store().put(record_key, encoded, ttl=life.ttl, create_only=True)
        except KeyExists:
            return False
        self._evict(record_key)
        return True

    def _evict(self, record_key: bytes) -> None:
        """Keep the entries beside ``record_key``, which was written, within their bound."""
        if self._bound is not None:
            self._drop_parts(self._bound.keep(record_key))

    def _drop_parts(self, records: Mapping[bytes, Value]) -> None:
        """Delete the parts of entries that were replaced or removed."""
        for record_key, value in records.items():
            envelope = unpack(value) if isinstance(value, bytes) else None
            if envelope is not None and envelope.parts is not None:
                parts.remove(self._store(), self._room, record_key, envelope.parts)

    def _change(
        self, prefix: str, key: str, change: Callable[[Found | None], tuple[Value | Envelope, Life] | None]
    ) -> bool:
        """Write what ``change`` makes of the entry, if nobody else has changed it meanwhile; else begin again.

        Returns whether it was written: not if ``change`` returns ``None``.
        """
        record_key = self.record_key(prefix, key)
        conflicts = 0
        limit = 0.0
        while True:
            record = self._store().get(record_key)
            found = self._read(prefix, {key: (record_key, record)}, stale=False).get(key) if record else None
            wanted = change(found)
            if wanted is None:
                return False
            encoded, life = wanted
            try:
                if record is None:
                    if isinstance(encoded, Envelope):
                        self._put_parts(record_key, encoded, life, create_only=True)
                    else:
                        self._store().put(record_key, encoded, ttl=life.ttl, create_only=True)
                    self._evict(record_key)
                else:
                    self._put(record_key, encoded, life, record.generation)
            except (KeyExists, VersionConflict):
                now = monotonic()
                limit = limit or now + self._patience
                if now >= limit:
                    raise StoreBusy(
                        f"the entry {key!r} has been changed by others for {self._patience:g} seconds, all the time"
                    ) from None
                if conflicts >= AT_ONCE:  # at random, so that not all who wait try again at the same time
                    most = min(FIRST_PAUSE * 2 ** min(conflicts - AT_ONCE, 16), LONGEST_PAUSE)
                    time.sleep(min(random.random() * most, limit - now))
                conflicts += 1
                continue
            return True

    def _bury(self, record_key: bytes) -> None:
        """Let nothing be left of an entry whose new value cannot be stored."""
        store = self._store()
        if store.deleted_may_return:
            try:
                store.put(record_key, Envelope(0, 0, time.time(), b"", tombstone=True).pack(), ttl=TOMBSTONE_TTL)
            except NO_TOMBSTONES:
                store.delete(record_key)
        else:
            store.delete(record_key)
