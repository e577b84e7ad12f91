"""What users of other caches are used to: tags, times to live, patterns, locks, counts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django_etcdaero.records.store import RecordStore
from django_etcdaero.runtime import runtime
from django_etcdaero.system.acting import acts

from .request import names
from .times import moment_of

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.queue.lock import Lock

from .methods import Methods


class Habits(Methods):
    """Methods beyond those of Django's caches, most of them with the names that django-redis gave them."""

    @acts
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
        found = self._core.outage.run(
            "keys",
            lambda: [made for made in entries.keys(prefix, itersize) if matches(made)],
            list[str](),
            undone=lambda pending: pending.clear(prefix),  # which they are is not known: rather all than none
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

    @acts
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
