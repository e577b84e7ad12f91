"""What the stores of all aliases say, asked at once: an alias whose store is away costs the others nothing."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from django_etcdaero import datasets
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.state.overview import Overview, overview
from django_etcdaero.datasets.state.presence import Process, merged, processes
from django_etcdaero.datasets.state.read_ahead import read_ahead
from django_etcdaero.datasets.state.reading import read_announcements
from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.runtime import runtime
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.threads import join

from .problem import Problem, problem_of


@dataclass(slots=True)
class AliasStatus:
    """What is known of one alias."""

    alias: str
    overviews: list[Overview] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    waiting_for: str | None = None
    """The store that is being asked."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What is known of all aliases that datasets use."""

    aliases: list[AliasStatus]

    @property
    def overviews(self) -> list[Overview]:
        """Ordered by the names of datasets."""
        return sorted(chain.from_iterable(each.overviews for each in self.aliases), key=lambda each: each.name)

    @property
    def processes(self) -> list[Process]:
        """Each process once, whatever aliases it uses."""
        return merged(chain.from_iterable(each.processes for each in self.aliases))

    @property
    def problems(self) -> list[Problem]:
        return [problem for each in self.aliases for problem in each.problems]

    def readers_of(self, alias: str) -> list[Process]:
        """Return the processes that are registered under an alias."""
        return [process for each in self.aliases if each.alias == alias for process in each.processes]


def ask(timeout: float) -> ClusterStatus:
    """Ask all stores at once, for ``timeout`` seconds at most; what has not answered by then is a problem."""
    limit = monotonic() + timeout
    asked = [AliasStatus(alias) for alias in sorted({dataset.using for dataset in datasets.values()})]
    threads = []
    for each in asked:
        thread = threading.Thread(target=_ask, args=(each,), name=f"etcdaero-status-{each.alias}", daemon=True)
        thread.start()
        threads.append(thread)
    found = []
    for each, thread in zip(asked, threads, strict=True):
        ended = join(thread, max(0.0, limit - monotonic()))
        # A thread that goes on must change nothing that is being shown.
        seen = dataclasses.replace(each, problems=list(each.problems))
        if not ended:
            message = f"no answer within {timeout:g} s"
            seen.problems.append(_problem(each, DeadlineExceeded(message)))
        found.append(seen)
    return ClusterStatus(found)


def _ask(status: AliasStatus) -> None:
    own = [dataset for _, dataset in sorted(datasets.items()) if dataset.using == status.alias]
    try:
        stores = runtime.stores(status.alias)
        status.waiting_for = "KV"
        ahead = dataclasses.replace(stores, kv=read_ahead(stores.kv))
        announcements = read_announcements(ahead.kv)
    except Exception as error:
        status.problems.append(_problem(status, error))
    else:
        overviews = []
        for dataset in own:
            try:
                overviews.append(overview(dataset, ahead, announcements=announcements))
            except Exception as error:
                status.problems.append(_problem(status, error, dataset))
        status.overviews = overviews
        _look(status, lambda: setattr(status, "processes", processes(stores.kv)))
        status.waiting_for = "RECORDS"
        _look(status, lambda: stores.records.get(own[0].layout(stores.prefix).announcement_copy))


def _look(status: AliasStatus, read: Callable[[], object]) -> None:
    try:
        read()
    except Exception as error:
        status.problems.append(_problem(status, error))


def _problem(status: AliasStatus, error: Exception, dataset: Dataset[Any, Any] | None = None) -> Problem:
    name = None if dataset is None else dataset.name
    return problem_of(error, alias=status.alias, store=status.waiting_for, dataset=name)
