"""The watches of a process, as it tells them where it registers: which keys, since when, how much has come in.

They are told when others are open than at the last time, and not more often than every :data:`TELL_EVERY` seconds; how
far each has come is as of then. At most :data:`MOST_WATCHES` are told, the oldest, those of the project before those of
the package itself. Of the latter those count that have been open for :data:`TELL_EVERY` seconds: a process that reads
has the same ones for as long as it lives, and writes once that it has them; waits that come and go cost nothing.

What a place in a queue watches (who waits for a lock, holds it, or observes an election) is none of these: the queue
itself tells it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django_etcdaero.datasets.layout import RESERVED
from django_etcdaero.exceptions import ResponseError
from django_etcdaero.keyvalue.client.watch import OpenWatch
from django_etcdaero.keyvalue.keys import prefix_end
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.clocks import monotonic

from .stored_value import StoredValue

MOST_WATCHES = 50
"""Watches of a process that are told."""
TELL_EVERY = 30.0
"""Seconds between two times at which a process tells them."""
_LONGEST = 200

_OWN = tuple(each.encode() for each in RESERVED)


class Watched(NamedTuple):
    """A watch of a process."""

    keys: str
    """The key; all keys under a prefix end in ``*``, those of a range are ``[start, end)``."""
    since: float
    """Seconds since the epoch."""
    revision: int
    """Up to which it had come, as far as events had told, when this was told; 0: none had."""
    events: int
    """How many had come in when this was told."""
    at: float = 0.0
    """When this was told, seconds since the epoch."""

    @property
    def own(self) -> bool:
        """Whether it is one of the package itself."""
        return self.keys.removeprefix("[").startswith(RESERVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching(StoredValue):
    """The watches of a process."""

    at: float
    """When this was told, seconds since the epoch."""
    watches: list[list[Any]]
    more: int = 0
    """How many are not among them."""


class WatchesTold:
    """What a process has told of its watches."""

    def __init__(self) -> None:
        self._value: bytes | None = None
        self._set: list[tuple[str, float]] = []
        self._at = float("-inf")

    def value(self, watches: Sequence[OpenWatch]) -> bytes | None:
        """Return what is to stand in the store; the same as before where nothing is to be told, ``None``: nothing."""
        now = time.time()
        old = [each for each in watches if _own(each) and now - each.since >= TELL_EVERY]
        all_ = [*(each for each in watches if not _own(each)), *old]
        told = [(keys_of(each), each.since) for each in all_]
        if told != self._set and monotonic() >= self._at + TELL_EVERY:
            shown = [[keys_of(each), each.since, each.revision, each.events] for each in all_[:MOST_WATCHES]]
            made = Watching(at=now, watches=shown, more=max(0, len(all_) - MOST_WATCHES))
            self._value, self._set, self._at = made.encode(), told, monotonic()
        return self._value


def keys_of(watch: OpenWatch) -> str:
    """Return which keys a watch is on, as text."""
    key = watch.key.decode(errors="backslashreplace")
    if not watch.range_end:
        text = key
    elif watch.range_end == prefix_end(watch.key):
        text = f"{key}*"
    else:
        end = "" if watch.range_end == b"\0" else watch.range_end.decode(errors="backslashreplace")
        text = f"[{key}, {end})"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def watches_of(item: KeyValue | None) -> tuple[tuple[Watched, ...], int]:
    """Read what a process told, and how many it has left out; what makes no sense is left out, too."""
    try:
        told = Watching(at=0, watches=[]) if item is None else Watching.decode(item.value)
    except ResponseError:
        return (), 0
    found: list[Watched] = []
    for each in told.watches[:MOST_WATCHES]:
        match each:
            case [str() as keys, int() | float() as since, int() as revision, int() as events]:
                found.append(Watched(keys, since, revision, events, told.at))
    return tuple(found), told.more


def _own(watch: OpenWatch) -> bool:
    return watch.key.startswith(_OWN)
