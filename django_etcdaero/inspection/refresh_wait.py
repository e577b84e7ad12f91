"""How a request for a refresh is getting on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.refreshers import Refresher, refreshers
from django_etcdaero.datasets.state.schedule import Asked, answers, held_back_until
from django_etcdaero.datasets.state.sightings import sightings
from django_etcdaero.datasets.state.stored_state import Attempt, Checked, LoadRequest
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.keyvalue.queue.lock import Holder

from .aliases import ask_aliases
from .problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What is known of a request."""

    request: LoadRequest | None = None
    """Any request that has not been answered."""
    answer: Checked | None = None
    """The load that answered this one."""
    failure: Attempt | None = None
    """The last load, if it failed."""
    held_back_until: float | None = None
    """Until when no other one begins after it, seconds since the epoch."""
    holder: Holder | None = None
    """Who loads just now."""
    refreshers: list[Refresher] = field(default_factory=list)
    """The services that could hear it."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return not self.problems and (self.answer is not None or self.request is None)


def look(dataset: Dataset[Any, Any], asked: Asked | None, *, timeout: float) -> Wait:
    """Look at a request, within ``timeout`` seconds. ``asked``: which; ``None``: whatever stands there."""

    def read(_alias: str, stores: Stores) -> Wait:
        layout = dataset.layout(stores.prefix)
        stored = read_state(stores.kv, layout)
        ages = sightings(stores.kv, layout).ages(time.time())
        answered = asked is not None and answers(stored.checked, asked)
        return Wait(
            request=stored.pending,
            answer=stored.checked if answered else None,
            failure=stored.attempt,
            held_back_until=held_back_until(stored, dataset, ages, serving=True),
            holder=stores.kv.lock(layout.lock).holder(),
            refreshers=[each for each in refreshers(stores.kv) if each.refreshes(dataset.name, dataset.schema)],
        )

    found = ask_aliases(read, timeout=timeout, aliases=[dataset.using])
    return found.by_alias.get(dataset.using) or Wait(problems=found.problems)
