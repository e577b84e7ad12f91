"""The methods of Django's caches, and what they can do here beyond that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from django_etcdaero.exceptions import EtcdAeroError, KeyNotFound, RecordTooBig, StoreFull
from django_etcdaero.system.acting import acts
from django_etcdaero.system.steps import drive

from .calls import Calls
from .codec import MISSING, is_number
from .lifetime import Life, earlier
from .loading import logger
from .request import plain_value, refuse_to_await


class Methods(Calls):
    """What Django says that a cache does."""

    def add(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        tags: Iterable[str] = (),
    ) -> bool:
        """Store a value unless there is one; return whether it was stored.

        Raises when the store is away, always, and ``RecordTooBig`` for a value that is too large: ``False`` says that
        there is one.
        """
        made = self.make_and_validate_key(key, version)
        return self._core.outage.insist("add", lambda: self._add(made, value, timeout, tags))

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return a value, ``default`` if there is none."""
        value = self._value(self.make_and_validate_key(key, version))
        return default if value is MISSING else value

    def set(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        tags: Iterable[str] = (),
        nx: bool = False,
        xx: bool = False,
        get: bool = False,
        jitter: float | None = None,
    ) -> Any:
        """Store a value.

        ``tags``: the names with which ``invalidate_tags()`` finds it. ``nx``: only if there is none; ``xx``: only if
        there is one; then the answer is whether it was stored. ``get``: the answer is the value before, or ``None``.
        ``jitter``: share (0 to 0.9) of the timeout by which it may expire earlier.

        A value that is too large is not stored, and what was there is gone, which is logged; with ``nx`` it raises
        ``RecordTooBig``.
        """
        made = self.make_and_validate_key(key, version)
        if nx or xx:
            if (nx and xx) or get:
                raise ValueError("nx, xx and get exclude each other")
            if nx:
                return self._core.outage.insist("add", lambda: self._add(made, value, timeout, tags, jitter))
            return self._run("set", lambda: self._replace(made, value, timeout, tags, jitter), False, made)
        if get:
            return self._run("set", lambda: self._swap(made, value, timeout, tags, jitter), None, made)
        return self._run("set", lambda: self._set(made, value, timeout, tags, jitter), None, made)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give an entry another timeout; return whether there was one."""
        made = self.make_and_validate_key(key, version)
        seconds = self._seconds(timeout)
        return self._run("touch", lambda: self._touch(made, seconds), False, made)

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Delete an entry; return whether there was one."""
        return self._delete((self.make_and_validate_key(key, version),)) > 0

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Tell whether there is an entry."""
        return self._value(self.make_and_validate_key(key, version)) is not MISSING

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> Any:
        """Add to a number and return the sum, atomically; its timeout stays. Raises ``ValueError`` if there is none."""
        made = self.make_and_validate_key(key, version)
        try:
            return self._core.outage.insist("incr", lambda: self._core.entries.increment(self.key_prefix, made, delta))
        except KeyNotFound:
            raise ValueError(f"Key '{key}' not found") from None

    def decr(self, key: Any, delta: int = 1, version: int | None = None) -> Any:
        """Subtract from a number, as :meth:`incr` adds."""
        return self.incr(key, -delta, version=version)

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values that there are, by key, in one call to the store."""
        made = {self.make_and_validate_key(key, version): key for key in keys}
        if not made:
            return {}
        counters = self._core.counters
        values = self._near_values(made) if self._options.NEAR is not None else {}
        if missing := [each for each in made if each not in values] if values else list(made):
            values |= self._run(
                "get_many", lambda: self._core.entries.values(self.key_prefix, missing), dict[str, Any]()
            )
        counters.hits += len(values)
        counters.misses += len(made) - len(values)
        return {made[each]: value for each, value in values.items()}

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        tags: Iterable[str] = (),
    ) -> list[Any]:
        """Store values, in few calls to the store; return the keys of those that could not be stored."""
        made = {self.make_and_validate_key(key, version): key for key in data}
        if not made:
            return []
        seconds = self._seconds(timeout)
        wanted = self._tags(tags, *made)
        if seconds == 0:
            self._delete(tuple(made))
            return []

        def write() -> list[str]:
            whole, of_numbers, jitter = self._life(seconds, 0), self._life(seconds), self._options.JITTER
            entries = self._core.entries
            stamps = entries.stamps(self.key_prefix, wanted, whole)

            def life(value: Any) -> Life:
                # A number has no header that could say when it expires: those of one call expire together.
                return of_numbers if is_number(value) else earlier(whole, jitter)

            return entries.put_many(self.key_prefix, {each: data[key] for each, key in made.items()}, life, stamps)

        self._core.counters.sets += len(made)
        self._core.sweeper.consider()
        refused = self._run("set_many", write, list(made), *made)
        return [made[each] for each in refused]

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> int | None:  # type: ignore[override]
        """Delete entries, in few calls to the store; return how many there were (``None``, as Django, for no keys)."""
        made = tuple({self.make_and_validate_key(key, version): None for key in keys})
        return self._delete(made) if made else None

    def touch_many(self, keys: Iterable[Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> int:
        """Give entries another timeout, in few calls to the store; return how many there were."""
        made = tuple({self.make_and_validate_key(key, version): None for key in keys})
        if not made:
            return 0
        seconds = self._seconds(timeout)
        if seconds == 0:
            return self._delete(made)
        life = self._life(seconds)
        return self._run(
            "touch_many", lambda: len(self._core.entries.touch_many(self.key_prefix, made, life)), 0, *made
        )

    def get_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        tags: Iterable[str] = (),
        stale: float | None = None,
        soft_timeout: float | None = None,
        eager: float | None = None,
        jitter: float | None = None,
    ) -> Any:
        """Return a value; if there is none, call ``default`` (or take it as it is), store what it gives, and return it.

        Of all threads, processes and hosts that miss a key one calls ``default``; the others wait for it, for
        ``OPTIONS["LOAD_WAIT"]`` seconds at most. ``stale``: seconds for which a value that has expired may still be
        given: when ``default`` raises, while another process loads, and after ``soft_timeout`` seconds of loading,
        which goes on in the background. ``eager``: share (0 to 1) of the timeout after which a value is loaded anew
        in the background, before it expires.
        """
        refuse_to_await(default)
        request = self._request(key, default, timeout, version, tags, stale, soft_timeout, eager, jitter)
        if request is None:
            return self._get_or_add(key, default, timeout, version, tags)
        self._core.sweeper.consider()
        return drive(self._core.loading.get_or_load(request))

    def incr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Move an entry to another version, and return that; its timeout stays. Raises ``ValueError`` if there is none.

        The entry is written under the new version, then deleted under the old one: whoever is killed in between leaves
        both.
        """
        version = self.version if version is None else version
        old, new = self.make_and_validate_key(key, version), self.make_and_validate_key(key, version + delta)
        if not self._run("incr_version", lambda: self._core.entries.move(self.key_prefix, old, new), False, old):
            raise ValueError(f"Key '{key}' not found")
        return version + delta

    @acts
    def clear(self) -> None:
        """Let no entry with this cache's key prefix count any more, of any version; others in the store stay."""
        prefix = self.key_prefix
        self._core.outage.run(
            "clear", lambda: self._core.clear(prefix), None, undone=lambda pending: pending.clear(prefix)
        )

    @acts
    def close(self, **kwargs: Any) -> None:
        """Do nothing: Django calls this at the end of each request, and connections outlive requests."""

    def _get_or_add(self, key: Any, default: Any, timeout: Any, version: int | None, tags: Iterable[str]) -> Any:
        value = self.get(key, self._missing_key, version=version)
        if value is not self._missing_key:
            return value
        value = plain_value(default) if callable(default) else default
        if self._core.outage.away:
            return value
        try:
            if tags:
                self.add(key, value, timeout=timeout, version=version, tags=tags)
            else:
                self.add(key, value, timeout=timeout, version=version)
        except RecordTooBig as error:
            self._refused(key, error)
            return value
        except EtcdAeroError as error:  # it is there all the same, for who asked for it
            if not isinstance(error, StoreFull) and not self._core.outage.ignores:
                raise
            logger.warning("%r was not stored: %s", key, error)
            return value
        return self.get(key, value, version=version)
