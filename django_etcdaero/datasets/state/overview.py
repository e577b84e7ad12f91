"""What the stores say about a dataset, whatever this process holds of it: for commands and pages."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.keyvalue.queue.lock import Holder

from .formats import allowed
from .overdue import OverdueLoad, overdue_loads
from .presence import Process
from .project import other_project
from .reading import Announcements, read_state
from .schedule import held_back_until, is_due, next_due
from .sightings import sightings
from .stored_state import Attempt, StoredState

WRONG = 5
"""Seconds by which two clocks may differ without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A dataset in the cluster. Times are seconds since the epoch."""

    name: str
    stored: StoredState
    due: bool
    next_due: float | None
    held_back_until: float | None
    holder: Holder | None
    """Who refreshes at this moment."""
    age: float | None
    """Seconds since the source was last read successfully, as well as this process can know."""
    other_project: str | None
    """The project that published the current version, if it is another than that of this process."""
    expiring_bytes: int
    """Stored bytes of replaced versions that stand in the record store until they expire."""
    clock_skew: int
    """Seconds by which the clock of the host that loaded last is proven to be ahead of that here (negative: behind it);
    0: nothing is proven."""
    overdue: tuple[OverdueLoad, ...] = ()
    """Loads that hang, the oldest first: each was given up after its ``load_timeout`` and has not ended."""
    loaded_at: float | None = None
    """When the source was last read successfully, by the clock of here; ``age`` counts from then."""
    older_form: str = ""
    """Why versions are written in an older form than this code could write; empty: they are not."""

    @property
    def version(self) -> int | None:
        """The version that readers are to hold."""
        return self.stored.current.version if self.stored.current else None

    @property
    def warnings(self) -> list[str]:
        """What is wrong around the dataset, in words, besides a failure."""
        found = []
        if self.other_project is not None:
            found.append(f"published by another project ({self.other_project}) under the same PREFIX")
        if abs(self.clock_skew) >= WRONG and self.stored.checked is not None:
            direction = "ahead of" if self.clock_skew > 0 else "behind"
            found.append(
                f"the clock of {self.stored.checked.host} is {abs(self.clock_skew)} s {direction} that of here"
            )
        if self.older_form:
            found.append(f"versions are written in an older form: {self.older_form}")
        return found

    @property
    def failure(self) -> Attempt | None:
        """The last load, if it failed."""
        return self.stored.attempt


def overview(dataset: Declared[Any, Any], stores: Stores, *, announcements: Announcements | None = None) -> Overview:
    """Read the state of a dataset; ``announcements`` of its alias, if given, are not read again.

    Raises what the store raises.
    """
    layout = dataset.layout(stores.prefix)
    stored = read_state(stores.kv, layout, announcements=announcements)
    ages = sightings(stores.kv, layout).ages(time.time())
    load = ages.load if stored.checked is not None else None
    return Overview(
        name=dataset.name,
        stored=stored,
        due=is_due(stored, dataset, ages),
        next_due=next_due(stored, dataset, ages),
        held_back_until=held_back_until(stored, dataset, ages),
        holder=stores.kv.lock(layout.lock).holder(),
        age=None if load is None else load.seconds,
        other_project=other_project(dataset, stores, stored.current),
        expiring_bytes=stored.condemned.bytes(ages.now) if stored.condemned is not None else 0,
        clock_skew=round(ages.load.skew) if ages.load is not None else 0,
        overdue=tuple(overdue_loads(stores.kv, layout)),
        loaded_at=None if load is None else load.began,
        older_form=allowed(stores.kv, dataset.name, dataset.schema, newest=stores.newest_format).why,
    )


def versions_held(dataset: Declared[Any, Any], processes: list[Process]) -> dict[int | None, int]:
    """Count the processes by the version of the dataset that they hold (``None``: none yet).

    ``processes`` are those registered under the dataset's alias; those with another schema do not count.
    """
    name, schema = dataset.name, dataset.schema
    readers = [each for each in processes if name in each.versions and each.schemas.get(name) == schema]
    return Counter(each.versions[name] for each in readers)
