"""Entries of caches in a record store: what the methods of a cache do with them.

Their keys, and reading them: :mod:`.reading`. How a value gets into a record: :mod:`.writing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from django_etcdaero.exceptions import KeyNotFound, RecordTooBig, VersionConflict
from django_etcdaero.records.store import Record, Value, batches

from . import parts
from .codec import is_number
from .envelope import NEVER, Envelope, unpack
from .lifetime import Life
from .reading import Found, is_fresh
from .writing import NO_TOMBSTONES, TOMBSTONE_TTL, Writing

BATCH: Final = 500
"""Records that are removed at a time."""

CLEARED: Final = 3
"""Times that a deletion begins again because others have cleared meanwhile."""


class Entries(Writing):
    """The entries of one place, read and written with one codec. Raises what the store raises.

    ``prefix`` is the key prefix of a cache, ``key`` the whole key, which includes it. ``room`` begins every record.
    """

    def put(self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Write an entry, whatever was there. Raises ``RecordTooBig``; then what was there is gone."""
        record_key = self.record_key(prefix, key)
        self._put(record_key, self._encode_or_bury(record_key, key, value, life, tags), life)

    def put_loaded(
        self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...], over: Found | None
    ) -> bool:
        """Write what was loaded, unless the entry has changed since ``over`` was read (``None``: has come to be)."""
        if over is None:
            return self._add(prefix, key, value, life, tags)
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

    def catch_up(self, prefix: str) -> None:
        """See what others have cleared until now. For decisions that must not be about what was cleared."""
        self._store()
        self._stamps.generation_now(self._generation_name(prefix), self._max_age)

    def add(self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...] = ()) -> bool:
        """Write an entry if there is none; return whether it was written.

        Of all who try in one generation, one succeeds: call :meth:`catch_up` before the stamps of the tags are read.
        """
        return self._add(prefix, key, value, life, tags)

    def _add(self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...]) -> bool:
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

        What is being loaded meanwhile is not written: it may have been read before what the deletion is about. Where
        others have cleared a moment ago it deletes what was written since then as well.
        """
        counted = 0
        for _ in range(CLEARED):
            generation = self.generation(prefix)
            counted, current = self._delete(prefix, keys)
            if current == generation:
                break
            self.catch_up(prefix)
        return counted

    def _delete(self, prefix: str, keys: Collection[str]) -> tuple[int, Value | None]:
        """Delete what is known of in the generation that this process knows; return that of the store as well."""
        record_keys = [self.record_key(prefix, key) for key in keys]
        store = self._store()
        locks = [self.lock_key(record_key) for record_key in record_keys]
        name = self._generation_name(prefix)
        found = store.get_many([*record_keys, *locks, name])
        generation = found.pop(name, None)
        current = None if generation is None else generation.value
        if loaded := [lock for lock in locks if found.pop(lock, None)]:
            store.delete_many(loaded)
            # Only now: whoever loads may have written since, and sees from here on that it must not.
            found = store.get_many(record_keys)
        there: dict[bytes, Record] = {}
        envelopes: list[Envelope] = []
        numbers = 0
        for record_key, record in found.items():
            envelope = unpack(record.value) if isinstance(record.value, bytes) else None
            if envelope is not None and envelope.tombstone:
                continue
            there[record_key] = record
            if envelope is not None:
                envelopes.append(envelope)
            numbers += not isinstance(record.value, bytes)
        if not there:
            return 0, current
        stamps = self._current(prefix, {tag for envelope in envelopes for tag, _ in envelope.tags})
        now = time.time()
        counted = numbers + sum(is_fresh(envelope, now, stamps) for envelope in envelopes)
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
        return counted, current

    def clear(self, prefix: str) -> None:
        """Let no entry of ``prefix`` count any more."""
        self._stamps.renew(self._generation_name(prefix), self._max_age)

    def empty(self, prefix: str) -> None:
        """Remove all entries of ``prefix``, for a store that is full. Costs a look at each."""
        store, generations = self._store(), {self.generation(prefix)}
        self.catch_up(prefix)
        generations.add(self.generation(prefix))
        # The records of loads first: who loads must not write what is of before.
        for kind in (b"le", b"ld", b"e", b"d", b"p", b"q"):
            for generation in generations:
                for batch in batches((key for key, _ in store.scan(self._room + kind + generation)), BATCH):
                    store.delete_many(batch)

    def invalidate(self, prefix: str, tags: Iterable[str]) -> None:
        """Let no entry with one of ``tags`` count any more."""
        names = [self._tag(prefix, tag) for tag in tags]
        if names:
            self._stamps.invalidate(names, self._max_age)

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
