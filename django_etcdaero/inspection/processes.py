"""The processes that read, under all aliases at once: what each holds, and what is not as with the others.

Two ranges an alias, however many processes there are: the registrations, and what is announced. (Registrations that
have not seen the newest announcements cost some more: :mod:`django_etcdaero.datasets.state.presence`.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from django_etcdaero.datasets.state.presence import Process, merged, processes
from django_etcdaero.datasets.state.reading import read_announcements
from django_etcdaero.datasets.stores import Stores

from .aliases import ask_aliases
from .problem import Problem

Identity: TypeAlias = tuple[str, int, float]


@dataclass(frozen=True, slots=True)
class Headline:
    """Who holds the announced version of a dataset."""

    dataset: str
    schema: int
    version: int | None
    """The announced one; ``None``: none is, or it makes no sense."""
    readers: int
    """Processes that read the dataset."""
    others: tuple[Process, ...]
    """Those of them that do not hold that version."""

    @property
    def holding(self) -> int:
        """How many hold it."""
        return self.readers - len(self.others)


@dataclass(frozen=True, slots=True)
class FoundProcesses:
    """All processes, as far as they could be read."""

    processes: list[Process]
    """Ordered by host and pid, each once. Names of settings begin with the alias."""
    headlines: list[Headline]
    """By name and schema of the dataset."""
    differing: Mapping[Identity, tuple[str, ...]]
    """The settings in which a process differs from most of the others, by the process."""
    problems: list[Problem]


def ask_processes(timeout: float, *, aliases: Iterable[str] | None = None) -> FoundProcesses:
    """Ask all aliases, or these, for ``timeout`` seconds at most. Raises nothing of the stores."""
    answers = ask_aliases(_read, timeout=timeout, aliases=aliases)
    found = merged(each for alias in answers.by_alias.values() for each in alias[0])
    lines = [line for alias in answers.by_alias.values() for line in alias[1]]
    return FoundProcesses(
        found, sorted(lines, key=lambda line: (line.dataset, line.schema)), differing(found), answers.problems
    )


def identity(process: Process) -> Identity:
    """Return what tells a process from all others."""
    return process.host, process.pid, process.started


def as_fields(process: Process) -> dict[str, Any]:
    """Return the fields of a process by name. Values are not copied, as ``asdict()`` would."""
    return {each.name: getattr(process, each.name) for each in fields(process)}


def differing(found: Iterable[Process]) -> dict[Identity, tuple[str, ...]]:
    """Return in which settings a process differs from most of those that tell theirs.

    Where two values are told by equally many it is not known which is right, and all differ.
    """
    told = [each for each in found if each.settings]
    values: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in told:
        for name, value in each.settings.items():
            values[name][value] += 1
    usual = {name: _usual(counts) for name, counts in values.items()}
    odd = {identity(each): tuple(sorted(n for n, v in each.settings.items() if v != usual[n])) for each in told}
    return {who: names for who, names in odd.items() if names}


def _usual(counts: Counter[str]) -> str | None:
    (first, most), *others = counts.most_common(2)
    return None if others and others[0][1] == most else first


def _read(alias: str, stores: Stores) -> tuple[list[Process], list[Headline]]:
    announced = read_announcements(stores.kv).found
    found = [
        replace(each, settings={f"{alias}: {name}": value for name, value in each.settings.items()})
        for each in processes(stores.kv)
    ]
    readers: defaultdict[tuple[str, int], list[Process]] = defaultdict(list)
    for each in found:
        for dataset in each.schemas.items():
            readers[dataset].append(each)
    lines = []
    for (name, schema), those in readers.items():
        current = announced.get((name, schema))
        version = None if current is None or current.announcement is None else current.announcement.version
        others = tuple(each for each in those if version is None or each.versions.get(name) != version)
        lines.append(Headline(name, schema, version, len(those), others))
    return found, lines
