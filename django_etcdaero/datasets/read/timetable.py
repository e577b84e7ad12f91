"""What is to be looked at now, of many things of which most have nothing to do."""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

T = TypeVar("T")


class Timetable(Generic[T]):
    """Things that were woken, and when the time of each other one comes. Times are of one monotonic clock.

    :meth:`wake` may be called by any thread, all else by one.
    """

    def __init__(self) -> None:
        self._woken: set[T] = set()
        self._times: dict[T, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        """In order of time; an entry counts as long as ``_times`` says the same."""

    def wake(self, thing: T) -> None:
        """Let it be looked at now."""
        self._woken.add(thing)  # one call in C on a set of its own is atomic

    def take(self, now: float) -> set[T]:
        """Return those that were woken since the last call and those whose time has come: to be noted again."""
        found = set()
        while self._woken:
            found.add(self._woken.pop())
        while self._heap and self._heap[0][0] <= now:
            at, _, thing = heapq.heappop(self._heap)
            if self._times.get(thing) == at:
                found.add(thing)
        return found

    def note(self, thing: T, at: float) -> None:
        """Let it be looked at at a time, unless it is woken before; infinity: only then."""
        self._times[thing] = at
        if not math.isinf(at):
            heapq.heappush(self._heap, (at, id(thing), thing))
        if len(self._heap) > 4 * len(self._times) + 64:  # most do not count any more
            self._heap = [(at, id(each), each) for each, at in self._times.items() if not math.isinf(at)]
            heapq.heapify(self._heap)

    @property
    def next_at(self) -> float:
        """When to call :meth:`take` again at the latest, unless something is woken; infinity: never."""
        return self._heap[0][0] if self._heap else math.inf
