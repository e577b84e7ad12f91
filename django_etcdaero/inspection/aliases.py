"""The same question to the stores of all aliases at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from django_etcdaero import conf
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.runtime import runtime

from .problem import Problem, problem_of
from .silence import answered
from .together import together

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answers(Generic[T]):
    """What the aliases answered."""

    by_alias: dict[str, T]
    """Of those that answered, in the order in which they were asked."""
    problems: list[Problem]
    """Of those that did not."""


def ask_aliases(
    read: Callable[[str, Stores], T], *, timeout: float, aliases: Iterable[str] | None = None, store: str | None = "KV"
) -> Answers[T]:
    """Call ``read(alias, stores)`` for each alias, all at once, for ``timeout`` seconds at most. Raises nothing.

    ``aliases``: all of the settings by default. ``store``: which one ``read`` asks, to be told with a problem.
    """
    names = conf.aliases() if aliases is None else tuple(aliases)
    answers = together({name: _reading(read, name) for name in names}, timeout=timeout)
    found: dict[str, T] = {}
    problems = []
    for alias, answer in answers.items():
        if isinstance(answer, Exception):
            problems.append(problem_of(answer, alias=alias, store=store))
        else:
            found[alias] = answer
            answered(alias, store)
    return Answers(found, problems)


def _reading(read: Callable[[str, Stores], T], alias: str) -> Callable[[], T]:
    return lambda: read(alias, runtime.stores(alias))
