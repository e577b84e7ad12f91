"""What the stores of all aliases say, asked at once: whatever is away costs the rest nothing.

All datasets of an alias are read in a few calls, however many they are. What was read when the time is over is shown,
and while KV is away the record store still tells which versions are announced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Final, TypeVar

from django_etcdaero import datasets
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.state.announcement import Announcement, Copy
from django_etcdaero.datasets.state.overview import Overview, overview
from django_etcdaero.datasets.state.presence import Process, merged, readers
from django_etcdaero.datasets.state.read_ahead import read_ahead
from django_etcdaero.datasets.state.reading import read_announcements
from django_etcdaero.datasets.state.refreshers import Refresher, refreshers
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import ConfigurationError, ResponseError
from django_etcdaero.runtime import runtime

from .problem import Problem, problem_of
from .silence import answered
from .together import together

T = TypeVar("T")

PROBE: Final = b"etcdaero-status"
"""No record is called so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasStatus:
    """What is known of one alias."""

    alias: str
    overviews: list[Overview] = field(default_factory=list)
    processes: list[Process] | None = None
    """``None``: not known."""
    refreshers: list[Refresher] | None = None
    copies: dict[str, Announcement] = field(default_factory=dict)
    """What is announced, as the record store has it, by dataset."""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What is known of all aliases that were asked."""

    aliases: list[AliasStatus]

    @property
    def overviews(self) -> list[Overview]:
        """Ordered by the names of datasets."""
        return sorted(chain.from_iterable(each.overviews for each in self.aliases), key=lambda each: each.name)

    @property
    def processes(self) -> list[Process]:
        """Each process once, whatever aliases it uses."""
        return merged(chain.from_iterable(each.processes or () for each in self.aliases))

    @property
    def copies(self) -> dict[str, Announcement]:
        """What is announced, as the record stores have it, by dataset."""
        return {name: copy for each in self.aliases for name, copy in each.copies.items()}

    @property
    def problems(self) -> list[Problem]:
        return [problem for each in self.aliases for problem in each.problems]

    def readers_of(self, alias: str) -> list[Process]:
        """Return the processes that are registered under an alias."""
        return [process for each in self.aliases if each.alias == alias for process in each.processes or ()]


def each_overview(
    chosen: Iterable[Dataset[Any, Any]], stores: Stores
) -> Iterator[tuple[Dataset[Any, Any], Overview | Exception]]:
    """Yield what is known of each of some datasets of one alias, or why nothing is. A few calls, however many they are.

    Raises what the store raises where that is about all of them.
    """
    ahead = dataclasses.replace(stores, kv=read_ahead(stores.kv))
    announcements = read_announcements(ahead.kv)
    for dataset in chosen:
        found: Overview | Exception
        try:
            found = overview(dataset, ahead, announcements=announcements)
        except Exception as error:  # whatever it is, the others can still be told of
            found = error
        yield dataset, found


class _Reading:
    """Reading the state of the datasets of one alias: what has been read can be taken at any time."""

    def __init__(self, alias: str, own: list[Dataset[Any, Any]]) -> None:
        self._alias = alias
        self._own = own
        self._overviews: list[Overview] = []
        self._problems: list[Problem] = []

    def run(self) -> None:
        for dataset, found in each_overview(self._own, runtime.stores(self._alias)):
            if isinstance(found, Exception):
                self._problems.append(problem_of(found, alias=self._alias, store="KV", dataset=dataset.name))
            else:
                self._overviews.append(found)

    def taken(self) -> tuple[list[Overview], list[Problem]]:
        """Return what was read: copies, for the thread that reads may go on."""
        return list(self._overviews), list(self._problems)


def ask(timeout: float, *, names: Iterable[str] | None = None, aliases: Iterable[str] = ()) -> ClusterStatus:
    """Ask all stores at once, for ``timeout`` seconds at most; what has not answered by then is a problem.

    ``names``: of the datasets to look at; ``None``: all. ``aliases``: are asked also if no dataset uses them.
    """
    chosen = [datasets[name] for name in sorted(datasets if names is None else names)]
    of_alias: dict[str, list[Dataset[Any, Any]]] = {alias: [] for alias in aliases}
    for dataset in chosen:
        of_alias.setdefault(dataset.using, []).append(dataset)
    readings = {alias: _Reading(alias, own) for alias, own in of_alias.items()}
    questions: dict[tuple[str, str], Callable[[], Any]] = {}
    for alias, own in sorted(of_alias.items()):
        questions[alias, "overviews"] = readings[alias].run
        questions[alias, "processes"] = asking(alias, lambda stores: readers(stores.kv))
        questions[alias, "refreshers"] = asking(alias, lambda stores: refreshers(stores.kv))
        questions[alias, "copies"] = asking(alias, partial(copies, own))
    answers = together(questions, timeout=timeout)
    return ClusterStatus([_status(alias, readings[alias], answers) for alias in sorted(of_alias)])


def asking(alias: str, read: Callable[[Stores], T]) -> Callable[[], T]:
    """Return the question ``read`` to the stores of an alias."""
    return lambda: read(runtime.stores(alias))


def _status(alias: str, reading: _Reading, answers: Mapping[tuple[str, str], Any]) -> AliasStatus:
    overviews, problems = reading.taken()
    told, failed = tell_apart(alias, {name: answer for (asked, name), answer in answers.items() if asked == alias})
    return AliasStatus(
        alias=alias,
        overviews=overviews,
        processes=told.get("processes"),
        refreshers=told.get("refreshers"),
        copies=told.get("copies", {}),
        problems=[*problems, *failed],
    )


def tell_apart(alias: str, answers: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return what questions to the stores of an alias brought, by name, and what the others failed of, each once.

    The question of the record store is called ``copies``.
    """
    told: dict[str, Any] = {}
    failed: dict[tuple[str | None, str], Problem] = {}
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            store = _store_of(name, answer, alias)
            failed.setdefault((store, type(answer).__name__), problem_of(answer, alias=alias, store=store))
        else:
            told[name] = answer
            answered(alias, "RECORDS" if name == "copies" else "KV")
    return told, list(failed.values())


def _store_of(question: str, error: Exception, alias: str) -> str | None:
    """Return which store it is that could not be read; ``None``: there is none, for the settings are wrong."""
    if isinstance(error, ConfigurationError):  # also of a server that lacks what the settings name
        try:
            runtime.stores(alias)
        except ConfigurationError:
            return None
    return "RECORDS" if question == "copies" else "KV"


def copies(chosen: Iterable[Dataset[Any, Any]], stores: Stores) -> dict[str, Announcement]:
    """Return what is announced of datasets of one alias, as the record store has it, by name.

    It is what readers go by while KV is away. One call, also without datasets: it shows whether the store answers.
    Raises what the record store raises.
    """
    keys = {each.layout(stores.prefix).announcement_copy: each.name for each in chosen}
    if not keys:
        stores.records.exists(PROBE)
    found = {}
    for key, record in stores.records.get_many(list(keys)).items():
        try:
            found[keys[key]] = Copy.decode(record.value).announcement
        except ResponseError:  # damaged: the next publication replaces it
            continue
    return found
