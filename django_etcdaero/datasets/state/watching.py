"""The watches of a process, as it tells them where it registers: which keys, since when, how much has come in.

They are told when others are open than at the last time, and not more often than every :data:`TELL_EVERY` seconds; how
far each has come is as of then. At most :data:`MOST_WATCHES` are told, the oldest. The package's own are left out: each
process that reads has the same ones.
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
        own = [Watched(keys_of(each), each.since, each.revision, each.events) for each in watches if not _own(each)]
        told = [(each.keys, each.since) for each in own]
        if told != self._set and monotonic() >= self._at + TELL_EVERY:
            shown = [list(each) for each in own[:MOST_WATCHES]]
            made = Watching(at=time.time(), watches=shown, more=max(0, len(own) - MOST_WATCHES))
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


def watches_of(item: KeyValue | None) -> tuple[Watched, ...]:
    """Read what a process told; what makes no sense is left out."""
    try:
        told = [] if item is None else Watching.decode(item.value).watches
    except ResponseError:
        return ()
    found = []
    for each in told[:MOST_WATCHES]:
        match each:
            case [str() as keys, int() | float() as since, int() as revision, int() as events]:
                found.append(Watched(keys, since, revision, events))
    return tuple(found)


def _own(watch: OpenWatch) -> bool:
    return watch.key.startswith(_OWN)
