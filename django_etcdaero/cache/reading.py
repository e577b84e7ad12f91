"""Entries of caches in a record store: their keys, and reading them.

Keys of records, below the room of the caches in the store::

    g<key prefix>            the generation of the prefix (see .stamps)
    t<generation><tag>       the stamp of a tag
    e<generation><key>       an entry
    d<generation><digest>    an entry whose key is too long for a record's
    p…, q…                   parts of an entry that is too large for one record (see .parts)
    l<kind><generation><key> somebody loads an entry (see .loading)
    m, w                     there is something to sweep, and somebody sweeps (see .sweeping)
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.records.arguments import MAX_KEY_BYTES
from django_etcdaero.records.store import Record, RecordStore, batches

from . import parts
from .codec import MISSING, Codec
from .counters import Counters
from .envelope import NEVER, STAMP_BYTES, Envelope, unpack
from .lifetime import Life
from .near import NearState
from .stamps import Stamps
from .unreadable import Unreadable

MAX_LONG_KEY: Final = 32_768
"""Bytes of the longest key: it stands in the header of its entry, beside the tags."""


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


class Reading:
    """The entries of one place, as they are read. Raises what the store raises.

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
        shown: Callable[[str], str] = str,
    ) -> None:
        """``shown`` makes of a key the one that messages tell."""
        self._store = store
        self._stamps = stamps
        self._codec = codec
        self._counters = counters
        self._unreadable = Unreadable(counters, shown)
        self._room = room
        self._max_age = stamp_max_age
        self._longest_key = MAX_KEY_BYTES - len(room) - 2 - STAMP_BYTES  # one for the lock's, which is longer by one
        self._names: dict[str, bytes] = {}
        """The names of the generations of key prefixes."""

    def generation(self, prefix: str) -> bytes:
        """Return the generation that entries of ``prefix`` belong to now."""
        self._store()  # first: what is held of another store's stamps, before it was opened anew, is forgotten then
        return self._generation(prefix)

    def _generation(self, prefix: str) -> bytes:
        name = self._names.get(prefix)
        if name is None:
            name = self._names[prefix] = self._generation_name(prefix)
        return self._stamps.generation(name, self._max_age)

    def _generation_name(self, prefix: str) -> bytes:
        return self._room + b"g" + encoded(prefix)

    def record_key(self, prefix: str, key: str) -> bytes:
        """Return the key of an entry's record."""
        self._store()  # as in generation()
        return self._record_key(prefix, key)

    def _record_key(self, prefix: str, key: str) -> bytes:
        text = encoded(key)
        generation = self._generation(prefix)
        if len(text) <= self._longest_key:
            return self._room + b"e" + generation + text
        if len(text) > MAX_LONG_KEY:
            raise ValueError(f"key {key[:40]!r}… has {len(text)} bytes, allowed are {MAX_LONG_KEY}")
        return self._room + b"d" + generation + hashlib.blake2b(text, digest_size=32).digest()

    def lock_key(self, record_key: bytes) -> bytes:
        """Return the key of the record that says that somebody loads an entry."""
        return self._room + b"l" + record_key[len(self._room) :]

    def _tag(self, prefix: str, tag: str) -> bytes:
        name = self._room + b"t" + self.generation(prefix) + encoded(tag)
        if len(name) > MAX_KEY_BYTES:
            raise ValueError(f"the tag {tag[:40]!r}… is too long")
        return name

    def value(self, prefix: str, key: str) -> Any:
        """Return the value of a fresh entry, ``MISSING`` if there is none."""
        store = self._store()  # as in generation()
        record_key = self._record_key(prefix, key)
        record = store.get(record_key)
        if record is None:
            return MISSING
        stored = record.value
        if type(stored) is int:
            return stored
        value = self._codec.quick(record_key, stored, time.time())  # type: ignore[arg-type] # bytes
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
            text = encoded(key)
            record_keys[start + text if len(text) <= longest else self.record_key(prefix, key)] = key
        quick = self._codec.quick
        found: dict[str, Any] = {}
        others: dict[str, tuple[bytes, Record]] = {}
        records = self._store().get_many(record_keys)
        now, size = time.time(), 0
        for record_key, record in records.items():
            value: Any = record.value
            if type(value) is not int:
                size += len(value)
                value = quick(record_key, value, now)
                if value is MISSING:
                    others[record_keys[record_key]] = (record_key, record)
                    continue
            found[record_keys[record_key]] = value
        self._counters.bytes_read += size
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

    def near(self, prefix: str, key: str) -> Found | None:
        """Return an entry without a call to the store, ``None`` if that cannot be."""
        return None

    def near_value(self, prefix: str, key: str) -> Any:
        """Return the value of what :meth:`near` returns, ``MISSING`` if it returns nothing."""
        return MISSING

    def near_state(self) -> NearState | None:
        """Return how much is held in this process; ``None``: there is no near cache."""
        return None

    def after_fork_in_child(self) -> None:
        """Forget what belongs to the parent."""

    def forget_near(self) -> None:
        """Drop what is held in this process."""

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
                self._unreadable.add(key, "it is damaged, or of another format")
            elif not envelope.tombstone and (envelope.expires > now or (stale and envelope.until > now)):
                if envelope.key and envelope.key != key:
                    self._unreadable.add(key, "it is of another key")
                    continue
                entries[key] = envelope
                tags.update(tag for tag, _ in envelope.tags)
        stamps = self._current(prefix, tags)
        for key, envelope in entries.items():
            fresh = is_fresh(envelope, now, stamps)
            if not fresh and not stale:
                continue
            record_key, record = records[key]
            whole = self._whole(record_key, envelope)
            if whole is None:
                self._counters.unreadable += 1  # not told: it is replaced at this moment, or was evicted in part
                continue
            try:
                value = self._codec.read(record_key, whole)
            except CorruptBlock as error:
                self._unreadable.add(key, str(error))
            else:
                found[key] = Found(value, fresh, record, envelope, whole.body)
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

    def _whole(self, record_key: bytes, envelope: Envelope) -> Envelope | None:
        """Return the entry with its body; ``None`` if a part of it is missing."""
        if envelope.parts is None:
            return envelope
        if envelope.parts.length > self._codec.longest:
            return None  # nobody writes that much: it is not fetched
        body = parts.read(self._store(), self._room, record_key, envelope.parts)
        if body is None:
            return None
        self._counters.bytes_read += len(body)
        return envelope._replace(body=body, parts=None)


def is_fresh(envelope: Envelope, now: float, stamps: Mapping[str, bytes]) -> bool:
    """Tell whether an entry counts at ``now`` (seconds since the epoch), with the ``stamps`` of its tags."""
    return envelope.expires > now and all(stamps.get(tag) == stamp for tag, stamp in envelope.tags)


def encoded(text: str) -> bytes:
    """Return a key or a tag as bytes; lone surrogates have some, too."""
    return text.encode("utf-8", "surrogatepass")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
