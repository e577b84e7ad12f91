"""The methods of a cache in both forms, so that one test covers the plain one and its awaitable twin."""

from __future__ import annotations

import asyncio
from typing import Any

from django_etcdaero.cache import EtcdAeroCache


class Plain:
    """Calls the plain methods."""

    def __init__(self, cache: EtcdAeroCache) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


class Awaited:
    """Calls the awaitable twins, each in an event loop of its own."""

    def __init__(self, cache: EtcdAeroCache) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        twin = getattr(self._cache, f"a{name}")

        def call(*args: Any, **kwargs: Any) -> Any:
            async def main() -> Any:
                return await twin(*args, **kwargs)

            return asyncio.run(main())

        return call
