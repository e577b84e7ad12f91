"""A cache as those see it who look after it: where it is, what it does, single entries, clearing it.

Unlike the methods of the cache these always raise when the store is away, whatever ``IGNORE_EXCEPTIONS`` says: whoever
deletes something here is to know that it is gone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.records.store import Fill
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.shown import shown

from . import serializers
from .calls import Calls
from .near import NearState
from .options import CacheOptions, NearOptions
from .outage import Away
from .place import ALIAS_SCHEME, address_of
from .reading import encoded
from .stored_entry import Looking, StoredEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """What is set for a cache, for people. Contains no password."""

    location: str
    key_prefix: str
    version: int
    timeout: float | None
    """Seconds that an entry lives unless its writer says otherwise; ``None``: for ever."""
    options: dict[str, Any]
    """Those that are not as they are when nothing is said."""
    in_process: bool
    """The entries are in the memory of each process: what is seen and done here is of this one alone."""


class Inside:
    """One cache. What is wrong with its settings raises ``ConfigurationError`` when it is made."""

    def __init__(self, alias: str, cache: Calls, location: str) -> None:
        if cache._wrong is not None:
            raise ConfigurationError(f"CACHES[{alias!r}]: {cache._wrong}")
        self.alias = alias
        self._cache = cache
        self._core = cache._core
        self._location = location
        self._prefix = cache.key_prefix

    @property
    def settings(self) -> CacheSettings:
        """What is set for it."""
        safe = address_of(self._location).safe
        shown = f"{self._location} ({safe})" if self._location.startswith(ALIAS_SCHEME) else safe
        return CacheSettings(
            location=shown,
            key_prefix=self._prefix,
            version=self._cache.version,
            timeout=self._cache.default_timeout,
            options=_chosen(self._core.options),
            in_process=self._core.place.in_memory,
        )

    @property
    def identity(self) -> object:
        """What two caches have in common that are cleared together: the place and the key prefix."""
        return self._core.place.room, address_of(self._location), self._prefix

    def counts(self) -> dict[str, Any]:
        """Return what it has done in this process, as ``stats()`` does."""
        return self._core.counters.as_dict()

    def away(self) -> Away | None:
        """Return since when its store is away, as this process knows; ``None`` as well where errors are raised."""
        return self._core.outage.state()

    def near(self) -> NearState | None:
        """Return what this process holds of it; ``None``: there is no near cache."""
        return self._core.entries.near_state()

    def fill(self, *, timeout: float) -> Fill:
        """Return how many entries it has (``matching``), and how much its store has, everybody's records included.

        Entries that have expired and are kept as stale ones count too. Raises what the store raises.
        """
        store, room = self._core.place.store(), self._core.place.room
        generation = self._generation(timeout)
        if generation is None:
            return store.fill(room + b"e", timeout=timeout)._replace(matching=0)
        found = store.fill(room + b"e" + generation, timeout=timeout)
        if found.matching is None:
            return found
        long = store.fill(room + b"d" + generation, timeout=timeout).matching or 0
        return found._replace(matching=found.matching + long)

    def look(self, key: str, version: int | None = None, *, timeout: float) -> StoredEntry | None:
        """Return an entry as it stands in the store, whatever its state; ``None``: there is none.

        Changes nothing and counts nothing. Raises what the store raises, and ``ValueError`` for a key that is too long.
        """
        place, entries = self._core.place, self._core.entries
        store, generation = place.store(), self._generation(timeout)
        if generation is None:
            return None
        made = self.stored_key(key, version)
        place.stamps.forget_some({self._generation_name()})  # what was cleared a moment ago is not to be seen
        record_key = entries.record_key(self._prefix, made)
        looking = Looking(store, self._core.codec, room=place.room, generation=generation, timeout=timeout)
        return looking.entry(made, record_key, entries.lock_key(record_key))

    def keys(self, pattern: str, version: int | None = None, *, most: int, timeout: float) -> tuple[list[str], bool]:
        """Return keys that match ``pattern``, ``most`` at most, and whether these are all.

        No value is read, so keys of entries that have expired or were invalidated may be among them, and those that
        are too long to be keys of records are not. Stops after ``timeout`` seconds. Raises what the store raises, and
        ``ConfigurationError`` as ``cache.keys()``.
        """
        limit = monotonic() + timeout
        reverse, matches = self._cache._reversing(), self._cache._matcher(pattern, version)
        generation, found = self._generation(timeout), list[str]()
        if generation is None:
            return found, True
        start = self._core.place.room + b"e" + generation
        for record_key, _ in self._core.place.store().scan(start, timeout=timeout):
            stored = record_key[len(start) :].decode("utf-8", "surrogatepass")
            if len(found) >= most or monotonic() > limit:
                return found, False
            if matches(stored):
                found.append(reverse(stored))
        return found, True

    def stored_key(self, key: str, version: int | None = None) -> str:
        """Return the key under which an entry is stored."""
        return self._cache.make_key(key, version)

    def delete(self, key: str, version: int | None = None) -> bool:
        """Delete an entry; return whether there was one that counted. Raises what the store raises."""
        made = self.stored_key(key, version)
        deleted = self._core.outage.insist("delete", lambda: self._core.entries.delete(self._prefix, (made,)))
        self._core.counters.deletes += deleted
        return deleted > 0

    def invalidate(self, *tags: str) -> None:
        """Let no entry count any more that has one of the tags. Raises what the store raises."""
        self._core.outage.insist("invalidate_tags", lambda: self._core.entries.invalidate(self._prefix, tags))

    def clear(self) -> None:
        """Let no entry with the key prefix count any more. Raises what the store raises."""
        self._core.outage.insist("clear", lambda: self._core.clear(self._prefix))

    def _generation_name(self) -> bytes:
        return self._core.place.room + b"g" + encoded(self._prefix)

    def _generation(self, timeout: float) -> bytes | None:
        """Return the generation that the entries belong to; unlike an access to the cache this makes none."""
        found = self._core.place.store().peek(self._generation_name(), timeout=timeout)
        return found.value if found is not None and isinstance(found.value, bytes) else None


def _chosen(options: CacheOptions) -> dict[str, Any]:
    usual, found = CacheOptions(), {}
    for each in fields(CacheOptions):
        value = getattr(options, each.name)
        if value == getattr(usual, each.name):
            continue
        if isinstance(value, NearOptions):
            value = asdict(value)
        elif each.name == "SERIALIZER":
            value = serializers.chosen(value).name
        found[each.name] = value if isinstance(value, str | int | float | dict | None) else shown(value)
    return found
