"""The announcement: the small value under ``announcements/`` that tells readers which version to hold.

It names the root of a manifest by digest, so that everything a reader then fetches is verified against it. ``version``
is a label for people; readers follow whatever is announced. Its copy in the record store carries ``epoch`` and
``mod_revision`` as well, which order two copies: the revision within one life of the coordination store, the epoch
across its lives (it is raised when the store was emptied or restored).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from django_etcdaero.exceptions import ResponseError

from .stored_value import StoredValue, load_object


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
        if not isinstance(revision, int) or not isinstance(inner, dict):
            raise ResponseError("the announcement copy in the record store lacks its fields")
        return cls(mod_revision=revision, announcement=Announcement.decode(json.dumps(inner).encode()))
