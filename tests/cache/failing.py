"""A cache whose store can be made to fail, call by call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_etcdaero.cache import EtcdAeroCache

Fails = Callable[[str, tuple[Any, ...]], Exception | None]
WRITES = {"put", "put_many", "delete", "delete_many", "touch", "touch_many", "increment"}


class FailingStore:
    """Passes calls on, unless ``fails(name, arguments)`` returns what to raise instead."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.fails: Fails = lambda name, arguments: None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            error = self.fails(name, args)
            if error is not None:
                raise error
            return found(*args, **kwargs)

        return call


def failing(cache: EtcdAeroCache) -> FailingStore:
    """Put a store that can fail in front of that of ``cache``; it fails in nothing yet."""
    place = cache._core.place
    store = FailingStore(place.store())
    assert place._opened is not None
    place._opened = place._opened[0], store  # type: ignore[assignment]
    return store


def full(store: FailingStore, error: Exception, *, but: tuple[str, ...] = ("delete", "delete_many")) -> None:
    """Let all writes fail but those named."""
    store.fails = lambda name, arguments: error if name in WRITES and name not in but else None
