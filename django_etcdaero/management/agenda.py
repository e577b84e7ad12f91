"""Which dataset the refresh service looks at next, and when: decisions only, no thread and no store.

A dataset is looked at when it is due, when somebody asks for a load, and when its lock, which another process had, is
free. At most so many are at work at a time; those that wait in line for a lock do not count. Of those that are due one
of the alias comes first that has the fewest at work, so that a store that answers slowly holds up its own datasets
only. Of an alias whose store does not answer one dataset at a time is looked at, to find out when it does again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

ASKING = 30.0
"""Seconds after which a dataset that is looked at does not keep the others of an alias that was away waiting."""
IN_LINE = 2
"""How many may wait in line for locks, for each that may be at work."""


class Agenda:
    """What is to be done for ``aliases``: the alias of each dataset, by name. Times are by one monotonic clock.

    All datasets are due in the beginning. ``places`` is how many may be at work at a time. Not safe for threads.
    """

    def __init__(self, aliases: Mapping[str, str], places: int) -> None:
        self._aliases = dict(aliases)
        self._places = places
        self._due = dict.fromkeys(aliases, -math.inf)
        """When to look, by name; datasets that are being looked at are not in it."""
        self._working: set[str] = set()
        self._in_line: set[str] = set()
        self._again: set[str] = set()
        """Datasets that somebody wants looked at once more, after the look that is under way."""
        self._locked: set[str] = set()
        """Datasets whose lock another process had when they were looked at."""
        self._away: dict[str, float] = {}
        """Aliases whose store does not answer: when to ask it again."""
        self._asking: dict[str, tuple[str, float]] = {}
        """Which dataset is being looked at to find out whether such a store answers again, and since when."""

    # what to do next -------------------------------------------------------------------------------------------------

    def begin_next(self, now: float) -> str | None:
        """Choose the dataset to look at now, and note that it is being looked at; ``None``: there is none."""
        if len(self._working) >= self._places:
            return None
        busy = Counter(self._aliases[name] for name in self._working)
        moments = self._moments()
        ready = [(busy[self._aliases[name]], self._due[name], name) for name in moments if moments[name] <= now]
        if not ready:
            return None
        _, _, name = min(ready)
        del self._due[name]
        self._locked.discard(name)
        self._working.add(name)
        if self._aliases[name] in self._away:
            self._asking[self._aliases[name]] = name, now
        return name

    def is_wanted(self, name: str, now: float) -> bool:
        """Tell whether a dataset that is being looked at is to be looked at once more, or another needs its place."""
        if name in self._again:
            return True
        return len(self._working) >= self._places and any(when <= now for when in self._moments().values())

    def pause(self, now: float) -> float | None:
        """Return the seconds until something is due; ``None``: not before something that is under way has ended."""
        if len(self._working) >= self._places:
            return None
        earliest = min(self._moments().values(), default=math.inf)
        return None if earliest == math.inf else max(0.0, earliest - now)

    def _moments(self) -> dict[str, float]:
        """Return when each dataset may be looked at."""
        found = {}
        for name, when in self._due.items():
            alias = self._aliases[name]
            if alias in self._away:
                # Who asks may have got its answer long ago, and be loading.
                asked = self._asking[alias][1] + ASKING if alias in self._asking else -math.inf
                when = max(when, self._away[alias], asked)
            found[name] = when
        return found

    # what has happened -----------------------------------------------------------------------------------------------

    def end(self, name: str, due: float, *, locked: bool = False) -> None:
        """Note the end of a look, and when to look next; ``locked``: another process has the lock."""
        self._working.discard(name)
        self._in_line.discard(name)
        if self._asking.get(self._aliases[name], ("",))[0] == name:
            del self._asking[self._aliases[name]]
        self._due[name] = -math.inf if name in self._again else due
        self._again.discard(name)
        if locked:
            self._locked.add(name)

    def wait_in_line(self, name: str) -> bool:
        """Note that a dataset is no longer at work but waits for its lock; return False if too many do."""
        if len(self._in_line) >= IN_LINE * self._places:
            return False
        self._working.discard(name)
        self._in_line.add(name)
        return True

    def go_on(self, name: str) -> bool:
        """Note that one that waited is at work again; return False if it may not, because others are."""
        if len(self._working) >= self._places:
            return False
        self._in_line.discard(name)
        self._working.add(name)
        return True

    def wake(self, name: str) -> None:
        """Let a dataset be looked at at once, and once more if it is being looked at."""
        if name in self._due:
            self._due[name] = -math.inf
        else:
            self._again.add(name)

    def wake_alias(self, alias: str, *, but: str | None = None) -> None:
        """Let all datasets of an alias be looked at, but for one."""
        for name, used in self._aliases.items():
            if used == alias and name != but:
                self.wake(name)

    def unlock(self, name: str) -> None:
        """Note that the lock of a dataset may be free: it is looked at if another process had it."""
        if name in self._locked:
            self._locked.discard(name)
            self.wake(name)

    def answers(self, alias: str) -> None:
        """Note that the stores of an alias answer."""
        self._away.pop(alias, None)
        self._asking.pop(alias, None)

    def is_away(self, alias: str, until: float) -> None:
        """Note that a store of an alias does not answer, and when to ask it again."""
        self._away[alias] = until
