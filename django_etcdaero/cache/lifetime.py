"""How long an entry lives, and who sees to it: the store, or a time in the entry's header."""

from __future__ import annotations

import math
import random
import time
from typing import Final, NamedTuple

from django_etcdaero.records.arguments import MAX_TTL

from .envelope import NEVER

BY_THE_STORE: Final = 10
"""From so many whole seconds on, the store's own time to live is exact enough. It needs no clock of ours: hosts whose
clocks differ agree on it."""


class Life(NamedTuple):
    """How long an entry lives."""

    ttl: int | None
    """Of the record, in whole seconds; ``None``: for ever."""
    expires: float = NEVER
    """Seconds since the epoch at which the entry expires, where that is earlier than the record's end."""


FOR_EVER: Final = Life(None)


def life_of(seconds: float | None, *, stale: float = 0.0, jitter: float = 0.0, exact: bool = False) -> Life:
    """Return the life of an entry that expires after ``seconds`` (above 0; ``None``: never).

    ``stale``: seconds that the record stays longer. ``jitter``: share of its time by which it may expire earlier.
    ``exact``: the header shall say when, whatever the time is. More than ten years are ten years.
    """
    if seconds is None:
        return FOR_EVER
    seconds, stale = min(seconds, MAX_TTL), min(stale, MAX_TTL)
    if jitter:
        seconds *= 1 - random.random() * jitter
        if seconds >= BY_THE_STORE:
            seconds = math.ceil(seconds)
    if not stale and not exact and seconds >= BY_THE_STORE and seconds == int(seconds):
        return Life(int(seconds))
    return Life(max(1, min(MAX_TTL, math.ceil(seconds + stale))), time.time() + seconds)


def earlier(life: Life, jitter: float) -> Life:
    """Return a life that ends earlier by a random share of its time, ``jitter`` at most, while the record stays."""
    if life.ttl is None or not jitter:
        return life
    now = time.time()
    left = life.ttl if life.expires == NEVER else life.expires - now
    return life._replace(expires=now + left * (1 - random.random() * jitter))
