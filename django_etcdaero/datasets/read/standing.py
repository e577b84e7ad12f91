"""How a process stands to a dataset, as its reader keeps it, and when its rows are too old."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from django_etcdaero.datasets.state.status import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the process stands to the dataset, but for the age of the rows. Times are seconds since the epoch."""

    state: State
    error: str | None = None
    source_read_at: float | None = None
    lag: float | None = None
    copy_error: str | None = None
    """Why the announcement copy could not be checked the last time."""

    def too_old_at(self, max_stale: timedelta | None) -> float:
        """Return when the rows are too old to be read; infinity: never, as far as is known."""
        if max_stale is None or self.source_read_at is None:
            return math.inf
        return self.source_read_at + max_stale.total_seconds()

    def too_old(self, max_stale: timedelta | None, now: float) -> str:
        """Say that the rows are too old to be read."""
        reason = f"the source was last read {now - (self.source_read_at or 0.0):.0f} s ago, max_stale is {max_stale}"
        return f"{reason}; {self.error}" if self.error else reason
