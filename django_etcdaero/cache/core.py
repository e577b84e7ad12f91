"""What all instances of a cache share in a process.

Django makes an instance of the backend for each thread, and for each task of an event loop. They must be cheap, so
everything that is not is here, once for each entry of ``CACHES``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.signals import setting_changed
from django.db import connections

from django_etcdaero import conf
from django_etcdaero.exceptions import StoreFull
from django_etcdaero.runtime import runtime
from django_etcdaero.system import forks
from django_etcdaero.system.pool import Pool

from . import compressors, serializers
from .asking import Asking
from .background import Background
from .bound import Bound
from .claims import Claims
from .codec import Codec
from .counters import Counters
from .entries import Entries
from .loading import Loading
from .near import Near
from .near_entries import NearEntries
from .notices import notices_of
from .options import CacheOptions
from .outage import Outage
from .outcome import Outcome
from .pending import Pending
from .place import Place, place_of
from .sweeping import Sweeper

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.facade import KV

POOL_SIZE = 8
"""Threads that call stores for event loops, of all caches of a process together."""


class Pools:
    """The threads of the process that call stores for event loops; a forked child starts its own."""

    def __init__(self) -> None:
        self._pool: Pool | None = None
        forks.protect(self)

    def get(self) -> Pool:
        """Return the pool, made now if need be."""
        pool = self._pool
        if pool is None:
            pool = self._pool = Pool(POOL_SIZE)
        return pool

    def before_fork(self, timeout: float) -> None:
        """Its threads do not hold anything that a child would miss."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def let_go(self) -> None:
        """End the threads; the next call makes others."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop(timeout=forks.PATIENCE)

    def abandon(self) -> None:
        """Forget the threads, which are the parent's."""
        self._pool = None
        forks.protect(self)


class Core:
    """One entry of ``CACHES``. Raises ``ConfigurationError`` for what is wrong with its location."""

    def __init__(
        self, location: str, options: CacheOptions, *, most: int, share: int, shown: Callable[[str], str]
    ) -> None:
        """``most`` and ``share`` bound a cache in memory (see :mod:`.bound`); ``shown`` makes of a key the one that
        messages tell."""
        self.options = options
        self.counters = Counters()
        self.place = place_of(location, timeout=options.CALL_TIMEOUT)
        serializer = serializers.chosen(options.SERIALIZER)
        if self.place.private and serializer is serializers.SIGNED_PICKLE:
            serializer = serializers.UNSIGNED_PICKLE  # what never leaves this process need not be signed
        self.codec = codec = Codec(
            serializer,
            compressors.chosen(options.COMPRESSOR),
            secrets=_secrets,
            min_length=options.COMPRESS_MIN_LENGTH,
            level=options.COMPRESS_LEVEL,
            max_bytes=options.MAX_VALUE_BYTES,
            private=self.place.private,
        )
        background = Background(_close_connections)
        self.sweeper = Sweeper(self.place.store, background.run, room=self.place.room, interval=options.SWEEP_INTERVAL)
        self.entries = _kind_of_entries(options, self.place)(
            self.place.store,
            self.place.stamps,
            codec,
            self.counters,
            room=self.place.room,
            stamp_max_age=options.STAMP_MAX_AGE,
            shown=shown,
            wrote_parts=self.sweeper.mark,
            patience=options.CALL_TIMEOUT,
            bound=Bound(self.place.store, most, share, room=self.place.room) if self.place.in_memory else None,
        )
        self.outage = Outage(
            ignore=options.IGNORE_EXCEPTIONS,
            retry_interval=options.RETRY_INTERVAL,
            counters=self.counters,
            repeat=self._repeat,
            look=lambda: self.place.store().exists(self.place.room + b"m"),
            start=partial(background.run, always=True),
            forget=self.entries.forget_near,
            full=self.sweeper.hurry,
            times=not self.place.in_memory,
        )
        claims = Claims(self.entries, self.place.store, ttl=options.LOAD_TIMEOUT)
        self.loading = Loading(
            self.entries,
            Asking(self.outage, pools.get, timeout=options.CALL_TIMEOUT),
            claims,
            Outcome(self.entries, claims, self.counters, stale_retry=options.STALE_RETRY),
            self.counters,
            background,
            load_timeout=options.LOAD_TIMEOUT,
            load_wait=options.LOAD_WAIT,
            here_only=_here_only,
        )
        self._resource = _Forget(self)

    def clear(self, prefix: str) -> None:
        """Let no entry of ``prefix`` count any more. Raises what the store raises."""
        try:
            self.sweeper.mark()
            self.entries.clear(prefix)
        except StoreFull:  # there is no room for a new generation, or for the mark of what is to be swept
            self.entries.empty(prefix)

    def _repeat(self, pending: Pending) -> None:
        self.place.stamps.forget()  # others may have changed them while the store was away
        for prefix in pending.cleared:
            self.clear(prefix)
        for prefix, tags in pending.tags.items():
            self.entries.invalidate(prefix, tags)
        for prefix, keys in pending.keys.items():
            self.entries.delete(prefix, keys)


class _Forget:
    """Lets a forked child begin without the loads of its parent."""

    def __init__(self, core: Core) -> None:
        self._core = core
        forks.protect(self)

    def before_fork(self, timeout: float) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def abandon(self) -> None:
        self._core.loading.after_fork_in_child()
        self._core.entries.after_fork_in_child()
        self._core.outage.after_fork_in_child()
        self._core.counters.reset()
        forks.protect(self)


def _kind_of_entries(options: CacheOptions, place: Place) -> Callable[..., Entries]:
    if options.NEAR is None:
        return Entries
    conf.get(options.USING)  # a wrong alias is told now, not by the thread that sends
    notices = notices_of(options.USING, partial(_kv, options.USING), lease_ttl=partial(_ttl, options.USING))
    return partial(NearEntries, near=Near(**asdict(options.NEAR)), notices=notices, settled=place.settled)


def _kv(alias: str) -> KV:
    return runtime.stores(alias).kv


def _ttl(alias: str) -> int:
    return conf.get(alias).options.SESSION_TTL


def _close_connections() -> None:
    """Close the connections of a thread that ends."""
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:
            each.close()


def _here_only() -> bool:
    """Tell whether a load must be made by its caller: in a transaction another connection reads what was before it.

    Tests are in transactions, and in a test run nothing should go on behind a test's back.
    """
    return runtime.memory_only or any(
        each.in_atomic_block or (each.connection is not None and not each.autocommit)
        for each in connections.all(initialized_only=True)
    )


@lru_cache(maxsize=1)
def _secrets() -> Sequence[str | bytes]:
    return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


def _forget_secrets(*, setting: str, **kwargs: Any) -> None:
    if setting in {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        _secrets.cache_clear()


setting_changed.connect(_forget_secrets, dispatch_uid="django_etcdaero.cache")


pools = Pools()
_cores: dict[Any, Core] = {}
_lock = threading.Lock()


def core_of(location: str, identity: Hashable, options: CacheOptions, **more: Any) -> Core:
    """Return what the instances of one entry of ``CACHES`` share; ``identity`` tells entries apart.

    ``more`` is for :class:`Core`.
    """
    key = (location, identity)
    found = _cores.get(key)
    if found is None:
        with _lock:
            found = _cores.get(key)
            if found is None:
                found = _cores[key] = Core(location, options, **more)
    return found
