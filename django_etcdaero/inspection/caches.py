"""The caches of ``settings.CACHES`` that this package keeps: what they do, what is in them, clearing them.

What a cache counts is counted in each process for itself; the stores are the same for all.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django_etcdaero.cache import configured
from django_etcdaero.exceptions import ConfigurationError, EtcdAeroError, InvalidRequest
from django_etcdaero.records.store import Fill

from .problem import Problem, problem_of
from .silence import answered
from .together import together, within

if TYPE_CHECKING:  # the admin imports this in every process
    from django_etcdaero.cache.inside import CacheSettings
    from django_etcdaero.cache.near import NearState
    from django_etcdaero.cache.outage import Away
    from django_etcdaero.cache.stored_entry import StoredEntry

NOT_KNOWN: Final = Fill()


class Latency(NamedTuple):
    """How long calls to the store took in this process, or loads. Seconds."""

    operation: str
    calls: int
    mean: float
    most: float
    """95 of 100 took no longer, as exactly as the buckets of the histogram tell; may be infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheState:
    """What is known of a cache."""

    alias: str
    settings: CacheSettings | None = None
    """``None``: they are wrong."""
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    """Of the process that has counted ``counts``."""
    counts: dict[str, Any] = field(default_factory=dict)
    """As ``cache.stats()`` returns them, of this process."""
    away: Away | None = None
    """The store is away, as this process knows it from calls to the cache."""
    near: NearState | None = None
    """What this process holds of the cache; ``None``: it has no near cache."""
    fill: Fill = NOT_KNOWN
    """Of the store; what is not known, as nothing is when it is away, is ``None``."""
    cleared_with: tuple[str, ...] = ()
    """Other aliases of the same place and key prefix: their entries are the same."""
    sessions: bool = False
    """The sessions of the project's users are among the entries."""

    @property
    def location(self) -> str:
        """Where the entries are, without a password; empty: not known."""
        return "" if self.settings is None else self.settings.location

    @property
    def latencies(self) -> list[Latency]:
        """By operation, ordered by its name."""
        return [_latency(name, each) for name, each in self.counts.get("latencies", {}).items() if each["count"]]

    @property
    def reads(self) -> int:
        """Gets that this process has made."""
        return int(self.counts.get("hits", 0)) + int(self.counts.get("misses", 0))

    @property
    def hit_share(self) -> float | None:
        """Hits among the gets of this process, 0 to 1; ``None``: there were none."""
        return self.counts["hits"] / self.reads if self.reads else None

    @property
    def entries(self) -> int | None:
        """How many entries there are, about; ``None``: not known."""
        return self.fill.matching


@dataclass(frozen=True, slots=True)
class Found:
    """Caches, and what could not be read of them."""

    caches: list[CacheState]
    problems: list[Problem]


@dataclass(frozen=True, slots=True)
class Looked:
    """The answer to a look at an entry."""

    entry: StoredEntry | None
    problem: Problem | None = None
    """The store did not answer, or there can be no such key."""


def aliases() -> tuple[str, ...]:
    """Return the names of the caches, in the order of the settings."""
    return tuple(alias for alias, _ in configured.ours())


def in_process(alias: str) -> bool:
    """Tell whether each process has a cache of its own under this name, in its memory."""
    try:
        return configured.inside(alias).settings.in_process
    except ConfigurationError:
        return False


def read_caches(timeout: float, names: Iterable[str] | None = None) -> Found:
    """Read the caches with these names, all by default, at once, for ``timeout`` seconds at most. Raises nothing."""
    found: dict[str, CacheState] = {}
    problems = []
    questions: dict[str, Callable[[], Fill]] = {}
    for alias in aliases() if names is None else names:
        try:
            found[alias] = _state(alias)
        except Exception as error:  # of the settings, and of functions of the project that they name
            found[alias] = CacheState(alias=alias)
            problems.append(_problem(error, alias))
        else:
            questions[alias] = partial(configured.inside(alias).fill, timeout=within(timeout))
    for alias, answer in together(questions, timeout=timeout).items():
        if isinstance(answer, Exception):
            problems.append(_problem(answer, alias))
        else:
            found[alias] = replace(found[alias], fill=answer)
            answered(alias, "CACHES")
    return Found(list(found.values()), problems)


def look_up(alias: str, key: str, version: int | None = None, *, timeout: float) -> Looked:
    """Look at an entry, for ``timeout`` seconds at most. Nothing is loaded, changed or counted. Raises nothing."""
    [answer] = together(
        {alias: lambda: configured.inside(alias).look(key, version, timeout=within(timeout))}, timeout=timeout
    ).values()
    return Looked(None, _problem(answer, alias)) if isinstance(answer, Exception) else Looked(answer)


def find_keys(
    alias: str, pattern: str, version: int | None = None, *, most: int, timeout: float
) -> tuple[list[str], bool]:
    """Return keys that match ``pattern`` (``*``, ``?``, ``[…]``), ``most`` at most, and whether these are all.

    Stops after ``timeout`` seconds. No value is read: what has expired may be among them. Raises what the store raises.
    """
    return configured.inside(alias).keys(pattern, version, most=most, timeout=timeout)


def delete(alias: str, key: str, version: int | None = None) -> bool:
    """Delete an entry; return whether there was one that counted.

    Raises what the store raises, and ``InvalidRequest`` if there can be no such key.
    """
    with _refusing():
        return configured.inside(alias).delete(key, version)


def invalidate(alias: str, *tags: str) -> None:
    """Let no entry count any more that has one of the tags.

    Raises what the store raises, and ``InvalidRequest`` if there can be no such tag.
    """
    with _refusing():
        configured.inside(alias).invalidate(*tags)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what a cache says of a key or a tag that cannot be into an error that pages and commands tell."""
    try:
        yield
    except EtcdAeroError:
        raise
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def clear(alias: str) -> None:
    """Let no entry with the cache's key prefix count any more, of any version. Raises what the store raises."""
    configured.inside(alias).clear()


def _state(alias: str) -> CacheState:
    inside = configured.inside(alias)
    same = tuple(other for other in aliases() if other != alias and _identity(other) == inside.identity)
    return CacheState(
        alias=alias,
        settings=inside.settings,
        counts=inside.counts(),
        away=inside.away(),
        near=inside.near(),
        cleared_with=same,
        sessions=any(map(configured.keeps_sessions, (alias, *same))),
    )


def _latency(operation: str, histogram: dict[str, Any]) -> Latency:
    count = histogram["count"]
    most = next(bound for bound, below in histogram["buckets"].items() if below >= 0.95 * count)
    return Latency(operation, count, histogram["sum"] / count, most)


def _identity(alias: str) -> object:
    try:
        return configured.inside(alias).identity
    except Exception:  # its settings are wrong: it has no entries
        return None


def _problem(error: Exception, alias: str) -> Problem:
    return problem_of(error, alias=alias, store="CACHES")
