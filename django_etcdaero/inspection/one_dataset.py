"""All that the stores tell about one dataset, asked at once, within a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.history import Version, refused, versions
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.overview import Overview, overview
from django_etcdaero.datasets.state.presence import Process, processes
from django_etcdaero.datasets.state.refreshers import Refresher, refreshers
from django_etcdaero.datasets.state.validations import RefusedLoad
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.runtime import runtime

from .cluster_status import copies, store_of
from .problem import Problem, problem_of
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
        "processes": lambda stores: processes(stores.kv),
        "refreshers": lambda stores: [
            each for each in refreshers(stores.kv) if each.refreshes(dataset.name, dataset.schema)
        ],
        "copy": lambda stores: copies([dataset], stores).get(dataset.name),
    }

    def asking(ask: Callable[[Stores], Any]) -> Callable[[], Any]:
        return lambda: ask(runtime.stores(dataset.using))

    now = time.time()
    answers = together({name: asking(ask) for name, ask in questions.items()}, timeout=timeout)
    found: dict[str, Any] = {}
    problems: dict[tuple[str | None, str], Problem] = {}
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            store = store_of("copies" if name == "copy" else name, answer, dataset.using)
            problems.setdefault((store, type(answer).__name__), problem_of(answer, alias=dataset.using, store=store))
        else:
            found[name] = answer
    return DatasetState(name=dataset.name, asked=now, problems=list(problems.values()), **found)
