"""What a cache has done in this process, counted."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, fields
from itertools import accumulate
from math import inf
from typing import Any, Final

BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the largest that fall into each bucket of a histogram. One more bucket has what took longer."""


class Histogram:
    """How long something took, counted in buckets."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def so_far(self) -> tuple[tuple[int, ...], float]:
        """Return how many there were in each bucket, and the sum of their seconds."""
        return tuple(self._counts), self._sum

    def as_dict(self) -> dict[str, Any]:
        """Return ``count``, ``sum``, and ``buckets``: by bound, how many took so many seconds at most (cumulative)."""
        cumulative = list(accumulate(self._counts))
        return {
            "count": cumulative[-1],
            "sum": self._sum,
            "buckets": dict(zip((*BOUNDS, inf), cumulative, strict=True)),
        }


@dataclass(slots=True)
class Counters:
    """Counts since the start of the process (or the fork). They are told without a lock: two threads that count in the
    very same moment may count once, which a metric can bear."""

    hits: int = 0
    """Near ones included."""
    near_hits: int = 0
    """Answers from the near cache, without a call to the store."""
    stale_hits: int = 0
    """Answers of ``get_or_set`` with a value that had expired."""
    misses: int = 0
    sets: int = 0
    deletes: int = 0
    errors: int = 0
    """Calls that failed at the store."""
    ignored: int = 0
    """Calls that did not reach the store, because it was away and errors are ignored."""
    loads: int = 0
    """Values that ``get_or_set`` made."""
    load_errors: int = 0
    waits: int = 0
    """Times that ``get_or_set`` waited for the load of somebody else."""
    unreadable: int = 0
    """Entries that could not be read: of a newer format, of another key, damaged, or not ours."""
    too_big: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    latencies: dict[str, Histogram] = field(default_factory=dict)
    """How long calls to the store took, and loads, by operation."""
    resets: int = field(default=0, metadata={"told": False})
    """How often they began at zero again."""

    def took(self, operation: str, seconds: float) -> None:
        """Count the time of an operation."""
        histogram = self.latencies.get(operation)
        if histogram is None:
            histogram = self.latencies.setdefault(operation, Histogram())
        histogram.add(seconds)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts by name."""
        counts = {each.name: getattr(self, each.name) for each in fields(self) if each.metadata.get("told", True)}
        latencies = self.latencies.copy()  # others add to it
        return {**counts, "latencies": {name: latencies[name].as_dict() for name in sorted(latencies)}}

    def reset(self) -> None:
        """Begin at zero."""
        resets = self.resets
        for each in fields(self):
            setattr(self, each.name, {} if each.name == "latencies" else 0)
        self.resets = resets + 1
