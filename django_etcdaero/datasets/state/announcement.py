"""The announcement: the small value under ``announcements/`` that tells readers which version to hold.

It names the root of a manifest by digest, so that everything a reader then fetches is verified against it. ``version``
is a label for people; readers follow whatever is announced. Its copy in the record store carries ``epoch`` and
``mod_revision`` as well, which order two copies: the revision within one life of the coordination store, the epoch
across its lives (it is raised when the store was emptied or restored).
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass

from django_etcdaero.exceptions import ResponseError

from .stored_value import MOST, StoredValue, load_object

MOST_VERSION = 10**12 - 1
"""The greatest number of a version: it has as many digits as there is room for in the keys of the history."""
_ROOT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement(StoredValue):
    """One published version. Times are seconds since the epoch."""

    id: str
    """Random; tells two announcements with equal content apart."""
    version: int
    epoch: int
    root: str
    """Digest of the manifest's root, in hex."""
    rows: int
    stored_bytes: int
    """Stored bytes of all blocks, as compressed."""
    load_started: float
    load_seconds: float
    published_at: float
    project: str = ""
    """Which project published it: see :mod:`.project`."""
    cursor: str = ""
    """Where the source stood, for a dataset that loads changes; empty: it is not known."""
    content: str = ""
    """Digest of all rows, in hex, of such a dataset; empty: it is not known."""
    full_load: float = 0.0
    """When the last full load began whose rows it goes back to; 0: it is not known."""

    def complaint(self) -> str | None:
        """Say that it names no root that could exist, or goes beyond what may be counted on from."""
        if not _ROOT.fullmatch(self.root):
            return f"has a bad 'root': {ascii(self.root)[:100]}"
        if self.version > MOST_VERSION or self.epoch > MOST // 2:
            return "has a version or an epoch that nobody has counted up to"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The announcement as kept in the record store."""

    mod_revision: int
    announcement: Announcement

    @property
    def order(self) -> tuple[int, int]:
        """Greater is newer."""
        return (self.announcement.epoch, self.mod_revision)

    def encode(self) -> bytes:
        """Return the value to store."""
        body = {"mod_revision": self.mod_revision, "announcement": dataclasses.asdict(self.announcement)}
        return json.dumps(body, sort_keys=True).encode()

    @classmethod
    def decode(cls, value: object) -> Copy:
        """Read a stored value. Raises ``ResponseError``."""
        if not isinstance(value, bytes):
            raise ResponseError("the announcement copy in the record store is not bytes")
        fields = load_object(value, "announcement copy")
        revision, inner = fields.get("mod_revision"), fields.get("announcement")
        if type(revision) is not int or not 0 <= revision < 2**63 or not isinstance(inner, dict):
            raise ResponseError("the announcement copy in the record store lacks its fields")
        announcement = Announcement.of(inner)
        if announcement.epoch > MOST // 4:  # the next one would still be counted on from
            raise ResponseError("the announcement copy in the record store has an epoch that nobody has counted up to")
        return cls(mod_revision=revision, announcement=announcement)
