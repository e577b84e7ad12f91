"""What a reader does about a dataset, decided from what it sees and remembers. No store and no clock is asked here.

What is followed is whatever is announced, newer or older; only while the coordination plane cannot be reached is the
copy in the record store followed instead, and then only forward. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from django_etcdaero.datasets.state.announcement import Copy
from django_etcdaero.datasets.state.status import same_reason

FIRST_RETRY = 0.5
"""Seconds before the first retry of what failed; doubled each time up to the poll interval."""
REPAIR_PAUSE = 300.0
"""Seconds until a reader asks again to repair a version: the source must not pay for what cannot be repaired."""

Order: TypeAlias = tuple[int, int]
"""Epoch and revision of an announcement; greater is newer."""

_NONE: Order = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look at the stores found."""

    reached: bool
    """Whether the coordination plane answered."""
    announced: Copy | None = None
    """What it announces, if anything."""
    copy: Copy | None = None
    """The announcement copy of the record store."""
    copy_read: bool = False
    """Whether ``copy`` was looked for."""
    fresh: bool = True
    """Whether ``announced`` was read after the last newer copy was seen; not so where it was read before, once for all
    datasets of the alias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a reader remembers of the looks before."""

    held: str | None = None
    """Id of the announcement whose version it has loaded."""
    order: Order = _NONE
    """The newest order under which that was announced."""
    newest_copy: Order = _NONE
    """Order of the last copy that was newer than what is announced."""
    overruled: Order = _NONE
    """Order of the last copy that turned out to belong to a life of the coordination store that is gone (which was
    restored from a backup)."""
    failed: str | None = None
    """Id of the announcement that could not be loaded."""
    retry_at: float = 0.0
    failures: int = 0
    """Failures since the last success."""
    told: tuple[bool, str] | None = None
    """Whether the coordination plane was reached at the last failure, and the error; ``None`` after a success."""
    repair: tuple[str, float] = ("", 0.0)
    """Id of the announcement whose repair was asked for last, and when."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load this version and use it."""

    version: Copy


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """This version failed: do nothing before this time."""

    time: float


@dataclass(frozen=True, slots=True)
class ReadCopy:
    """Look at the announcement copy as well, and decide again."""


@dataclass(frozen=True, slots=True)
class WriteCopy:
    """The copy is missing or older than this, which is announced and held: write it anew."""

    version: Copy


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be, as far as it can be known."""


Action: TypeAlias = Load | WaitUntil | ReadCopy | WriteCopy | Nothing


def decide(memory: Memory, seen: Seen, now: float) -> Action:
    """Return what to do; ``memory`` is what :func:`remember` made of the same ``seen``."""
    wanted = _wanted(memory, seen)
    if wanted is not None and wanted.announcement.id != memory.held:
        if wanted.announcement.id == memory.failed and now < memory.retry_at:
            return WaitUntil(memory.retry_at)
        return Load(wanted)
    if seen.reached:
        if seen.announced is None:
            return Nothing()
        if not seen.copy_read:
            return ReadCopy()
        if seen.copy is None or seen.copy.order < memory.order:
            return WriteCopy(seen.announced)
        return Nothing()
    return Nothing() if seen.copy_read else ReadCopy()


def _wanted(memory: Memory, seen: Seen) -> Copy | None:
    if seen.reached:
        return seen.announced
    if seen.copy is not None and seen.copy.order > max(memory.order, memory.overruled):
        return seen.copy
    return None


def remember(memory: Memory, seen: Seen) -> Memory:
    """Return the memory after a look."""
    if seen.reached:
        if seen.announced is None:
            return _recovered(memory)  # nothing to load, and the stores answer
        if seen.fresh and seen.announced.order < memory.newest_copy:
            # A copy is written after its announcement, which is not there to be read.
            memory = replace(memory, overruled=memory.newest_copy)
    wanted = _wanted(memory, seen)
    if wanted is None or wanted.announcement.id != memory.held:
        return memory
    memory = replace(memory, order=max(memory.order, wanted.order), failed=None)  # perhaps announced once more, later
    if not seen.reached:
        return memory  # what the copy gives does not end this trouble
    if seen.copy is not None and seen.copy.order >= memory.order and seen.copy.order > wanted.order:
        memory = replace(memory, newest_copy=seen.copy.order)
    return _recovered(memory)


def _recovered(memory: Memory) -> Memory:
    return replace(memory, failed=None, failures=0, told=None)


def loaded(memory: Memory, version: Copy, *, reached: bool) -> Memory:
    """Return the memory after ``version`` was loaded; ``reached``: while the coordination plane answered."""
    memory = replace(memory, held=version.announcement.id, order=version.order, failed=None)
    return _recovered(memory) if reached else memory


def failed(
    memory: Memory, text: str, *, reached: bool, now: float, longest: float, jitter: float
) -> tuple[Memory, bool]:
    """Return the memory after a failure, and whether it is to be told: once for each reason, not at every retry.

    ``text`` names the error, ``reached`` says whether the coordination plane had answered, ``longest`` is the longest
    time in seconds until a retry, ``jitter`` a factor of that time.
    """
    delay = min(longest, FIRST_RETRY * 2 ** min(memory.failures, 16)) * jitter
    told = memory.told
    news = told is None or told[0] != reached or not same_reason(text, told[1])
    after = replace(memory, failures=memory.failures + 1, retry_at=now + delay, told=(reached, text))
    return after, news


def asks_for_repair(memory: Memory, damaged: str, now: float) -> bool:
    """Tell whether to ask for a repair of the version with the announcement ``damaged``."""
    asked, at = memory.repair
    return asked != damaged or now >= at + REPAIR_PAUSE
