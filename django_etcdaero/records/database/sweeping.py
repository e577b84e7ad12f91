"""Removing what has expired: by those who write, in proportion to what they write.

A process sweeps with its first write (so that short ones do it, too), after each ``RECORDS`` records that it wrote, and
with the first write after ``INTERVAL`` seconds; it removes twice as many as it has written since, and a few at least.
Each time is one short statement. Records that nobody writes to any more stay in the table, invisible.
"""

from __future__ import annotations

import threading
from typing import Final

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.system.clocks import monotonic

from .connections import Connections

RECORDS: Final = 200
INTERVAL: Final = 60.0

AT_LEAST: Final = 1000
"""Records that one statement removes at most, unless more were written."""

LEAST_SECONDS: Final = 0.2
"""What must be left of the time of the call that sweeps on its way."""


class Sweeping:
    """What one store of a process has written since it swept."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        """Held by who sweeps; others do not wait for it."""
        self._written = 0
        self._due = 0.0

    def after(self, records: int, until: float) -> None:
        """Sweep, if it is time to, after so many records were written; a failure is left to the next time."""
        self._written += records  # lost counts do no harm
        now = monotonic()
        if (self._written < RECORDS and now < self._due) or until - now < LEAST_SECONDS:
            return
        if not self._lock.acquire(blocking=False):
            return
        try:
            limit = max(AT_LEAST, 2 * self._written)
            self._written, self._due = 0, now + INTERVAL
            removed = self._connections.run(lambda session: session.dialect.sweep(session, limit), until, write=True)
            if removed == limit:
                self._due = 0.0  # there are more
        except EtcdAeroError:
            pass  # what the call itself has written is written
        finally:
            self._lock.release()
