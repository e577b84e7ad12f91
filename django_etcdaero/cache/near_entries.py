"""Entries with a near cache before the store: reads that may be answered from it, and writes that tell others.

An entry is held below the generation of its cache, so that ``clear()`` makes what is held unreachable, too. Tags are
checked at each read against the stamps as this process knows them. What is held is whatever stands in an envelope. An
integer of the store is not: counters and rate limits are right in every process, and raising one tells nobody.

A change is told when the call to the store has ended, however it did: a write that failed may have happened. One entry
is not told of: what :meth:`~NearEntries.add` has created, since nobody can hold what was not there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.records.store import Record, Value

from .codec import MISSING
from .entries import Entries
from .envelope import NEVER, Envelope
from .lifetime import Life
from .near import Held, Near, NearState, digest_of
from .notice import MAX_KEYS, Notice
from .notices import Notices
from .reading import Found


class NearEntries(Entries):
    """The entries of one place, with a near cache. ``settled()``: the stamps are those of the store that is open."""

    def __init__(
        self, *args: Any, near: Near, notices: Notices, settled: Callable[[], bool], room: bytes, **options: Any
    ) -> None:
        super().__init__(*args, room=room, **options)
        self._generation_room = room + b"g"
        self._held = near
        self._notices = notices
        self._settled = settled
        self._generations: dict[str, bytes] = {}
        """The names of generations, by key prefix."""
        notices.add(self, max_age=near.max_age)

    # --- reading -----------------------------------------------------------------------------------------------------

    def near(self, prefix: str, key: str) -> Found | None:
        held = self._at_hand(prefix, key)
        return None if held is None else self._found(held)

    def near_value(self, prefix: str, key: str) -> Any:
        held = self._at_hand(prefix, key)
        return MISSING if held is None else self._decoded(held)

    def _at_hand(self, prefix: str, key: str) -> Held | None:
        """Return an entry that counts as far as is known without a call to the store."""
        name = self._generations.get(prefix)
        if name is None or not self._settled():
            return None
        stamps = self._stamps
        generation = stamps.held(name)
        if generation is None:
            return None
        held = self._held.get(generation + key.encode("utf-8", "surrogatepass"))
        if held is not None and held.envelope.tags:
            start = self._room + b"t" + generation
            for tag, stamp in held.envelope.tags:
                if stamps.held(start + tag.encode("utf-8", "surrogatepass")) != stamp:
                    return None  # or it has to be read again
        return held

    def value(self, prefix: str, key: str) -> Any:
        found = self.look(prefix, key)
        return MISSING if found is None else found.value

    def values(self, prefix: str, keys: Collection[str]) -> dict[str, Any]:
        return {key: found.value for key, found in self.look_many(prefix, keys).items()}

    def look(self, prefix: str, key: str, *, stale: bool = False) -> Found | None:
        near, near_key = self._held, self._near_key(prefix, key)
        found = self._valid(prefix, near_key)
        if found is None:
            self._notices.follow()
            token, started = near.token, near.clock()
            found = self.get(prefix, key, stale=stale)
            if found is not None:
                self._keep(near_key, found, token, started)
        return found

    def look_many(self, prefix: str, keys: Collection[str]) -> dict[str, Found]:
        near = self._held
        near_keys = {key: self._near_key(prefix, key) for key in keys}
        found = {key: entry for key, near_key in near_keys.items() if (entry := self._valid(prefix, near_key))}
        missing = [key for key in keys if key not in found]
        if missing:
            self._notices.follow()
            token, started = near.token, near.clock()
            for key, entry in self.get_many(prefix, missing).items():
                self._keep(near_keys[key], entry, token, started)
                found[key] = entry
        return found

    def _near_key(self, prefix: str, key: str) -> bytes:
        if not self._settled():
            self._store()  # opens it, and forgets the stamps of another one
        generation = self.generation(prefix)
        if prefix not in self._generations:
            self._generations[prefix] = self._generation_room + prefix.encode("utf-8", "surrogatepass")
        return generation + key.encode("utf-8", "surrogatepass")

    def _valid(self, prefix: str, near_key: bytes) -> Found | None:
        """Return an entry that is held; stamps are read where they have to be."""
        held = self._held.get(near_key)
        if held is None:
            return None
        tags = held.envelope.tags
        if tags:
            stamps = self._current(prefix, [tag for tag, _ in tags])
            if any(stamps.get(tag) != stamp for tag, stamp in tags):
                return None
        return self._found(held)

    def _decoded(self, held: Held) -> Any:
        try:
            value = self._codec.value(held.envelope)
        except CorruptBlock:
            return MISSING  # who asks the store then is told why
        self._counters.near_hits += 1
        return value

    def _found(self, held: Held) -> Found | None:
        value = self._decoded(held)
        if value is MISSING:
            return None
        ttl = None if held.ends is None else max(1, math.ceil(held.ends - self._held.clock()))
        return Found(value, True, Record(b"", 0, ttl), held.envelope, held.envelope.body)

    def _keep(self, near_key: bytes, found: Found, token: int, started: float) -> None:
        envelope, ttl = found.envelope, found.record.ttl
        if envelope is None or not found.fresh:
            return
        lives = None if ttl is None else ttl - 1.0  # what is left was rounded up
        if envelope.expires != NEVER:
            lives = envelope.expires - time.time()
        whole = envelope._replace(body=found.body, parts=None, signature=None)
        self._held.put(near_key, whole, token, started=started, lives=lives, ttl=ttl)

    # --- writing -----------------------------------------------------------------------------------------------------

    def put(self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...] = ()) -> None:
        with self._telling(prefix, (key,)):
            super().put(prefix, key, value, life, tags)

    def put_loaded(
        self, prefix: str, key: str, value: Any, life: Life, tags: tuple[tuple[str, bytes], ...], over: Found | None
    ) -> bool:
        with self._telling(prefix, (key,)):
            return super().put_loaded(prefix, key, value, life, tags, over)

    def put_many(
        self,
        prefix: str,
        items: Mapping[str, Any],
        lives: Callable[[Any], Life],
        tags: tuple[tuple[str, bytes], ...] = (),
    ) -> list[str]:
        with self._telling(prefix, items):
            return super().put_many(prefix, items, lives, tags)

    def touch(self, prefix: str, key: str, life: Life) -> bool:
        with self._telling(prefix, (key,)):
            return super().touch(prefix, key, life)

    def touch_many(self, prefix: str, keys: Collection[str], life: Life) -> set[str]:
        with self._telling(prefix, keys) as changed:
            touched = super().touch_many(prefix, keys, life)
            changed &= touched
        return touched

    def delete(self, prefix: str, keys: Collection[str]) -> int:
        with self._telling(prefix, keys):
            return super().delete(prefix, keys)

    def clear(self, prefix: str) -> None:
        try:
            super().clear(prefix)
        finally:
            self._notices.publish(Notice(stamps={self._generation_room + prefix.encode("utf-8", "surrogatepass")}))

    def empty(self, prefix: str) -> None:
        try:
            super().empty(prefix)
        finally:
            self._held.drop_all()
            self._notices.publish(Notice(everything=True))

    def invalidate(self, prefix: str, tags: Iterable[str]) -> None:
        tags = tuple(tags)
        names = {self._tag(prefix, tag) for tag in tags}
        try:
            super().invalidate(prefix, tags)
        finally:
            self._notices.publish(Notice(stamps=names))

    def _change(
        self, prefix: str, key: str, change: Callable[[Found | None], tuple[Value | Envelope, Life] | None]
    ) -> bool:
        with self._telling(prefix, (key,)) as changed:
            done = super()._change(prefix, key, change)
            if not done:
                changed.clear()
        return done

    @contextmanager
    def _telling(self, prefix: str, keys: Iterable[str]) -> Iterator[set[str]]:
        """Let everybody drop the entries at the end, however that comes about: those that the given set has then."""
        try:
            generation = self.generation(prefix)
        except BaseException:
            self._held.drop_all()  # nothing was written, but what this process has said counts for itself
            raise
        changed = set(keys)
        try:
            yield changed
        finally:
            if changed:
                self._notices.publish(_about(generation, changed))
                now = self._stamps.held(self._generation_name(prefix))
                if now not in (generation, None):  # others have cleared, which this change has found out
                    self._notices.publish(_about(now, changed))

    def forget_near(self) -> None:
        """Drop everything: something was not written, and what this process has said counts for itself all the same."""
        self._held.drop_all()

    def near_state(self) -> NearState:
        return NearState(len(self._held), self._held.size, self._notices.following)

    # --- what others have changed ------------------------------------------------------------------------------------

    def forget(self, notice: Notice) -> None:
        """Drop what a notice is about; what :class:`.notices.Notices` calls."""
        if notice.everything:
            self._held.drop_all()
            self._stamps.forget()
            return
        if notice.stamps:
            self._stamps.forget_some(notice.stamps)
        for generation in notice.whole:
            self._held.drop_beginning(generation)
        for digests in notice.keys.values():
            self._held.drop(digests)

    def after_fork_in_child(self) -> None:
        """Begin with nothing held."""
        self._held.after_fork_in_child()


def _about(generation: bytes, keys: Collection[str]) -> Notice:
    if len(keys) > MAX_KEYS:
        return Notice(whole={generation})
    return Notice(keys={generation: {digest_of(generation + key.encode("utf-8", "surrogatepass")) for key in keys}})
