"""What the coordination plane says about one dataset, as values: see :mod:`.reading` for how they are read."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from .announcement import Announcement
from .requests import LoadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The last successful load. Times are seconds since the epoch."""

    id: str
    """Random; tells whether a transaction of unknown outcome was applied."""
    load_started: float
    load_seconds: float
    version: int
    request_revision: int
    """Revision of the newest request this load answers (0: none)."""
    host: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The last failed load."""

    at: float
    next_at: float
    failures: int
    host: str
    pid: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """An operator's hold on one version."""

    version: int
    at: float
    host: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredState:
    """All that the coordination plane says about one dataset (and one schema), all of one revision.

    The revisions are the mod revisions of the keys, 0 where the key is missing.
    """

    current: Announcement | None
    current_revision: int
    """Revision of the announcement that counts: the newer one, while older code leaves another in ``current``."""
    announcement_revision: int
    former_revision: int
    """Revision of ``current``: of an announcement that a publisher has still to move."""
    pin: Pin | None
    pin_revision: int
    checked: Checked | None
    checked_revision: int
    attempt: Attempt | None
    attempt_revision: int
    request: LoadRequest | None

    @property
    def pending(self) -> LoadRequest | None:
        """The request that no load has answered yet."""
        answered = self.checked.request_revision if self.checked else 0
        return self.request if self.request and self.request.mod_revision > answered else None


NOTHING = StoredState(
    current=None,
    current_revision=0,
    announcement_revision=0,
    former_revision=0,
    pin=None,
    pin_revision=0,
    checked=None,
    checked_revision=0,
    attempt=None,
    attempt_revision=0,
    request=None,
)
"""The state of a dataset of which nothing is stored."""


def encode(value: Pin | Checked | Attempt) -> bytes:
    """Return the value to store under the key of the same name."""
    return json.dumps(dataclasses.asdict(value), sort_keys=True).encode()
