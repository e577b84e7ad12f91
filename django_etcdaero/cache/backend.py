"""The backend that ``CACHES`` names."""

from __future__ import annotations

import fnmatch
import glob
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, default_key_func
from django.core.exceptions import ImproperlyConfigured

from django_etcdaero.exceptions import ConfigurationError, KeyNotFound, RecordTooBig
from django_etcdaero.records.arguments import MAX_TTL
from django_etcdaero.records.store import RecordStore
from django_etcdaero.runtime import runtime
from django_etcdaero.system.steps import drive

from . import options as cache_options
from .asynchronous import AsyncMethods
from .codec import MISSING, is_number
from .core import Core, core_of
from .faults import faults
from .lifetime import Life, earlier, life_of
from .loading import logger
from .reading import Found
from .request import Request, names, plain_value, refuse_awaitable, refuse_to_await
from .times import moment_of, share_of, span_of, timeout_of

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.queue.lock import Lock

T = TypeVar("T")

_SET_UP = frozenset(
    {"_core", "_options", "_reverse", "_inverse", "_max_entries", "_cull_frequency"}
    | {"default_timeout", "key_func", "key_prefix", "version"}
)
"""The attributes that an instance with wrong settings does not have."""

_NO_REVERSE = "OPTIONS['REVERSE_KEY_FUNCTION'] must name the inverse of KEY_FUNCTION: keys cannot be told without it"

_EASY = re.compile(r"[!-~\u00a1-\U0010ffff]{1,250}")
"""Keys that Django's rules for portable keys have nothing against."""


class EtcdAeroCache(AsyncMethods, BaseCache):
    """A cache over a record store.

    ``location`` is a URL: ``aerospike://host:3000/namespace/set``, ``sqlite:///path``, ``mem:``, or
    ``etcdaero:ALIAS`` for the records of an alias of ``ETCDAERO``. Beside Django's methods, which do what Django says,
    it has those that users of django-redis know, tags, and :meth:`get_or_set` with one load per key.

    Methods raise the errors of :mod:`django_etcdaero.exceptions` when the store cannot be asked; with
    ``OPTIONS["IGNORE_EXCEPTIONS"]`` they go on as if the cache were empty, but for :meth:`add`, whose ``False`` would
    say that there is an entry.
    """

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

    # --- Django's methods --------------------------------------------------------------------------------------------

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

        ``tags``: the names with which :meth:`invalidate_tags` finds it. ``nx``: only if there is none; ``xx``: only if
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

    def clear(self) -> None:
        """Let no entry with this cache's key prefix count any more, of any version; others in the store stay."""
        prefix = self.key_prefix
        self._core.outage.run(
            "clear", lambda: self._core.clear(prefix), None, undone=lambda pending: pending.clear(prefix)
        )

    def close(self, **kwargs: Any) -> None:
        """Do nothing: Django calls this at the end of each request, and connections outlive requests."""

    # --- beyond Django's ---------------------------------------------------------------------------------------------

    def invalidate_tags(self, *tags: str) -> None:
        """Let no entry count any more that was stored with one of ``tags``, however many there are."""
        if any(not isinstance(tag, str) for tag in tags):
            raise TypeError("invalidate_tags takes tags one by one, each a str: invalidate_tags('a', 'b'), or *tags")
        wanted, prefix = set(names(tags)), self.key_prefix
        self._core.outage.run(
            "invalidate_tags",
            lambda: self._core.entries.invalidate(prefix, wanted),
            None,
            undone=lambda pending: pending.invalidate(prefix, wanted),
        )

    def ttl(self, key: Any, version: int | None = None) -> int | None:
        """Return the whole seconds until an entry expires, rounded up: ``None`` never, 0 there is none."""
        found = self._peek(self.make_and_validate_key(key, version))
        if found is None:
            return 0
        return None if found.left is None else math.ceil(found.left)

    def pttl(self, key: Any, version: int | None = None) -> int | None:
        """Return the milliseconds until an entry expires, as :meth:`ttl`; exact to a second for long timeouts."""
        found = self._peek(self.make_and_validate_key(key, version))
        if found is None:
            return 0
        return None if found.left is None else math.ceil(found.left * 1000)

    def expire(self, key: Any, timeout: Any, version: int | None = None) -> bool:
        """Let an entry expire after ``timeout`` seconds from now; return whether there was one."""
        return self.touch(key, timeout, version=version)

    def pexpire(self, key: Any, timeout: Any, version: int | None = None) -> bool:
        """Let an entry expire after ``timeout`` milliseconds from now."""
        seconds = self._seconds(timeout)
        return self.touch(key, None if seconds is None else seconds / 1000, version=version)

    def expire_at(self, key: Any, when: datetime | float, version: int | None = None) -> bool:
        """Let an entry expire at ``when``, a datetime or seconds since the epoch; return whether there was one."""
        return self.touch(key, moment_of(when) - time.time(), version=version)

    def pexpire_at(self, key: Any, when: datetime | float, version: int | None = None) -> bool:
        """Let an entry expire at ``when``, a datetime or milliseconds since the epoch."""
        return self.touch(key, moment_of(when, unit=0.001) - time.time(), version=version)

    def persist(self, key: Any, version: int | None = None) -> bool:
        """Let an entry never expire; return whether there was one."""
        return self.touch(key, None, version=version)

    def keys(self, pattern: str = "*", version: int | None = None) -> list[str]:
        """Return the keys that match ``pattern`` (``*``, ``?``, ``[…]``), as they are given to :meth:`get`.

        Reads every entry of the cache: for maintenance, not for requests. Raises ``ConfigurationError`` with a
        ``KEY_FUNCTION`` whose inverse is not known.
        """
        found = self.iter_keys(pattern, version=version)
        return self._run("keys", lambda: list(found), list[str]())

    def iter_keys(self, pattern: str = "*", itersize: int = 1000, version: int | None = None) -> Iterator[str]:
        """Yield what :meth:`keys` returns, reading ``itersize`` entries at a time. Raises what that does, at once."""
        reverse, matches = self._reversing(), self._matcher(pattern, version)
        made = self._core.entries.keys(self.key_prefix, itersize)
        return (reverse(each) for each in made if matches(each))

    def delete_pattern(self, pattern: str, version: int | None = None, itersize: int = 1000) -> int:
        """Delete the entries whose keys match; return how many. Reads every entry: tags are the better tool.

        Raises ``ConfigurationError`` with a ``KEY_FUNCTION`` that changes the pattern and whose inverse is not known.
        """
        matches = self._matcher(pattern, version)
        entries, prefix = self._core.entries, self.key_prefix
        found = self._run(
            "keys", lambda: [made for made in entries.keys(prefix, itersize) if matches(made)], list[str]()
        )
        return sum(self._delete(found[start : start + itersize]) for start in range(0, len(found), itersize))

    def reverse_key(self, key: str) -> str:
        """Return the key that was given, of one as it is stored: the inverse of ``KEY_FUNCTION``.

        Uses ``OPTIONS["REVERSE_KEY_FUNCTION"]``, a function or its path, or undoes what Django's own function does.
        Raises ``ConfigurationError`` for another ``KEY_FUNCTION`` without it.
        """
        return self._reversing()(key)

    def lock(self, key: Any, version: int | None = None, *, ttl: int | None = None) -> Lock:
        """Return the lock of that name of the alias ``OPTIONS["USING"]``: fair, and with a fencing token.

        ``ttl``: seconds after which the lock of a process that has died is free. See ``kv.lock``.
        """
        kv = runtime.stores(self._options.USING).kv
        name = f"cache/{self.make_and_validate_key(key, version)}"
        return kv.lock(name) if ttl is None else kv.lock(name, ttl=ttl)

    def sweep(self) -> int:
        """Remove what nobody can reach any more from the store, now; return how many records that were.

        It happens by itself, in the background, every ``OPTIONS["SWEEP_INTERVAL"]`` seconds.
        """
        return self._core.sweeper.sweep()

    def get_client(self) -> RecordStore:
        """Return the record store itself, with all that is in it."""
        return self._core.place.store()

    def stats(self, *, reset: bool = False) -> dict[str, Any]:
        """Return what this cache has done in this process, counted since its start; ``reset`` begins anew.

        ``latencies`` has a histogram of seconds for each operation that asked the store, and for loads (``load``):
        ``count``, ``sum``, and ``buckets``, how many took no longer than so many seconds.
        """
        counts = self._core.counters.as_dict()
        if reset:
            self._core.counters.reset()
        return counts

    # --- inside ------------------------------------------------------------------------------------------------------

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
        return self.get(key, value, version=version)


def _inverse_of(key_func: object, prefix: str) -> Callable[[str], str] | None:
    start = f"{prefix}:"
    return (lambda made: made.removeprefix(start).partition(":")[2]) if key_func is default_key_func else None
