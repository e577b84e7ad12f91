"""Entries of caches in a record store: what each operation of a cache reads and writes there.

Keys of records, below the room of the caches in the store::

    g<key prefix>            the generation of the prefix (see .stamps)
    t<generation><tag>       the stamp of a tag
    e<generation><key>       an entry
    d<generation><digest>    an entry whose key is too long for a record's
    p…, q…                   parts of an entry that is too large for one record (see .parts)
    l<generation><key>       somebody loads an entry (see .loading)
    m, w                     there is something to sweep, and somebody sweeps (see .sweeping)

An ``int`` is kept as an integer of the store, which increments it atomically and keeps its time to live; whatever else
is kept, and an ``int`` with tags or with a fraction of a second in its timeout, stands in an envelope.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from django_etcdaero.exceptions import KeyExists, KeyNotFound, RecordTooBig, StoreBusy, VersionConflict
from django_etcdaero.records.arguments import MAX_KEY_BYTES
from django_etcdaero.records.store import Record, RecordStore, Value, batches

from . import parts
from .bound import Bound
from .codec import MISSING, Codec, is_number
from .counters import Counters
from .envelope import NEVER, STAMP_BYTES, Envelope, unpack
from .lifetime import Life
from .stamps import Stamps

ATTEMPTS: Final = 50
"""Times that a change is tried when others change the same entry."""

TOMBSTONE_TTL: Final = 86_400
"""Seconds that the mark of a deleted entry stays whose record had no time to live."""


class Found(NamedTuple):
    """An entry as it was read."""

    value: Any
    fresh: bool
    """It has not expired, and its tags are valid."""
    record: Record
    envelope: Envelope | None
    """``None`` for an integer of the store."""
    body: bytes = b""
    """The value, encoded, wherever it stands in the store."""

    @property
    def left(self) -> float | None:
        """Seconds until it expires; ``None``: never."""
        if self.envelope is not None and self.envelope.expires != NEVER:
            return max(0.0, self.envelope.expires - time.time())
        return self.record.ttl

    @property
    def until(self) -> float:
        """Seconds since the epoch at which it does not count as a stale value either."""
        if self.envelope is not None and self.envelope.until != NEVER:
            return self.envelope.until
        return NEVER if self.record.ttl is None else time.time() + self.record.ttl

    @property
    def life(self) -> Life:
        """What is left of its life.

        The store tells it in whole seconds, rounded up: who writes it again and again must say when it ends, or it
        never would. (An integer of the store keeps its time by itself.)
        """
        if self.envelope is None:
            return Life(self.record.ttl)
        if self.envelope.expires == NEVER and self.record.ttl is not None:
            return Life(self.record.ttl, time.time() + self.record.ttl)
        return Life(self.record.ttl, self.envelope.expires)


class Entries:
    """The entries of one place, written with one codec. Raises what the store raises.

    ``prefix`` is the key prefix of a cache, ``key`` the whole key, which includes it. ``room`` begins every record.
    """

    def __init__(
        self,
        store: Callable[[], RecordStore],
        stamps: Stamps,
        codec: Codec,
        counters: Counters,
        *,
        room: bytes,
        stamp_max_age: float,
        wrote_parts: Callable[[], object],
        bound: Bound | None = None,
    ) -> None:
        """``wrote_parts`` is called before an entry is written in parts."""
        self._wrote_parts = wrote_parts
        self._store = store
        self._stamps = stamps
        self._codec = codec
        self._counters = counters
        self._room = room
        self._max_age = stamp_max_age
        self._bound = bound

        self._longest_key = MAX_KEY_BYTES - len(room) - 2 - STAMP_BYTES  # one for the lock's, which is longer by one
        self._names: dict[str, bytes] = {}
        """The names of the generations of key prefixes."""

    # --- keys --------------------------------------------------------------------------------------------------------

    def generation(self, prefix: str) -> bytes:
        """Return the generation that entries of ``prefix`` belong to now."""
        self._store()  # first: what is held of another store's stamps, before it was opened anew, is forgotten then
        name = self._names.get(prefix)
        if name is None:
            name = self._names[prefix] = self._room + b"g" + _encoded(prefix)
        return self._stamps.generation(name, self._max_age)

    def record_key(self, prefix: str, key: str) -> bytes:
        """Return the key of an entry's record."""
        encoded = key.encode("utf-8", "surrogatepass")
        generation = self.generation(prefix)
        if len(encoded) <= self._longest_key:
            return self._room + b"e" + generation + encoded
        return self._room + b"d" + generation + hashlib.blake2b(encoded, digest_size=32).digest()

    def lock_key(self, record_key: bytes) -> bytes:
        """Return the key of the record that says that somebody loads an entry."""
        return self._room + b"l" + record_key[len(self._room) :]

    def _tag(self, prefix: str, tag: str) -> bytes:
        name = self._room + b"t" + self.generation(prefix) + _encoded(tag)
        if len(name) > MAX_KEY_BYTES:
            raise ValueError(f"the tag {tag[:40]!r}… is too long")
        return name

    # --- reading -----------------------------------------------------------------------------------------------------

    def value(self, prefix: str, key: str) -> Any:
        """Return the value of a fresh entry, ``MISSING`` if there is none."""
        record_key = self.record_key(prefix, key)
        record = self._store().get(record_key)
        if record is None:
            return MISSING
        stored = record.value
        if type(stored) is int:
            return stored
        value = self._codec.quick(record_key, stored)  # type: ignore[arg-type] # bytes
        if value is not MISSING:
            self._counters.bytes_read += len(stored)  # type: ignore[arg-type]
            return value
        found = self._read(prefix, {key: (record_key, record)}, stale=False).get(key)
        return MISSING if found is None else found.value

    def values(self, prefix: str, keys: Collection[str]) -> dict[str, Any]:
        """Return the values of the fresh entries, in one call to the store, or two if some have tags."""
        start = self._room + b"e" + self.generation(prefix)
        longest = self._longest_key
        record_keys: dict[bytes, str] = {}
        for key in keys:
            encoded = key.encode("utf-8", "surrogatepass")
            record_keys[start + encoded if len(encoded) <= longest else self.record_key(prefix, key)] = key
        quick = self._codec.quick
        found: dict[str, Any] = {}
        others: dict[str, tuple[bytes, Record]] = {}
        for record_key, record in self._store().get_many(record_keys).items():
            value: Any = record.value
            if type(value) is not int:
                self._counters.bytes_read += len(value)
                value = quick(record_key, value)
                if value is MISSING:
                    others[record_keys[record_key]] = (record_key, record)
                    continue
            found[record_keys[record_key]] = value
        if others:
            found |= {key: entry.value for key, entry in self._read(prefix, others, stale=False).items()}
        return found

    def get(self, prefix: str, key: str, *, stale: bool = False) -> Found | None:
        """Return an entry, ``None`` if there is none. ``stale``: also one that has expired, as long as it is there."""
        record_key = self.record_key(prefix, key)
        record = self._store().get(record_key)
        if record is None:
            return None
        if type(record.value) is int:
            return Found(record.value, True, record, None)
        return self._read(prefix, {key: (record_key, record)}, stale=stale).get(key)

    def get_many(self, prefix: str, keys: Collection[str], *, stale: bool = False) -> dict[str, Found]:
        """Return those entries that there are, in one call to the store, or two if they have tags."""
        record_keys = {self.record_key(prefix, key): key for key in keys}
        records = self._store().get_many(record_keys)
        return self._read(
            prefix, {record_keys[found]: (found, record) for found, record in records.items()}, stale=stale
        )

    # What a near cache changes: .near_entries

    def look(self, prefix: str, key: str, *, stale: bool = False) -> Found | None:
        """Return an entry as :meth:`get` does, or as it was a short time ago."""
        return self.get(prefix, key, stale=stale)

    def look_many(self, prefix: str, keys: Collection[str]) -> dict[str, Found]:
        """Return entries as :meth:`get_many` does, or as they were a short time ago."""
        return self.get_many(prefix, keys)

    def near(self, prefix: str, key: str) -> Found | None:
        """Return an entry without a call to the store, ``None`` if that cannot be."""
        return None

    def near_value(self, prefix: str, key: str) -> Any:
        """Return the value of what :meth:`near` returns, ``MISSING`` if it returns nothing."""
        return MISSING

    def after_fork_in_child(self) -> None:
        """Forget what belongs to the parent."""

    def _read(self, prefix: str, records: Mapping[str, tuple[bytes, Record]], *, stale: bool) -> dict[str, Found]:
        now = time.time()
        entries: dict[str, Envelope] = {}
        found: dict[str, Found] = {}
        tags: set[str] = set()
        for key, (_, record) in records.items():
            if not isinstance(record.value, bytes):
                found[key] = Found(record.value, True, record, None)
                continue
            self._counters.bytes_read += len(record.value)
            envelope = unpack(record.value)
            if envelope is None:
                self._counters.unreadable += 1
            elif not envelope.tombstone and (envelope.expires > now or (stale and envelope.until > now)):
                if envelope.key and envelope.key != key:
                    self._counters.unreadable += 1
                    continue
                entries[key] = envelope
                tags.update(tag for tag, _ in envelope.tags)
        stamps = self._current(prefix, tags)
        for key, envelope in entries.items():
            fresh = _fresh(envelope, now, stamps)
            if not fresh and not stale:
                continue
            record_key, record = records[key]
            whole = self._whole(record_key, envelope)
            value = MISSING
            if whole is not None and self._codec.authentic(record_key, whole):
                value = self._codec.value(record_key, whole)
            if value is MISSING:
                self._counters.unreadable += 1
            else:
                found[key] = Found(value, fresh, record, envelope, whole.body if whole else b"")
        return found

    def _current(self, prefix: str, tags: Collection[str]) -> dict[str, bytes]:
        if not tags:
            return {}
        names = {self._tag(prefix, tag): tag for tag in tags}
        return {names[name]: stamp for name, stamp in self._stamps.tags(names, self._max_age).items()}

    def stamps(self, prefix: str, tags: Iterable[str], life: Life) -> tuple[tuple[str, bytes], ...]:
        """Return the stamps that an entry with ``tags`` written now has. What is made later may use them."""
        names = {self._tag(prefix, tag): tag for tag in tags}
        if not names:
            return ()
        found = self._stamps.tags_for_writing(names, self._max_age, ttl=life.ttl)
        return tuple(sorted((tag, found[name]) for name, tag in names.items()))

    # --- writing -----------------------------------------------------------------------------------------------------

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
        self, prefix: str, items: Mapping[str, Any], life: Life, tags: tuple[tuple[str, bytes], ...] = ()
    ) -> list[str]:
        """Write many entries; return the keys of those that are too large, whose old entries are gone."""
        small: dict[bytes, Value] = {}
        refused: list[str] = []
        for key, value in items.items():
            record_key = self.record_key(prefix, key)
            try:
                encoded = self._encode_or_bury(record_key, key, value, life, tags)
                if isinstance(encoded, Envelope):
                    self._put(record_key, encoded, life)
                else:
                    small[record_key] = encoded
            except RecordTooBig:
                refused.append(key)
        if small:
            self._store().put_many(small, ttl=life.ttl)
            self._evict(next(iter(small)))
        return refused

    def add(self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...] = ()) -> bool:
        """Write an entry if there is none; return whether it was written. Of all who try, one succeeds."""
        record_key = self.record_key(prefix, key)
        encoded = self._encode(record_key, key, value, life, tags)
        if self._create(record_key, encoded, life):
            return True
        return self._change(prefix, key, lambda found: None if found else (encoded, life)) is not None

    def replace(self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...] = ()) -> bool:
        """Write an entry if there is one; return whether it was written."""
        record_key = self.record_key(prefix, key)
        encoded = self._encode_or_bury(record_key, key, value, life, tags)
        return self._change(prefix, key, lambda found: (encoded, life) if found else None) is not None

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
        return self._change(prefix, key, lambda now: self._relive(prefix, key, now, life)) is not None

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
        counted = numbers + sum(_fresh(envelope, now, stamps) for envelope in envelopes)
        if not there:
            return 0
        if store.deleted_may_return:
            tombstone = Envelope(0, 0, now, b"", tombstone=True).pack()
            ttl = max(TOMBSTONE_TTL if record.ttl is None else record.ttl for record in there.values())
            store.put_many(dict.fromkeys(there, tombstone), ttl=ttl)
        elif len(there) == 1:
            counted *= store.delete(next(iter(there)))
        else:
            store.delete_many(there)
        self._drop_parts({record_key: record.value for record_key, record in there.items()})
        return counted

    def clear(self, prefix: str) -> None:
        """Let no entry of ``prefix`` count any more."""
        self._stamps.renew(self._room + b"g" + _encoded(prefix), self._max_age)

    def invalidate(self, prefix: str, tags: Iterable[str]) -> None:
        """Let no entry with one of ``tags`` count any more."""
        names = [self._tag(prefix, tag) for tag in tags]
        if names:
            self._stamps.invalidate(names, self._max_age)

    def keys(self, prefix: str, size: int) -> Iterator[str]:
        """Yield the keys of all live entries of ``prefix``, reading ``size`` of them at a time."""
        store, generation = self._store(), self.generation(prefix)
        start, digests = self._room + b"e" + generation, self._room + b"d" + generation
        for batch in batches((key for key, _ in store.scan(start)), size):
            yield from self._read(
                prefix,
                {_decoded(key[len(start) :]): (key, record) for key, record in store.get_many(batch).items()},
                stale=False,
            )
        for batch in batches((key for key, _ in store.scan(digests)), size):
            long: dict[str, tuple[bytes, Record]] = {}
            for record_key, record in store.get_many(batch).items():
                envelope = unpack(record.value) if isinstance(record.value, bytes) else None
                if envelope is not None and envelope.key:
                    long[envelope.key] = (record_key, record)
            yield from self._read(prefix, long, stale=False)

    # --- inside ------------------------------------------------------------------------------------------------------

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

    def _whole(self, record_key: bytes, envelope: Envelope) -> Envelope | None:
        """Return the entry with its body; ``None`` if a part of it is missing."""
        if envelope.parts is None:
            return envelope
        body = parts.read(self._store(), self._room, record_key, envelope.parts)
        if body is None:
            return None
        self._counters.bytes_read += len(body)
        return envelope._replace(body=body, parts=None)

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
    ) -> Found | bool | None:
        """Write what ``change`` makes of the entry, if nobody else has changed it meanwhile; else begin again.

        Returns ``None`` if ``change`` does, else ``True``.
        """
        record_key = self.record_key(prefix, key)
        for _ in range(ATTEMPTS):
            record = self._store().get(record_key)
            found = self._read(prefix, {key: (record_key, record)}, stale=False).get(key) if record else None
            wanted = change(found)
            if wanted is None:
                return None
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
            store.put(record_key, Envelope(0, 0, time.time(), b"", tombstone=True).pack(), ttl=TOMBSTONE_TTL)
        else:
            store.delete(record_key)


def _fresh(envelope: Envelope, now: float, stamps: Mapping[str, bytes]) -> bool:
    return envelope.expires > now and all(stamps.get(tag) == stamp for tag, stamp in envelope.tags)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
