"""What the methods of a cache are made of: its settings, its keys, and single calls to the store."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, default_key_func
from django.core.exceptions import ImproperlyConfigured

from django_etcdaero.exceptions import ConfigurationError, RecordTooBig
from django_etcdaero.records.arguments import MAX_TTL

from . import options as cache_options
from .codec import MISSING
from .core import Core, core_of
from .counters import Counters
from .faults import faults
from .lifetime import Life, life_of
from .loading import logger
from .reading import Found
from .request import Request, names, refuse_awaitable
from .times import share_of, span_of, timeout_of

T = TypeVar("T")

_SET_UP = frozenset(
    {"_core", "_options", "_reverse", "_inverse", "_max_entries", "_cull_frequency"}
    | {"default_timeout", "key_func", "key_prefix", "version"}
)
"""The attributes that an instance with wrong settings does not have."""

_NO_REVERSE = "OPTIONS['REVERSE_KEY_FUNCTION'] must name the inverse of KEY_FUNCTION: keys cannot be told without it"

_EASY = re.compile(r"[!-~\u00a1-\U0010ffff]{1,250}")
"""Keys that Django's rules for portable keys have nothing against."""


class Calls(BaseCache):
    """A cache that has been set up, and what its methods do. Has no methods of its own for users."""

    def __init__(self, location: str, params: Mapping[str, Any]) -> None:
        """Read the settings. What is wrong with them is raised at each use, as ``ImproperlyConfigured``, and not here:
        Django makes an instance of each cache in its system checks, which are to report it."""
        self._wrong: str | None = next(faults(location, params), None)
        if self._wrong is not None:
            return
        given = params.get("OPTIONS") or {}
        self._options = cache_options.read(given)
        super().__init__({**params, "OPTIONS": given})
        self.key_prefix = str(self.key_prefix)
        self._reverse = cache_options.reverse_of(self._options.REVERSE_KEY_FUNCTION)
        self._inverse = self._reverse or _inverse_of(self.key_func, self.key_prefix)
        identity = tuple(sorted((str(name), repr(value)) for name, value in params.items()))
        self._core: Core = core_of(
            location,
            identity,
            self._options,
            most=self._max_entries,
            share=self._cull_frequency,
            shown=self._inverse or str,
        )

    if not TYPE_CHECKING:  # or every name would count as an attribute

        def __getattr__(self, name: str) -> Any:
            if name in _SET_UP and self.__dict__.get("_wrong") is not None:
                raise ImproperlyConfigured(f"CACHES: {self._wrong}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def validate_key(self, key: str) -> None:
        """Warn of a key that other backends would not take."""
        if not _EASY.fullmatch(key):
            super().validate_key(key)

    def _matcher(self, pattern: str, version: int | None) -> Callable[[str], object]:
        """Return what tells whether a key, as it is stored, matches. Raises ``ConfigurationError`` if nothing can."""
        version = self.version if version is None else version
        if self._reverse is None:
            made = self.key_func(pattern, glob.escape(self.key_prefix), version)
            if pattern not in made:
                raise ConfigurationError(_NO_REVERSE)
            return re.compile(fnmatch.translate(made)).match
        reverse, match = self._reverse, re.compile(fnmatch.translate(pattern)).match

        def matches(stored: str) -> bool:
            key = reverse(stored)
            return match(key) is not None and self.make_key(key, version) == stored

        return matches

    def _reversing(self) -> Callable[[str], str]:
        if self._inverse is None:
            raise ConfigurationError(_NO_REVERSE)
        return self._inverse

    def _run(self, operation: str, call: Callable[[], T], default: T, *changed: str) -> T:
        """Ask the store, for what is counted as ``operation``.

        ``changed`` are the keys whose entries must go if it is away.
        """
        if not changed:
            return self._core.outage.run(operation, call, default)
        prefix, keys = self.key_prefix, set(changed)
        return self._core.outage.run(operation, call, default, undone=lambda pending: pending.delete(prefix, keys))

    def _peek(self, made: str) -> Found | None:
        return self._core.outage.run("get", partial(self._core.entries.get, self.key_prefix, made), None)

    def _near_values(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return those values that are to be had without a call to the store."""
        entries, prefix = self._core.entries, self.key_prefix
        return {each: value for each in keys if (value := entries.near_value(prefix, each)) is not MISSING}

    def _value(self, made: str) -> Any:
        core, prefix = self._core, self.key_prefix
        value = core.entries.near_value(prefix, made) if core.options.NEAR is not None else MISSING
        if value is MISSING:
            value = core.outage.run("get", lambda: core.entries.value(prefix, made), MISSING)
            if value is MISSING:
                core.counters.misses += 1
                return MISSING
        core.counters.hits += 1
        return value

    def _seconds(self, timeout: Any) -> float | None:
        """Return a timeout in seconds: ``None`` never, 0 at once. Raises ``TypeError``, ``ValueError``."""
        return timeout_of(self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout)

    def _life(self, seconds: float | None, jitter: float | None = None) -> Life:
        return life_of(seconds, jitter=self._jitter(jitter))

    def _jitter(self, jitter: float | None) -> float:
        return self._options.JITTER if jitter is None else share_of(jitter, "jitter", most=0.9)

    def _tags(self, tags: Iterable[str], *made: str) -> tuple[str, ...]:
        """Return ``tags``, if entries with these keys can have them. Raises ``TypeError``, ``ValueError``."""
        if tags == ():
            return ()
        found = names(tags)
        self._core.entries.check_tags(found, max(made, key=len))
        return found

    def _refused(self, key: object, error: RecordTooBig) -> None:
        self._core.counters.too_big += 1
        logger.warning("%r was not stored: %s", key, error)

    def _set(self, made: str, value: Any, timeout: Any, tags: Iterable[str], jitter: float | None = None) -> None:
        core = self._core
        seconds = self._seconds(timeout)
        if seconds == 0:
            core.entries.delete(self.key_prefix, (made,))
            return
        life = self._life(seconds, jitter)
        stamps = core.entries.stamps(self.key_prefix, self._tags(tags, made), life)
        core.counters.sets += 1
        core.sweeper.consider()
        try:
            core.entries.put(self.key_prefix, made, value, life, stamps)
        except RecordTooBig as error:
            self._refused(made, error)

    def _add(self, made: str, value: Any, timeout: Any, tags: Iterable[str], jitter: float | None = None) -> bool:
        entries, prefix = self._core.entries, self.key_prefix
        seconds = self._seconds(timeout)
        entries.catch_up(prefix)
        if seconds == 0:
            return entries.get(prefix, made) is None
        life = self._life(seconds, jitter)
        self._core.counters.sets += 1
        self._core.sweeper.consider()
        return entries.add(prefix, made, value, life, entries.stamps(prefix, self._tags(tags, made), life))

    def _replace(self, made: str, value: Any, timeout: Any, tags: Iterable[str], jitter: float | None) -> bool:
        entries, prefix = self._core.entries, self.key_prefix
        seconds = self._seconds(timeout)
        if seconds == 0:
            return entries.delete(prefix, (made,)) > 0
        life = self._life(seconds, jitter)
        self._core.counters.sets += 1
        try:
            return entries.replace(prefix, made, value, life, entries.stamps(prefix, self._tags(tags, made), life))
        except RecordTooBig as error:
            self._refused(made, error)
            return False

    def _swap(self, made: str, value: Any, timeout: Any, tags: Iterable[str], jitter: float | None) -> Any:
        entries, prefix = self._core.entries, self.key_prefix
        seconds = self._seconds(timeout)
        if seconds == 0:
            found = entries.get(prefix, made)
            entries.delete(prefix, (made,))
            return None if found is None else found.value
        life = self._life(seconds, jitter)
        self._core.counters.sets += 1
        try:
            found = entries.swap(prefix, made, value, life, entries.stamps(prefix, self._tags(tags, made), life))
        except RecordTooBig as error:
            self._refused(made, error)
            return None
        return None if found is None else found.value

    def _touch(self, made: str, seconds: float | None) -> bool:
        if seconds == 0:
            return self._core.entries.delete(self.key_prefix, (made,)) > 0
        return self._core.entries.touch(self.key_prefix, made, self._life(seconds))

    def _delete(self, made: Collection[str]) -> int:
        deleted = self._run(
            "delete" if len(made) == 1 else "delete_many",
            lambda: self._core.entries.delete(self.key_prefix, made),
            0,
            *made,
        )
        self._core.counters.deletes += deleted
        return deleted

    def _request(
        self,
        key: Any,
        default: Any,
        timeout: Any,
        version: int | None,
        tags: Iterable[str],
        stale: float | None,
        soft_timeout: float | None,
        eager: float | None,
        jitter: float | None,
        *,
        awaited: bool = False,
    ) -> Request | None:
        """Return what is to be loaded; ``None`` where nothing is: there is a value, or it may not be stored."""
        if not callable(default):
            refuse_awaitable(default, "default must not be what is to be awaited")
        if eager is not None:
            eager = share_of(eager, "eager", most=1, above_zero=True)
        if soft_timeout is not None:
            soft_timeout = span_of(soft_timeout, "soft_timeout")
        stale = min(self._options.STALE, MAX_TTL) if stale is None else span_of(stale, "stale")
        share = self._jitter(jitter)
        made = self.make_and_validate_key(key, version)
        wanted = self._tags(tags, made)
        seconds = self._seconds(timeout)
        if not callable(default) or seconds == 0:
            return None
        return Request(
            prefix=self.key_prefix,
            key=made,
            load=default,
            timeout=seconds,
            tags=wanted,
            stale=stale,
            soft_timeout=soft_timeout,
            eager=eager if seconds is not None else None,
            jitter=share,
            awaited=awaited,
        )


def _inverse_of(key_func: object, prefix: str) -> Callable[[str], str] | None:
    start = f"{prefix}:"
    return (lambda made: made.removeprefix(start).partition(":")[2]) if key_func is default_key_func else None


def counters_of(cache: BaseCache) -> Counters | None:
    """Return what a cache of this package counts in this process; ``None``: its settings are wrong."""
    return cache._core.counters if isinstance(cache, Calls) and cache._wrong is None else None
