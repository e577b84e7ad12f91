"""The awaitable methods of the cache: each makes its call in one of a few threads, or at once where nothing can block.

Django's own would go through a thread for each key of a batch (before 6.1), and through one that all requests share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.runtime import runtime
from django_etcdaero.system.acting import acts
from django_etcdaero.system.steps import adrive

from .codec import MISSING
from .context import as_here
from .core import pools
from .habits import Habits
from .request import called

T = TypeVar("T")


class AsyncMethods(Habits):
    """The awaitable twins. A task that is cancelled goes on at once; its call ends by its own deadline."""

    async def _in_thread(self, method: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        call = partial(method, *args, **kwargs)
        if self._core.place.in_memory or runtime.memory_only:
            return call()
        here = as_here(call)
        # Twice its own time: a call that waits for a thread is not yet late.
        try:
            return await pools.get().run(lambda _: here(), timeout=2 * self._core.options.CALL_TIMEOUT)
        except DeadlineExceeded as error:
            if not self._core.outage.ignores:
                raise
            self._core.outage.give_up(error)  # all threads wait for it: it counts as away, and is not asked here
            return call()

    def _near_value(self, key: Any, version: int | None) -> Any:
        if self._core.options.NEAR is None:
            return MISSING
        value = self._core.entries.near_value(self.key_prefix, self.make_and_validate_key(key, version))
        if value is not MISSING:
            self._core.counters.hits += 1
        return value

    async def aadd(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, **kwargs: Any
    ) -> bool:
        return await self._in_thread(self.add, key, value, timeout, version, **kwargs)

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        value = self._near_value(key, version)
        return await self._in_thread(self.get, key, default, version) if value is MISSING else value

    async def aset(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, **kwargs: Any
    ) -> Any:
        return await self._in_thread(self.set, key, value, timeout, version, **kwargs)

    async def atouch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return await self._in_thread(self.touch, key, timeout, version)

    async def adelete(self, key: Any, version: int | None = None) -> bool:
        return await self._in_thread(self.delete, key, version)

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        return self._near_value(key, version) is not MISSING or await self._in_thread(self.has_key, key, version)

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> Any:
        return await self._in_thread(self.incr, key, delta, version)

    async def adecr(self, key: Any, delta: int = 1, version: int | None = None) -> Any:
        return await self._in_thread(self.decr, key, delta, version)

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        if self._core.options.NEAR is None:
            return await self._in_thread(self.get_many, keys, version)
        made = {self.make_and_validate_key(key, version): key for key in keys}
        near = self._near_values(made)
        self._core.counters.hits += len(near)
        answer = {made[each]: value for each, value in near.items()}
        missing = [key for each, key in made.items() if each not in near]
        if missing:
            answer |= await self._in_thread(self.get_many, missing, version)
        return answer

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, **kwargs: Any
    ) -> list[Any]:
        return await self._in_thread(self.set_many, data, timeout, version, **kwargs)

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> Any:
        return await self._in_thread(self.delete_many, keys, version)

    async def atouch_many(self, keys: Iterable[Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> int:
        return await self._in_thread(self.touch_many, keys, timeout, version)

    async def aincr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await self._in_thread(self.incr_version, key, delta, version)

    async def adecr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await self._in_thread(self.decr_version, key, delta, version)

    @acts
    async def aclear(self) -> None:
        await self._in_thread(self.clear)

    @acts
    async def aclose(self, **kwargs: Any) -> None:
        """Do nothing, as ``close()``."""

    async def aget_or_set(
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
        """As ``get_or_set``; ``default`` may be a coroutine function. Another function is called in a thread."""
        request = self._request(key, default, timeout, version, tags, stale, soft_timeout, eager, jitter, awaited=True)
        if request is not None:
            self._core.sweeper.consider()
            return await adrive(self._core.loading.get_or_load(request))
        if callable(default):  # a timeout of 0: nothing is stored
            missing = object()
            value = await self.aget(key, missing, version=version)
            return await called(default) if value is missing else value
        return await self._in_thread(self._get_or_add, key, default, timeout, version, tags)

    @acts
    async def ainvalidate_tags(self, *tags: str) -> None:
        await self._in_thread(self.invalidate_tags, *tags)

    async def attl(self, key: Any, version: int | None = None) -> int | None:
        return await self._in_thread(self.ttl, key, version)

    async def apttl(self, key: Any, version: int | None = None) -> int | None:
        return await self._in_thread(self.pttl, key, version)

    async def aexpire(self, key: Any, timeout: Any, version: int | None = None) -> bool:
        return await self._in_thread(self.expire, key, timeout, version)

    async def apexpire(self, key: Any, timeout: Any, version: int | None = None) -> bool:
        return await self._in_thread(self.pexpire, key, timeout, version)

    async def aexpire_at(self, key: Any, when: datetime | float, version: int | None = None) -> bool:
        return await self._in_thread(self.expire_at, key, when, version)

    async def apexpire_at(self, key: Any, when: datetime | float, version: int | None = None) -> bool:
        return await self._in_thread(self.pexpire_at, key, when, version)

    async def apersist(self, key: Any, version: int | None = None) -> bool:
        return await self._in_thread(self.persist, key, version)

    @acts
    async def akeys(self, pattern: str = "*", version: int | None = None) -> list[str]:
        return await self._in_thread(self.keys, pattern, version)

    async def adelete_pattern(self, pattern: str, version: int | None = None, itersize: int = 1000) -> int:
        return await self._in_thread(self.delete_pattern, pattern, version, itersize)
