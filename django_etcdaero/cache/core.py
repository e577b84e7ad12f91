"""What all instances of a cache share in a process.

Django makes an instance of the backend for each thread, and for each task of an event loop. They must be cheap, so
everything that is not is here, once for each entry of ``CACHES``.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from typing import Any

from django.conf import settings
from django.db import close_old_connections

from django_etcdaero.system import forks
from django_etcdaero.system.pool import Pool

from . import compressors, serializers
from .background import Background
from .bound import Bound
from .codec import Codec
from .counters import Counters
from .entries import Entries
from .loading import Loading
from .options import CacheOptions
from .outage import Outage, Pending
from .place import place_of

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

    def abandon(self) -> None:
        """Forget the threads, which are the parent's."""
        self._pool = None
        forks.protect(self)


class Core:
    """One entry of ``CACHES``. Raises ``ConfigurationError`` for what is wrong with its location."""

    def __init__(self, location: str, options: CacheOptions, *, most: int, share: int) -> None:
        """``most`` and ``share`` bound a cache in memory (see :mod:`.bound`)."""
        self.options = options
        self.counters = Counters()
        self.place = place_of(location, timeout=options.CALL_TIMEOUT)
        codec = Codec(
            serializers.chosen(options.SERIALIZER),
            compressors.chosen(options.COMPRESSOR),
            secrets=_secrets,
            min_length=options.COMPRESS_MIN_LENGTH,
            level=options.COMPRESS_LEVEL,
            max_bytes=options.MAX_VALUE_BYTES,
        )
        self.entries = Entries(
            self.place.store,
            self.place.stamps,
            codec,
            self.counters,
            room=self.place.room,
            stamp_max_age=options.STAMP_MAX_AGE,
            bound=Bound(self.place.store, most, share) if self.place.in_memory else None,
        )
        self.outage = Outage(
            ignore=options.IGNORE_EXCEPTIONS,
            retry_interval=options.RETRY_INTERVAL,
            counters=self.counters,
            repeat=self._repeat,
        )
        self.loading = Loading(
            self.entries,
            self.outage,
            self.counters,
            self.place.store,
            Background(close_old_connections),
            pools.get,
            load_timeout=options.LOAD_TIMEOUT,
            load_wait=options.LOAD_WAIT,
            stale_retry=options.STALE_RETRY,
            call_timeout=options.CALL_TIMEOUT,
        )
        self._resource = _Forget(self)

    def _repeat(self, pending: Pending) -> None:
        self.place.stamps.forget()  # others may have changed them while the store was away
        for prefix in pending.cleared:
            self.entries.clear(prefix)
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
        self._core.counters.reset()
        forks.protect(self)


def _secrets() -> Sequence[str | bytes]:
    return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


pools = Pools()
_cores: dict[Any, Core] = {}
_lock = threading.Lock()


def core_of(location: str, identity: Hashable, options: CacheOptions, *, most: int, share: int) -> Core:
    """Return what the instances of one entry of ``CACHES`` share; ``identity`` tells entries apart."""
    key = (location, identity)
    found = _cores.get(key)
    if found is None:
        with _lock:
            found = _cores.get(key)
            if found is None:
                found = _cores[key] = Core(location, options, most=most, share=share)
    return found
