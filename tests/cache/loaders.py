"""Functions that load, for tests of ``get_or_set``."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from django_etcdaero.cache import EtcdAeroCache
from tests.waiting import wait_until

SHORT = 0.05
"""A timeout that tests wait for."""


def failing() -> Any:
    raise LookupError("the source is away")


class Loader:
    """Loads numbers, counted, and not before it may."""

    def __init__(self, *, free: bool = True) -> None:
        self.count = 0
        self.begun = threading.Event()
        self.free = threading.Event()
        if free:
            self.free.set()

    def __call__(self) -> int:
        self.count += 1
        number = self.count
        self.begun.set()
        assert self.free.wait(30)
        return number

    async def awaited(self) -> int:
        self.count += 1
        number = self.count
        self.begun.set()
        while not self.free.is_set():
            await asyncio.sleep(0.005)
        return number


def expired(cache: Any, key: str, value: Any, **options: Any) -> None:
    """Let ``key`` have a value that has expired and is kept for a minute."""
    cache.get_or_set(key, lambda: value, SHORT, stale=60, **options)
    wait_until(lambda: cache.get(key) is None)


def locks(cache: EtcdAeroCache) -> list[bytes]:
    """Return the keys of the records that say that somebody loads."""
    return [key for key, _ in cache.get_client().scan() if key.startswith(b"cache:l")]
