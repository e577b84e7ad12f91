"""How old a load is, whatever the clocks of two hosts say.

The last load of a dataset (and the last one that failed) is noted with the wall clock of the host that loaded. Another
host's clock may differ from that by hours. So what the clocks say is believed only within what this process has seen
for itself, on one clock that never steps:

* The load is at least as old as it took until it was noted, and then as the note has been here to be seen.
* If this process looked before and the note was not there yet, the load is at most as old as that look, and as it took.

A process that has just started has seen nothing arrive: it has only the clocks, and so that rows which were loaded this
moment are not refused, it allows for a difference of :data:`SKEW`. What was noted when the store was another one, or an
older state of itself, proves nothing: only a greater revision is an arrival.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:  # starting must stay cheap
    from .announcement import Announcement
    from .stored_state import Attempt, Checked

SKEW = 60.0
"""Seconds by which the clocks of two hosts may differ before rows are refused too early as too old."""
PROOF = 1.0
"""Seconds within which two clocks agree: their rates differ slightly, and they are looked at one after the other."""


class Load(NamedTuple):
    """A load as it was written down by whoever made it."""

    id: str
    """Tells it from all others."""
    started: float
    """Seconds since the epoch, on the clock of its host."""
    took: float
    """Seconds from its beginning until it was written down."""

    @classmethod
    def of_checked(cls, checked: Checked) -> Self:
        """Return the load that ``checked`` notes."""
        return cls(checked.id, checked.load_started, max(0.0, checked.load_seconds, checked.noted_after))

    @classmethod
    def of_announcement(cls, announcement: Announcement) -> Self:
        """Return the load that an announced version came from."""
        took = max(0.0, announcement.load_seconds, announcement.published_at - announcement.load_started)
        return cls(announcement.id, announcement.load_started, took)

    @classmethod
    def of_attempt(cls, attempt: Attempt) -> Self:
        """Return the load that failed; it counts from the failure on."""
        return cls(f"{attempt.host}/{attempt.pid}/{attempt.failures}", attempt.at, 0.0)


class Age(NamedTuple):
    """How old a load is. Seconds."""

    seconds: float
    """The best that is known; never negative."""
    at_least: float
    """What is certain if the clocks differ by no more than :data:`SKEW`: what ``max_stale`` is compared with."""
    skew: float
    """How far the other clock is proven to be ahead of this host's (negative: behind it); 0: nothing is proven."""
    arrived: bool
    """Whether this process saw it arrive, so that no clocks of two hosts are compared."""
    began: float
    """When it began, on this host's clock (seconds since the epoch)."""


class Sighting(NamedTuple):
    """A load as this process came to know of it. The times are of this host's :func:`.clocks.elapsed`."""

    load: Load
    seen_at: float
    """When it was there for the first time."""
    absent_at: float
    """When it was not there yet; minus infinity: it was there when this process first looked."""

    def age(self, *, now: float, clock: float) -> Age:
        """Return the age at ``now`` (seconds since the epoch), which is ``clock`` on the other clock. Pure."""
        said = now - self.load.started
        least = max(0.0, clock - self.seen_at) + self.load.took
        most = max(least, clock - self.absent_at + self.load.took)
        believed = least - PROOF <= said <= most + PROOF
        seconds = max(0.0, said) if believed else max(least, min(most, said))
        return Age(
            seconds=seconds,
            at_least=max(least, min(most, said - SKEW)),
            skew=0.0 if believed else seconds - said,
            arrived=not math.isinf(most),
            began=self.load.started if believed else now - seconds,
        )


class AgeMemory:
    """What one process has seen of the loads of one dataset, look by look.

    Any thread may use it, and it may be inherited by a fork. All times are of :func:`.clocks.elapsed`.
    ``unlearns``: what is noted counts, whatever was known before. Who reads rows does not unlearn when they were loaded
    because the store lost its note, or was restored to an older one.
    """

    def __init__(self, *, unlearns: bool = True) -> None:
        self._unlearns = unlearns
        self._asked = -math.inf
        self._revision = -1
        """The greatest revision that was seen; -1: nobody has looked yet."""
        self._noted: Sighting | None = None
        self.sighting: Sighting | None = None
        """The load whose age is told."""
        self.beside: AgeMemory | None = None
        """Where else this process remembers loads of the dataset, such as those that it made."""

    def look(self, load: Load | None, revision: int, *, asked: float, answered: float) -> None:
        """Take in that ``load`` is noted as the last one, under the mod ``revision``; ``None``: there is none.

        ``asked`` is the time before the store was asked, ``answered`` the time after it. An answer that was overtaken
        by another one is left out.
        """
        if asked < self._asked:
            return
        noted = self._noted
        if load is None:
            noted = None
        elif noted is None or noted.load != load:
            # The same one with other times was not written by who loaded: that proves nothing.
            arrived = 0 <= self._revision < revision and (noted is None or noted.load.id != load.id)
            noted = Sighting(load, answered, self._asked if arrived else -math.inf)
        self._asked, self._revision = asked, max(self._revision, revision)
        self._noted = noted
        if self._unlearns or self.sighting is None:
            self.sighting = noted
        elif noted is not None:
            now = time.time()
            ages = [each.age(now=now, clock=answered).seconds for each in (noted, self.sighting)]
            if ages[0] <= ages[1]:
                self.sighting = noted

    def noted(self, load: Load, *, after: float, before: float) -> None:
        """Take in that this process itself has noted ``load``, ``after`` one moment and ``before`` another."""
        self._noted = self.sighting = Sighting(load, before, after)

    def announced(self, load: Load, *, answered: float) -> None:
        """Take in that rows of ``load`` were announced, which counts until the next look if it began later.

        That is for the time in which nothing newer can be known of the last load. It proves no arrival: an old version
        may be announced again.
        """
        known = self.sighting
        if known is None or load.started > known.load.started:
            self.sighting = Sighting(load, answered, -math.inf)

    def age(self, *, now: float, clock: float) -> Age | None:
        """Return the age of the last load at ``now`` (seconds since the epoch), which is ``clock`` on the other clock.

        ``None``: no load is known.
        """
        if self.sighting is None:
            return None
        age = self.sighting.age(now=now, clock=clock)
        beside = None if self.beside is None else self.beside.age(now=now, clock=clock)
        return age if beside is None or age.seconds <= beside.seconds else beside
