"""The bound on the number of records, which keeps etcd from being filled up by one of those who use it.

To count for each new record would cost more than to write it, so a store counts now and then, and creates a share of
what is left before it counts again. As many stores as there are shares keep the bound together; more of them may exceed
it, by what they create within ``COUNT_AGE`` seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from django_etcdaero.system.clocks import monotonic

SHARE = 8
"""A store creates one of so many shares of what is left."""

COUNT_AGE = 10.0
"""Seconds for which a count is believed."""


class Entries:
    """Tells whether more records may be created. ``most`` is how many there may be."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.counted = 0
        """Records at the last count."""
        self._counted_at = -COUNT_AGE
        self._allowed = 0
        self._mutex = threading.Lock()

    def reserve(self, created: int, count: Callable[[], int]) -> bool:
        """Tell whether ``created`` more records may be created; ``count`` says how many there are."""
        with self._mutex:
            if created <= self._allowed and monotonic() < self._counted_at + COUNT_AGE:
                self._allowed -= created
                return True
        at, counted = monotonic(), count()
        with self._mutex:
            self.counted, self._counted_at = counted, at
            left = self.most - counted
            self._allowed = max(left // SHARE - created, 0)
            return created <= left
