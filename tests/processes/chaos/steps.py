"""Faults in steps, so that several go on at once: between two steps a fault says what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.processes.chaos.observing import BOUND


class Wait(NamedTuple):
    """What has to be so before a fault goes on."""

    condition: Callable[[], object]
    what: str


Steps = Iterator[Wait]


class Kind(NamedTuple):
    """A kind of fault."""

    fault: Callable[[], Steps]
    groups: frozenset[str] = frozenset()
    """Of two kinds that have one of these in common, only one goes on at a time."""

    @property
    def name(self) -> str:
        return self.fault.__name__


def kind(fault: Callable[[], Steps], *groups: str) -> Kind:
    return Kind(fault, frozenset(groups))


def pause(seconds: float) -> Wait:
    """Let things be as they are for so long."""
    end = time.monotonic() + seconds
    return Wait(lambda: time.monotonic() > end, f"a pause of {seconds:.1f} s")


class Running:
    """A fault that has begun, or is about to after ``delay`` seconds."""

    def __init__(self, kind: Kind, delay: float) -> None:
        self.kind = kind
        self._steps = kind.fault()
        self._wait = pause(delay)
        self._since = time.monotonic()

    def ends(self) -> bool:
        """Take the next step if it is time; tell whether there is none."""
        if not self._wait.condition():
            waited = time.monotonic() - self._since
            assert waited < BOUND, f"{self.kind.name}: {self._wait.what}: not within {waited:.0f} s"
            return False
        following = next(self._steps, None)
        if following is None:
            return True
        self._wait, self._since = following, time.monotonic()
        return False
