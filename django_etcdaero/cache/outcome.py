"""What becomes of an entry when it was loaded, or could not be."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from django_etcdaero.exceptions import RecordTooBig
from django_etcdaero.system.clocks import monotonic

from .claims import Claims
from .counters import Counters
from .entries import Entries
from .lifetime import life_of
from .reading import Found
from .request import Request

logger = logging.getLogger("django_etcdaero.cache")

MAX_RESTING: Final = 1000
"""Entries of which it is known that loading them failed a moment ago."""


class Outcome:
    """Writes what was loaded, or lets what was there stand in for it. Raises what the store raises."""

    def __init__(self, entries: Entries, claims: Claims, counters: Counters, *, stale_retry: float) -> None:
        self._entries = entries
        self._claims = claims
        self._counters = counters
        self._stale_retry = stale_retry
        self._resting: dict[tuple[str, str], float] = {}
        """Entries that were not renewed early, because loading failed, and until when that is not tried again."""

    def write(
        self, request: Request, value: Any, tags: tuple[tuple[str, bytes], ...], token: bytes, over: Found | None
    ) -> None:
        """Write a value that was loaded by who has ``token``, over what was there before."""
        if not token:
            return  # the store is away
        if self._claims.owns(request, token) is None:
            logger.warning(
                "%r is not written: while it was loaded it was deleted or cleared, or LOAD_TIMEOUT was over",
                request.key,
            )
            return
        try:
            written = self._entries.put_loaded(request.prefix, request.key, value, request.life, tags, over)
            if written and self._claims.owns(request, token) is None:  # deleted between the look before and the writing
                self._entries.delete(request.prefix, (request.key,))
        except RecordTooBig as error:
            self._counters.too_big += 1
            logger.warning("%r was not stored: %s", request.key, error)

    def stand_in(self, request: Request, stale: Found) -> None:
        """Let the stale value count for a while, and the record live no longer than it would have."""
        tags = () if stale.envelope is None else stale.envelope.tags
        stamps = self._entries.stamps(request.prefix, [tag for tag, _ in tags], stale.life)
        left = stale.until - time.time() if stale.record.ttl is not None else request.stale
        retry = min(self._stale_retry, left)
        if retry > 0:
            life = life_of(retry, stale=left - retry, exact=True)
            self._entries.stand_in(request.prefix, request.key, stale, life, stamps)

    def rest(self, request: Request) -> None:
        """Do not try to renew the entry early for a while: it failed, and there is time."""
        now = monotonic()
        if len(self._resting) >= MAX_RESTING:
            self._resting = {key: end for key, end in self._resting.items() if end > now}
        if len(self._resting) < MAX_RESTING:
            self._resting[request.prefix, request.key] = now + self._stale_retry

    def rests(self, request: Request) -> bool:
        """Tell whether the entry is not to be renewed early now."""
        return bool(self._resting) and self._resting.get((request.prefix, request.key), 0.0) > monotonic()
