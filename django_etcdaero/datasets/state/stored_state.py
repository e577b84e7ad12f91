"""What the coordination plane says about one dataset, as values: see :mod:`.reading` for how they are read."""

from __future__ import annotations

from dataclasses import dataclass, field

from .announcement import Announcement, Copy
from .stored_value import MOST, StoredValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked(StoredValue):
    """The last successful load. Times are seconds since the epoch."""

    id: str
    """Random; tells whether a transaction of unknown outcome was applied."""
    load_started: float
    load_seconds: float
    version: int
    request_revision: int
    """Revision of the newest request this load answers (0: none)."""
    request_id: str = ""
    """Id of that request, which stays what it is when the store is moved or restored; empty: none."""
    noted_after: float = 0.0
    """Seconds from the beginning of the load until this was written down."""
    lock_token: int = 0
    """Fencing token of the lock under which it began: who has a greater one took the lock later."""
    began_after: int = 0
    """Revision of the store at which what the load was decided by was read, under the lock: it began later."""
    cursor: str = ""
    """Where the source stood then, if ``version`` is what it gave: as in the announcement, which it goes beyond."""
    full_load: float = 0.0
    """When the last full load began that gave ``version``; 0: as the announcement says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(StoredValue):
    """The last failed load."""

    at: float
    next_at: float
    failures: int
    error: str
    person: str = ""
    """Id of the person's request that it was to answer; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest(StoredValue):
    """Somebody asks for a load."""

    at: float
    repair: bool
    """The stored blocks must be read back and checked, because a reader found some missing or damaged."""
    wanted: bool = False
    """A repair, and somebody had asked for a load before it."""
    id: str = ""
    """Random, another one whenever something is added to what is wanted. Empty in a request of older code."""
    person: str = ""
    """The id that it had when a person asked last; empty: no person did."""
    keys: list[str] | None = None
    """Keys whose rows are to be loaded besides what has changed, as texts (base64 of their encodings)."""
    full: bool = False
    """Everything is to be loaded, not only what has changed."""

    def complaint(self) -> str | None:
        """Say that its keys are no texts."""
        return "has bad 'keys'" if any(type(key) is not str for key in self.keys or ()) else None

    @property
    def by_person(self) -> bool:
        """Whether not only readers want it."""
        return self.wanted or not self.repair


@dataclass(frozen=True, slots=True, kw_only=True)
class Condemned(StoredValue):
    """What of replaced versions still stands in the record store."""

    hours: dict[str, int]
    """Stored bytes by the hour since the epoch in which they expire."""

    def complaint(self) -> str | None:
        """Say that it holds something else than numbers."""
        for hour, size in self.hours.items():
            if not (hour.isdecimal() and hour.isascii() and len(hour) < 10 and type(size) is int and 0 <= size < MOST):
                return "has bad 'hours'"
        return None

    def bytes(self, now: float) -> int:
        """Return how many bytes are still there at ``now`` (seconds since the epoch)."""
        return sum(size for hour, size in self.hours.items() if int(hour) >= now // 3600)

    def plus(self, size: int, *, until: float, now: float) -> Condemned:
        """Return what is there when ``size`` bytes that expire at ``until`` are added, as written by this process."""
        left = {hour: stays for hour, stays in self.hours.items() if int(hour) >= now // 3600}
        hour = str(int(until // 3600))
        return Condemned(hours=left | {hour: left.get(hour, 0) + size})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin(StoredValue):
    """An operator's hold on one version."""

    version: int
    at: float
    reason: str = ""
    by: str = ""
    """Who, as they say; host and process are known as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredState:
    """All that the coordination plane says about one dataset (and one schema), all of one revision.

    The revisions are the mod revisions of the keys, 0 where the key is missing.
    """

    revision: int = field(default=0, compare=False)
    """That of the store."""
    current: Announcement | None = None
    current_revision: int = 0
    """Revision of the announcement that counts: the newer one, while older code leaves another in ``current``."""
    announcement_revision: int = 0
    former_revision: int = 0
    """Revision of ``current``: of an announcement that a publisher has still to move."""
    pin: Pin | None = None
    pin_revision: int = 0
    checked: Checked | None = None
    checked_revision: int = 0
    """Revision of the load that counts: the newer one, while older code leaves another in its old place."""
    own_checked_revision: int = 0
    former_checked_revision: int = 0
    """Revision of a load that a publisher has still to move."""
    attempt: Attempt | None = None
    attempt_revision: int = 0
    condemned: Condemned | None = None
    request: LoadRequest | None = None
    request_revision: int = 0

    @property
    def announced(self) -> Copy | None:
        """What is announced, with its revision."""
        return None if self.current is None else Copy(mod_revision=self.current_revision, announcement=self.current)

    @property
    def pending(self) -> LoadRequest | None:
        """The request that no load has answered yet."""
        if self.request is None or self.checked is None:
            return self.request
        if self.request.id:
            answered = self.request.id == self.checked.request_id
        else:
            answered = self.request_revision <= self.checked.request_revision
        return None if answered else self.request

    @property
    def full_load(self) -> float:
        """When the last load of everything began that the announced version goes back to, seconds since the epoch.

        0: it is not known, as of every dataset that cannot load changes alone.
        """
        if self.current is None:
            return 0.0
        later = self.checked is not None and self.checked.version == self.current.version
        return max(self.current.full_load, self.checked.full_load if later and self.checked is not None else 0.0)

    def next_epoch(self, copy: Copy | None) -> int:
        """Return the epoch of the next announcement; ``copy``: the announcement copy in the record store.

        It stays as long as the coordination store lives on. It is raised when the copy belongs to a life of the store
        that is gone: a later epoch, or a revision that the store has not reached.
        """
        epoch = self.current.epoch if self.current is not None else 0
        if copy is not None and (self.current is None or copy.order > (epoch, self.current_revision)):
            return max(epoch, copy.announcement.epoch) + 1
        return max(1, epoch)


NOTHING = StoredState()
"""The state of a dataset of which nothing is stored."""
