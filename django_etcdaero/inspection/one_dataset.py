"""All that the stores tell about one dataset, asked at once, within a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.history import Version, refused, versions
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.overview import Overview, overview
from django_etcdaero.datasets.state.presence import Process, readers
from django_etcdaero.datasets.state.refreshers import Refresher, refreshers
from django_etcdaero.datasets.state.validations import RefusedLoad
from django_etcdaero.datasets.stores import Stores

from .cluster_status import asking, copies, tell_apart
from .problem import Problem
from .together import together


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetState:
    """What is known of a dataset; ``None``: it could not be read."""

    name: str
    asked: float
    """When, seconds since the epoch."""
    overview: Overview | None = None
    versions: list[Version] | None = None
    refused: list[RefusedLoad] | None = None
    processes: list[Process] | None = None
    refreshers: list[Refresher] | None = None
    """The services that refresh it."""
    copy: Announcement | None = None
    """What the record store tells of the version that is announced, if KV does not."""
    problems: list[Problem] = field(default_factory=list)


def ask_one(dataset: Dataset[Any, Any], *, timeout: float) -> DatasetState:
    """Ask both stores of the dataset's alias, for ``timeout`` seconds at most. Raises nothing of them."""
    questions: dict[str, Callable[[Stores], Any]] = {
        "overview": lambda stores: overview(dataset, stores),
        "versions": lambda stores: versions(dataset, stores),
        "refused": lambda stores: refused(dataset, stores),
        "processes": lambda stores: readers(stores.kv),
        "refreshers": lambda stores: [
            each for each in refreshers(stores.kv) if each.refreshes(dataset.name, dataset.schema)
        ],
        "copies": partial(copies, [dataset]),
    }
    now = time.time()
    answers = together({name: asking(dataset.using, ask) for name, ask in questions.items()}, timeout=timeout)
    found, problems = tell_apart(dataset.using, answers)
    copy = found.pop("copies", {}).get(dataset.name)
    return DatasetState(name=dataset.name, asked=now, copy=copy, problems=problems, **found)
