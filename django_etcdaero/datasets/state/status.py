"""What a dataset tells about itself in this process, what a refresh tells about what it did, and failures in words.

A store that does not answer words each failure in another way: it names its servers in the order in which they were
asked, and what each connection met. So all failures of that kind are one reason; of others the text tells.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, OutcomeUnknown, StoreBusy

if TYPE_CHECKING:  # starting must stay cheap
    from django_etcdaero.datasets.validators import ValidatorResult


class State(enum.StrEnum):
    """How this process stands to the dataset's current version."""

    INITIALIZING = "INITIALIZING"
    """Nothing has been loaded yet."""
    VALID = "VALID"
    """The current version is held."""
    INTERRUPTED = "INTERRUPTED"
    """An older version is served, or may be: the stores cannot be reached, the newest version could not be loaded, the
    reader of this process has been busy with one thing for long, or it ended unexpectedly."""
    STALE = "STALE"
    """The source has not been read successfully for longer than ``max_stale``; reading raises ``DatasetStale``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetStatus:
    """A dataset as this process sees it. Times are seconds since the epoch, durations seconds."""

    name: str
    state: State
    since: float
    """When the state began."""
    required: bool = True
    """Whether this process is to be taken for unhealthy while nothing is loaded or the data is too old."""
    version: int | None = None
    rows: int = 0
    bytes: int = 0
    """Stored bytes of the version held."""
    published_at: float | None = None
    age: float | None = None
    """Since the source was last read successfully, as far as this process knows."""
    lag: float | None = None
    """From the publication of the version held to its use in this process."""
    error: str | None = None
    """Why the state is not VALID, or the last failure."""
    error_at: float | None = None
    failures: int = 0
    """Failed attempts to load since the last success."""
    busy_with: str | None = None
    """What the reader of this process does for the dataset just now."""
    busy_since: float | None = None
    """Since when; after some seconds the state is INTERRUPTED instead of VALID."""


class Outcome(enum.StrEnum):
    """How a refresh ended."""

    REFRESHED = "refreshed"
    """A new version was published (while pinned: to the history only)."""
    UNCHANGED = "unchanged"
    """The source was loaded and is what readers have already."""
    FRESH = "fresh"
    """Not due; the source was not touched."""
    BACKOFF = "backoff"
    """The last load failed a moment ago, here or elsewhere; the source was not touched."""
    LOCKED = "locked"
    """Another process is refreshing."""
    FENCED = "fenced"
    """Another process published while this one loaded; nothing of this load is visible."""
    FAILED = "failed"
    """The load, a validator, the encoding or a store failed; nothing that readers see has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """What a refresh did."""

    name: str
    outcome: Outcome
    version: int | None = None
    """The version that is current for readers after the refresh; ``None``: there is none yet, or it is not known.

    While readers are pinned and in a dry run it is the new one if the outcome is REFRESHED.
    """
    version_known: bool = True
    """False when the coordination store could not be read: ``version`` says nothing then."""
    rows: int = 0
    bytes_written: int = 0
    """Stored bytes of the blocks, pages and root that were written."""
    bytes_total: int = 0
    """Stored bytes of the whole version."""
    seconds: float = 0.0
    holder: str | None = None
    """LOCKED: who, as ``host/pid since when``."""
    error: str | None = None
    """FAILED, FENCED, BACKOFF: why."""
    next_due: float | None = None
    """When the next load is due, seconds since the epoch; ``None``: only on request."""
    pinned: bool = False
    """Readers are held on a version by a pin; a new one went to the history only."""
    dry_run: bool = False
    validators: tuple[ValidatorResult, ...] = ()
    """What validators said, those that ran."""
    changes: bool = False
    """Whether only changes were loaded, or the rows of some keys, and not everything."""
    drift: int | None = None
    """Of a full load: rows that were not what changes had told; ``None``: it is not known."""

    @property
    def ok(self) -> bool:
        """False when the refresh failed or was fenced."""
        return self.outcome not in (Outcome.FAILED, Outcome.FENCED)


_NO_ANSWER = frozenset(each.__name__ for each in (ClusterError, DeadlineExceeded, OutcomeUnknown, StoreBusy))


def same_reason(text: str | None, told: str | None) -> bool:
    """Tell whether two texts of ``text_of()`` name one reason; ``None`` is no failure."""
    return _reason(text) == _reason(told)


def _reason(text: str | None) -> str | None:
    return "no answer" if text is not None and text.partition(":")[0] in _NO_ANSWER else text
