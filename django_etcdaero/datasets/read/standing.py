"""How a process stands to a dataset, as its reader keeps it and tells it to those who read."""

from __future__ import annotations

import math
import time
from typing import Any

from django_etcdaero.datasets.snapshot import Snapshot
from django_etcdaero.datasets.state.age import Age
from django_etcdaero.datasets.state.status import State
from django_etcdaero.system.clocks import elapsed

from .live import LiveDataset, live_state


class Standing:
    """But for the age of the rows, which :meth:`tell` looks at.

    It begins with what another reader of this process, or of the one it was forked from, has left behind.
    """

    def __init__(self, dataset: LiveDataset[Any, Any]) -> None:
        left = dataset.status()
        self._dataset = dataset
        self._live = live_state(dataset)
        self.state = left.state
        self.error: str | None = None
        self.lag = left.lag
        """Seconds from the publication of the version held to its use."""
        self.copy_error: str | None = None
        """Why the announcement copy could not be checked the last time."""

    def change(self, state: State, error: str | None = None) -> None:
        """Let this be how things stand; told by the next :meth:`tell`."""
        self.state, self.error = state, error

    @property
    def too_old_in(self) -> float:
        """In how many seconds the rows are too old to be read; infinity: never, as far as is known."""
        max_stale = self._dataset.max_stale
        age = None if max_stale is None else self._age()
        return math.inf if max_stale is None or age is None else max_stale.total_seconds() - age.at_least

    def _age(self) -> Age | None:
        return self._live.age.age(now=time.time(), clock=elapsed())

    def _too_old(self) -> str:
        age = self._age()
        seconds = 0.0 if age is None else age.seconds
        reason = f"the source was last read {seconds:.0f} s ago, max_stale is {self._dataset.max_stale}"
        return f"{reason}; {self.error}" if self.error else reason

    def tell(self, snapshot: Snapshot[Any, Any] | None, *, failures: int) -> Snapshot[Any, Any] | None:
        """Report how things stand, put ``snapshot`` into use and return the one before."""
        live, refusal = self._live, None
        if self.too_old_in <= 0 and (snapshot is not None or live.loaded is not None):
            refusal = self._too_old()
        state, error = (self.state, self.error) if refusal is None else (State.STALE, refusal)
        changes = {} if error is None else {"error_at": time.time()}
        # Before the rows are there to be read, so that whoever has read them finds a status that says so.
        live.report(state=state, error=error, failures=failures, lag=self.lag, **changes)
        if snapshot is not None:
            return live.install(snapshot, refusal=refusal)
        live.refuse(refusal)
        return None
