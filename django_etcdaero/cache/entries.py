"""Entries of caches in a record store: writing them. Their keys, and reading them: :mod:`.reading`.

An ``int`` is kept as an integer of the store, which increments it atomically and keeps its time to live; whatever else
is kept, and an ``int`` with tags or with a fraction of a second in its timeout, stands in an envelope.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from django_etcdaero.exceptions import (
    ConfigurationError,
    KeyExists,
    KeyNotFound,
    RecordTooBig,
    StoreBusy,
    StoreFull,
    VersionConflict,
)
from django_etcdaero.records.store import Record, Value

from . import parts
from .bound import Bound
from .codec import is_number
from .envelope import NEVER, STAMP_BYTES, Envelope, unpack
from .lifetime import Life
from .reading import Found, Reading, is_fresh

ATTEMPTS: Final = 50
"""Times that a change is tried when others change the same entry."""

TOMBSTONE_TTL: Final = 86_400
"""Seconds that the mark of a deleted entry stays whose record had no time to live."""

NO_TOMBSTONES: Final = (ConfigurationError, StoreFull)
"""What a store says that takes no marks, because it is full or lets nothing expire. Records are then really removed."""


class Entries(Reading):
    """The entries of one place, read and written with one codec. Raises what the store raises.

    ``prefix`` is the key prefix of a cache, ``key`` the whole key, which includes it. ``room`` begins every record.
    """

    def __init__(
        self, *args: Any, wrote_parts: Callable[[], object], bound: Bound | None = None, **options: Any
    ) -> None:
        """``wrote_parts`` is called before an entry is written in parts; the rest is for :class:`.reading.Reading`."""
        super().__init__(*args, **options)
        self._wrote_parts = wrote_parts
        self._bound = bound

    def put(self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Write an entry, whatever was there. Raises ``RecordTooBig``; then what was there is gone."""
        record_key = self.record_key(prefix, key)
        self._put(record_key, self._encode_or_bury(record_key, key, value, life, tags), life)

    def put_loaded(
        self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...], over: Found | None
    ) -> bool:
        """Write what was loaded, unless the entry has changed since ``over`` was read (``None``: has come to be)."""
        if over is None:
            return self.add(prefix, key, value, life, tags)
        record_key = self.record_key(prefix, key)
        encoded = self._encode_or_bury(record_key, key, value, life, tags)
        try:
            # 0: it was in a near cache, where generations are not known.
            self._put(record_key, encoded, life, over.record.generation or None)
        except VersionConflict:
            return False
        return True

    def stand_in(self, prefix: str, key: str, stale: Found, life: Life, tags: tuple[tuple[str, bytes], ...]) -> None:
        """Write a stale value again, with another life, unless its entry has changed meanwhile."""
        if stale.envelope is None:
            return
        record_key = self.record_key(prefix, key)
        encoded = self._encode(record_key, key, stale.value, life, tags, until=stale.until)
        with suppress(VersionConflict):
            self._put(record_key, encoded, life, stale.record.generation)

    def put_many(
        self,
        prefix: str,
        items: Mapping[str, Any],
        lives: Callable[[Any], Life],
        tags: tuple[tuple[str, bytes], ...] = (),
    ) -> list[str]:
        """Write many entries; return the keys of those that are too large, whose old entries are gone.

        ``lives`` returns the life for a value; those with one ``ttl`` are written together.
        """
        small: dict[int | None, dict[bytes, Value]] = {}
        refused: list[str] = []
        for key, value in items.items():
            record_key = self.record_key(prefix, key)
            life = lives(value)
            try:
                encoded = self._encode_or_bury(record_key, key, value, life, tags)
                if isinstance(encoded, Envelope):
                    self._put(record_key, encoded, life)
                else:
                    small.setdefault(life.ttl, {})[record_key] = encoded
            except RecordTooBig:
                refused.append(key)
        for ttl, records in small.items():
            self._store().put_many(records, ttl=ttl)
            self._evict(next(iter(records)))
        return refused

    def add(self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...] = ()) -> bool:
        """Write an entry if there is none; return whether it was written. Of all who try, one succeeds."""
        record_key = self.record_key(prefix, key)
        encoded = self._encode(record_key, key, value, life, tags)
        if self._create(record_key, encoded, life):
            return True
        return self._change(prefix, key, lambda found: None if found else (encoded, life))

    def replace(self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...] = ()) -> bool:
        """Write an entry if there is one; return whether it was written."""
        record_key = self.record_key(prefix, key)
        encoded = self._encode_or_bury(record_key, key, value, life, tags)
        return self._change(prefix, key, lambda found: (encoded, life) if found else None)

    def swap(
        self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...] = ()
    ) -> Found | None:
        """Write an entry and return the one that it replaces."""
        record_key = self.record_key(prefix, key)
        encoded = self._encode_or_bury(record_key, key, value, life, tags)
        before: list[Found | None] = []

        def change(found: Found | None) -> tuple[Value | Envelope, Life]:
            before[:] = [found]
            return encoded, life

        self._change(prefix, key, change)
        return before[0]

    def touch(self, prefix: str, key: str, life: Life) -> bool:
        """Give an entry another life; return whether there was one."""
        found = self.get(prefix, key)
        if found is None:
            return False
        self._keep_tags(prefix, found, life)
        if self._keeps_its_header(found, life):
            record_key = self.record_key(prefix, key)
            if found.envelope is not None and found.envelope.parts is not None:
                parts.touch(self._store(), self._room, record_key, found.envelope.parts, life.ttl)
            return self._store().touch(record_key, life.ttl)
        return self._change(prefix, key, lambda now: self._relive(prefix, key, now, life))

    def touch_many(self, prefix: str, keys: Collection[str], life: Life) -> set[str]:
        """Give many entries another life; return the keys of those that there were."""
        found = self.get_many(prefix, keys)
        for entry in found.values():
            self._keep_tags(prefix, entry, life)
        plain = {
            self.record_key(prefix, key): key
            for key, entry in found.items()
            if self._keeps_its_header(entry, life) and (entry.envelope is None or entry.envelope.parts is None)
        }
        touched = {plain[each] for each in self._store().touch_many(dict.fromkeys(plain), life.ttl)} if plain else set()
        return touched | {key for key in found.keys() - set(plain.values()) if self.touch(prefix, key, life)}

    def increment(self, prefix: str, key: str, delta: int) -> Any:
        """Add to a number and return the sum; its life stays. Raises ``KeyNotFound``, ``TypeError``."""
        record_key = self.record_key(prefix, key)
        if is_number(delta):
            try:
                return self._store().increment(record_key, delta)
            except (TypeError, OverflowError):
                pass  # it stands in an envelope, or will
        totals: list[Any] = []

        def change(found: Found | None) -> tuple[Value | Envelope, Life]:
            if found is None:
                raise KeyNotFound(f"there is no entry {key!r}")
            totals[:] = [found.value + delta]
            tags = () if found.envelope is None else found.envelope.tags
            return self._encode(record_key, key, totals[0], found.life, tags), found.life

        self._change(prefix, key, change)
        return totals[0]

    def move(self, prefix: str, key: str, new_key: str) -> bool:
        """Write an entry under another key, with what is left of its life; then delete the old one.

        Returns whether there was one. Whoever fails in between leaves both.
        """
        found = self.get(prefix, key)
        if found is None:
            return False
        tags = () if found.envelope is None else found.envelope.tags
        self.put(prefix, new_key, found.value, found.life, tags)
        self.delete(prefix, (key,))
        return True

    def delete(self, prefix: str, keys: Collection[str]) -> int:
        """Delete entries; return how many there were, without those that have expired and are kept as stale ones.

        What is being loaded meanwhile is not written: it may have been read before what the deletion is about.
        """
        record_keys = [self.record_key(prefix, key) for key in keys]
        store = self._store()
        there: dict[bytes, Record] = {}
        envelopes: list[Envelope] = []
        numbers = 0
        locks = [self.lock_key(record_key) for record_key in record_keys]
        found = store.get_many([*record_keys, *locks])
        if loaded := [lock for lock in locks if found.pop(lock, None)]:
            store.delete_many(loaded)
            # Only now: whoever loads may have written since, and sees from here on that it must not.
            found = store.get_many(record_keys)
        for record_key, record in found.items():
            envelope = unpack(record.value) if isinstance(record.value, bytes) else None
            if envelope is not None and envelope.tombstone:
                continue
            there[record_key] = record
            if envelope is not None:
                envelopes.append(envelope)
            numbers += not isinstance(record.value, bytes)
        stamps = self._current(prefix, {tag for envelope in envelopes for tag, _ in envelope.tags})
        now = time.time()
        counted = numbers + sum(is_fresh(envelope, now, stamps) for envelope in envelopes)
        if not there:
            return 0
        if store.deleted_may_return:
            tombstone = Envelope(0, 0, now, b"", tombstone=True).pack()
            ttl = max(TOMBSTONE_TTL if record.ttl is None else record.ttl for record in there.values())
            try:
                store.put_many(dict.fromkeys(there, tombstone), ttl=ttl)
            except NO_TOMBSTONES:
                store.delete_many(there)
        elif len(there) == 1:
            counted *= store.delete(next(iter(there)))
        else:
            store.delete_many(there)
        self._drop_parts({record_key: record.value for record_key, record in there.items()})
        return counted

    def clear(self, prefix: str) -> None:
        """Let no entry of ``prefix`` count any more."""
        self._stamps.renew(self._generation_name(prefix), self._max_age)

    def invalidate(self, prefix: str, tags: Iterable[str]) -> None:
        """Let no entry with one of ``tags`` count any more."""
        names = [self._tag(prefix, tag) for tag in tags]
        if names:
            self._stamps.invalidate(names, self._max_age)

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
        data = self._in_parts(record_key, encoded, life)
        store.put(record_key, data, ttl=life.ttl, generation=generation)
        if former is not None:
            self._drop_parts({record_key: former.value})
        self._evict(record_key)

    def _in_parts(self, record_key: bytes, envelope: Envelope, life: Life) -> bytes:
        """Write the parts of a large body; return the value of its record."""
        body = envelope.body
        self._wrote_parts()
        signed = self._codec.seal(record_key, envelope)
        self._counters.bytes_written += len(body)
        written = parts.write(self._store(), self._room, record_key, body, life.ttl)
        return signed._replace(body=b"", parts=written).pack()

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
            start = len(self._room) + 1
            self._drop_parts(self._bound.keep(record_key[:start], start + STAMP_BYTES, record_key))

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
        for _ in range(ATTEMPTS):
            record = self._store().get(record_key)
            found = self._read(prefix, {key: (record_key, record)}, stale=False).get(key) if record else None
            wanted = change(found)
            if wanted is None:
                return False
            encoded, life = wanted
            try:
                if record is None:
                    if isinstance(encoded, Envelope):
                        encoded = self._in_parts(record_key, encoded, life)
                    self._store().put(record_key, encoded, ttl=life.ttl, create_only=True)
                    self._evict(record_key)
                else:
                    self._put(record_key, encoded, life, record.generation)
            except (KeyExists, VersionConflict):
                continue
            return True
        raise StoreBusy(f"the entry {key!r} is changed by others all the time")

    def _keep_tags(self, prefix: str, found: Found, life: Life) -> None:
        """Let the stamps of an entry's tags live as long as the entry is to."""
        if found.envelope is not None and found.envelope.tags:
            self.stamps(prefix, [tag for tag, _ in found.envelope.tags], life)

    def _keeps_its_header(self, found: Found, life: Life) -> bool:
        return life.expires == NEVER and (found.envelope is None or found.envelope.expires == NEVER)

    def _relive(self, prefix: str, key: str, found: Found | None, life: Life) -> tuple[Value | Envelope, Life] | None:
        if found is None:
            return None
        tags = () if found.envelope is None else found.envelope.tags
        return self._encode(self.record_key(prefix, key), key, found.value, life, tags), life

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
