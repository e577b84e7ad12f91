"""The watches of a process, as it tells them where it registers: which keys, what for, since when, how much came in.

They are told when others are open than at the last time, and not more often than every :data:`TELL_EVERY` seconds; how
far each has come is as of then. At most :data:`MOST_WATCHES` are told, the oldest of each kind: first what follows
changes for the project (watches, mirrors, observers of elections), then waits and what looks after keys, then those of
the package itself.

Waits count when they have lasted for :data:`LASTING` seconds, so those that come and go cost nothing; the package's own
watches when they have been open for :data:`TELL_EVERY`: a process that reads has the same ones for as long as it lives,
and writes once that it has them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django_etcdaero.datasets.layout import RESERVED
from django_etcdaero.exceptions import ResponseError
from django_etcdaero.keyvalue.client.open_watches import OpenWatch, Use
from django_etcdaero.keyvalue.keys import prefix_end
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.clocks import monotonic

from .stored_value import StoredValue

MOST_WATCHES = 50
"""Watches of a process that are told."""
TELL_EVERY = 30.0
"""Seconds between two times at which a process tells them."""
LASTING = 5.0
"""Seconds for which a wait has lasted, or a key has been looked after, when that is told."""
_LONGEST = 200

_FOLLOWING = frozenset({Use.WATCH, Use.OBJECTS, Use.MIRROR, Use.OBSERVER})
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
    use: str = Use.WATCH
    """What it is for: a :class:`~django_etcdaero.keyvalue.client.open_watches.Use`, or one of newer code."""
    name: str = ""
    """Of what is waited for or observed; empty: it has none but its keys."""

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
        if monotonic() < self._at + TELL_EVERY:
            return self._value
        chosen = worth_telling(watches)
        told = [(keys_of(each), each.since) for each in chosen[:MOST_WATCHES]]
        if told != self._set:
            shown = [
                [keys, since, each.revision, each.events, each.use, _short(each.name)]
                for (keys, since), each in zip(told, chosen, strict=False)
            ]
            made = Watching(at=time.time(), watches=shown, more=max(0, len(chosen) - MOST_WATCHES))
            self._value, self._set, self._at = made.encode(), told, monotonic()
        return self._value


def worth_telling(watches: Iterable[OpenWatch]) -> list[OpenWatch]:
    """Return those that are to be told, in the order in which they are; of each kind as they come."""
    now = time.time()
    following, lasting, own = list[OpenWatch](), list[OpenWatch](), list[OpenWatch]()
    for each in watches:
        age = now - each.since
        if each.key.startswith(_OWN):
            if age >= TELL_EVERY:
                own.append(each)
        elif each.use in _FOLLOWING:
            following.append(each)
        elif age >= LASTING:
            lasting.append(each)
    return [*following, *lasting, *own]


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
    return _short(text)


def watches_of(item: KeyValue | None) -> tuple[tuple[Watched, ...], int]:
    """Read what a process told, and how many it has left out; what makes no sense is left out, too."""
    try:
        told = Watching(at=0, watches=[]) if item is None else Watching.decode(item.value)
    except ResponseError:
        return (), 0
    found: list[Watched] = []
    for each in told.watches[:MOST_WATCHES]:
        match each:
            case [str() as keys, int() | float() as since, int() as revision, int() as events, *what]:
                use, name = what if len(what) == 2 and all(isinstance(one, str) for one in what) else (Use.WATCH, "")
                found.append(Watched(keys, since, revision, events, told.at, str(use), name))
    return tuple(found), told.more


def _short(text: str | bytes) -> str:
    text = text if isinstance(text, str) else text.decode(errors="backslashreplace")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
