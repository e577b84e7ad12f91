"""What the stores say about a dataset, whatever this process holds of it: for commands and pages."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.keyvalue.queue.lock import Holder

from .overdue import OverdueLoad, overdue_loads
from .presence import Process
from .reading import Announcements, read_state
from .schedule import held_back_until, is_due, next_due
from .stored_state import Attempt, StoredState


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
    overdue: tuple[OverdueLoad, ...] = ()
    """Loads that hang, the oldest first: each was given up after its ``load_timeout`` and has not ended."""

    @property
    def version(self) -> int | None:
        """The version that readers are to hold."""
        return self.stored.current.version if self.stored.current else None

    @property
    def age(self) -> float | None:
        """Seconds since the source was last read successfully."""
        checked = self.stored.checked
        return None if checked is None else max(0.0, time.time() - checked.load_started)

    @property
    def failure(self) -> Attempt | None:
        """The last load, if it failed."""
        return self.stored.attempt


def overview(dataset: Declared[Any, Any], stores: Stores, *, announcements: Announcements | None = None) -> Overview:
    """Read the state of a dataset; ``announcements`` of its alias, if given, are not read again.

    Raises what the store raises.
    """
    layout = dataset.layout(stores.prefix)
    stored, now = read_state(stores.kv, layout, announcements=announcements), time.time()
    return Overview(
        name=dataset.name,
        stored=stored,
        due=is_due(stored, dataset.refresh_every, now=now),
        next_due=next_due(stored, dataset.refresh_every),
        held_back_until=held_back_until(stored, now=now),
        holder=stores.kv.lock(layout.lock).holder(),
        overdue=tuple(overdue_loads(stores.kv, layout)),
    )


def versions_held(dataset: Declared[Any, Any], processes: list[Process]) -> dict[int | None, int]:
    """Count the processes by the version of the dataset that they hold (``None``: none yet).

    ``processes`` are those registered under the dataset's alias; those with another schema do not count.
    """
    name, schema = dataset.name, dataset.schema
    readers = [each for each in processes if name in each.versions and each.schemas.get(name) == schema]
    return Counter(each.versions[name] for each in readers)
