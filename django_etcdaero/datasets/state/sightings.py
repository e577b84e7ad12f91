"""What this process has seen of the last load of each dataset and of the last one that failed, in each store.

:func:`.reading.read_state` takes in whatever it reads, for whoever reads it: the more often a process looks, the less
it has to go by the clocks of other hosts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakKeyDictionary

from django_etcdaero.datasets.layout import Layout
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.system.clocks import elapsed

from .age import Age, AgeMemory, Load
from .stored_state import Attempt, Checked, StoredState


class Ages(NamedTuple):
    """How old things are at a moment."""

    now: float
    """The moment, in seconds since the epoch."""
    load: Age | None
    """Of the last successful load; ``None``: none is known."""
    failure: Age | None
    """Of the last failure since then."""


@dataclass(frozen=True, slots=True)
class Sightings:
    """Of one dataset in one store."""

    loads: AgeMemory = field(default_factory=AgeMemory)
    failures: AgeMemory = field(default_factory=AgeMemory)

    def look(self, state: StoredState, *, asked: float) -> None:
        """Take in a state that was just read; ``asked`` is the time of :func:`.clocks.elapsed` before it was."""
        answered, checked, attempt = elapsed(), state.checked, state.attempt
        load = Load.of_checked(checked) if checked else None
        self.loads.look(load, state.checked_revision, asked=asked, answered=answered)
        failed = Load.of_attempt(attempt) if attempt else None
        self.failures.look(failed, state.attempt_revision, asked=asked, answered=answered)

    def loaded(self, checked: Checked, *, after: float) -> None:
        """Take in that this process has noted this load, ``after`` a moment on the clock of :func:`.clocks.elapsed`."""
        self.loads.noted(Load.of_checked(checked), after=after, before=elapsed())

    def failed(self, attempt: Attempt, *, after: float) -> None:
        """Take in that this process has noted this failure, likewise."""
        self.failures.noted(Load.of_attempt(attempt), after=after, before=elapsed())

    def ages(self, now: float) -> Ages:
        """Return how old things are at this moment, which the wall clock calls ``now``."""
        clock = elapsed()
        return Ages(now, self.loads.age(now=now, clock=clock), self.failures.age(now=now, clock=clock))


_of_stores: WeakKeyDictionary[KV, dict[tuple[str, int], Sightings]] = WeakKeyDictionary()


def sightings(kv: KV, layout: Layout) -> Sightings:
    """Return what this process has seen of a dataset in the store of ``kv``."""
    return sightings_of(kv, layout.name, layout.schema)


def sightings_of(kv: KV, name: str, schema: int) -> Sightings:
    """Return the same by the name and schema of the dataset."""
    return _of_stores.setdefault(kv, {}).setdefault((name, schema), Sightings())
