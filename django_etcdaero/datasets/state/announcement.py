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
from typing import Any

from django_etcdaero.exceptions import ResponseError


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
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
    host: str
    pid: int

    def encode(self) -> bytes:
        """Return the value to store."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True).encode()

    @classmethod
    def decode(cls, value: bytes) -> Announcement:
        """Read a stored value; fields of newer writers are ignored. Raises ``ResponseError``."""
        return cls(**known_fields(cls, value, "announcement"))


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


def load_object(value: bytes, what: str) -> dict[str, Any]:
    """Parse a stored JSON object. Raises ``ResponseError`` naming ``what``."""
    try:
        fields = json.loads(value)
    except ValueError as error:
        raise ResponseError(f"the stored {what} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ResponseError(f"the stored {what} is not a JSON object")
    return fields


_CHECKS: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "bool": bool}


def known_fields(cls: type[Any], value: bytes, what: str) -> dict[str, Any]:
    """Parse a stored JSON object into the fields of the dataclass ``cls``, types checked.

    Unknown fields are dropped (a newer version wrote them). Raises ``ResponseError`` naming ``what`` and the field.
    """
    stored = load_object(value, what)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if field.name not in stored:
            if field.default is dataclasses.MISSING:
                raise ResponseError(f"the stored {what} lacks {field.name!r}")
            continue
        kind = _CHECKS[str(field.type)]
        item = stored[field.name]
        if not isinstance(item, kind) or (isinstance(item, bool) and kind is not bool):
            raise ResponseError(f"the stored {what} has a bad {field.name!r}: {item!r}")
        found[field.name] = item
    return found
