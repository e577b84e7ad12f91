"""Keys that stand apart from the others of a client, so that nobody meets or deletes them by accident.

A client may have *rooms*: beginnings of keys that belong to whoever opened it, those of the datasets in the ``kv`` of a
Django project. A deletion stays in one room, or outside of all; a range that is of several is refused, and so is one of
all keys of a client, unless it says that it means ``everything``.

The keys of locks and elections stand where their names say, which other clients know too. Each is called like the lease
that it is on, so whoever goes through keys can tell them from his own, and leaves them alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django_etcdaero.exceptions import InvalidRequest

from .values import KeyValue

LAST_PART = rb"(?P<lease>-?[0-9a-f]{1,16})(?:-[0-9]+)?"
"""Of a contender's key, as a regular expression: its lease, and a number from the second one of a session on."""
_CONTENDER = re.compile(rb"(?s:.*)/%s" % LAST_PART)


def is_contender(found: KeyValue) -> bool:
    """Tell whether a key stands for a contender for a lock or an election, of whatever client."""
    match = _CONTENDER.fullmatch(found.key) if found.lease else None
    return match is not None and (int(match["lease"], 16) - found.lease) % (1 << 64) == 0


@dataclass(frozen=True, slots=True)
class Borders:
    """What a deletion does not cross by accident. All keys are as the store sees them."""

    prefix: bytes
    """How all keys of the client begin."""
    end: bytes
    """The range end with which a range from ``prefix`` is all of them."""
    rooms: tuple[bytes, ...] = ()
    """How the keys of each room begin."""

    def refuse_guest(self, start: bytes, what: str) -> None:
        """Refuse to keep what somebody calls ``what`` in a room: its keys begin with ``start``."""
        for room in self.rooms:
            if start.startswith(room):
                raise InvalidRequest(
                    f"{what} would stand among the package's own keys, which begin with {room!r}: name it otherwise"
                )

    def check(self, start: bytes, end: bytes) -> None:
        """Refuse to delete ``[start, end)`` if it is all keys of the client, or of several rooms."""
        endless = end == b"\0"
        if start <= self.prefix + b"\0" and (endless or b"\0" != self.end <= end):
            raise InvalidRequest(
                f"this deletes all keys that begin with {self.prefix!r}, whoever they belong to: say everything=True"
            )
        for room in self.rooms:
            after = room[:-1] + bytes([room[-1] + 1])
            apart = start >= after or (not endless and end <= room)
            within = start >= room and not endless and end <= after
            if not apart and not within:
                raise InvalidRequest(
                    f"this deletes keys that begin with {room!r}, which are the package's, along with others: name a "
                    "range without them, or say everything=True"
                )
