"""Deletions and other invalidations that did not reach the store, to be repeated when it is back."""

from __future__ import annotations

import threading
from typing import Final

MAX_PENDING: Final = 10_000
"""Keys whose deletion is remembered; of more, the whole cache is cleared instead."""


class Pending:
    """What is to be invalidated when the store is back, by key prefix."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.keys: dict[str, set[str]] = {}
        self.tags: dict[str, set[str]] = {}
        self.cleared: set[str] = set()

    def delete(self, prefix: str, keys: set[str]) -> None:
        """Remember that ``keys`` must go."""
        with self._lock:
            known = self.keys.setdefault(prefix, set())
            if prefix not in self.cleared:
                known |= keys
            if len(known) > MAX_PENDING:
                self._clear(prefix)

    def invalidate(self, prefix: str, tags: set[str]) -> None:
        """Remember that entries with ``tags`` must go."""
        with self._lock:
            known = self.tags.setdefault(prefix, set())
            known |= tags
            if len(known) > MAX_PENDING:
                self._clear(prefix)

    def clear(self, prefix: str) -> None:
        """Remember that everything must go."""
        with self._lock:
            self._clear(prefix)

    def _clear(self, prefix: str) -> None:
        self.cleared.add(prefix)
        self.keys.pop(prefix, None)
        self.tags.pop(prefix, None)

    def prefixes(self) -> set[str]:
        """Return the key prefixes of which something must go."""
        return {*self.keys, *self.tags, *self.cleared}

    def __bool__(self) -> bool:
        return bool(self.keys or self.tags or self.cleared)
