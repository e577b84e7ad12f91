"""Entries that cannot be read: counted one by one, told of once a minute."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from django_etcdaero.system.clocks import monotonic

from .counters import Counters

logger = logging.getLogger("django_etcdaero.cache")

INTERVAL: Final = 60.0
"""Seconds between two messages of one cache: after a change of the secret key all of its entries may be such ones."""


class Unreadable:
    """The unreadable entries of one cache.

    ``shown`` makes of a key, as it is stored, the one that users know. ``clock`` gives seconds.
    """

    def __init__(self, counters: Counters, shown: Callable[[str], str], clock: Callable[[], float] = monotonic) -> None:
        self._counters = counters
        self._shown = shown
        self._clock = clock
        self._told: float | None = None
        self._since = 0
        """How many there were since then."""
        self._telling = threading.Lock()

    def add(self, key: str, why: str) -> None:
        """Count one, and log it if none was logged for a while."""
        self._counters.unreadable += 1
        self._since += 1
        # Never waited for: a thread that holds it tells of this one too, and a forked child could wait for ever.
        if not self._telling.acquire(blocking=False):
            return
        try:
            now = self._clock()
            if self._told is not None and now < self._told + INTERVAL:
                return
            others, self._since, self._told = self._since - 1, 0, now
        finally:
            self._telling.release()
        more = f" (and {others} more since the last message)" if others else ""
        logger.warning("an entry that cannot be read counts as missing: %r: %s%s", self._name(key), why, more)

    def _name(self, key: str) -> str:
        try:
            return self._shown(key)
        except Exception:  # a function of the project, for a key that need not be one of its own
            return key
