"""The records that say which process loads an entry: ``l<kind><generation><key>``.

Whoever creates the record loads, and its random token says whose it is. It has a time to live, so nobody waits for ever
for a process that has died. A deletion of the entry removes the record, too: then what is being loaded is not written.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress

from django_etcdaero.exceptions import EtcdAeroError, KeyExists, VersionConflict
from django_etcdaero.records.store import RecordStore

from .reading import Reading
from .request import Request

logger = logging.getLogger("django_etcdaero.cache")


class Borrowed(bytes):
    """The token of another process, which may be dead: its record is not ours to delete."""


class Claims:
    """The records of loads at one place. Raises what the store raises."""

    def __init__(self, entries: Reading, store: Callable[[], RecordStore], *, ttl: float) -> None:
        """``ttl``: seconds after which a load counts as dead."""
        self._entries = entries
        self._store = store
        self._ttl = max(1, round(ttl))

    def take(self, request: Request) -> bytes | None:
        """Return the token of the record that was created; ``None``: another process has one."""
        token = os.urandom(16)
        try:
            self._store().put(self._name(request), token, ttl=self._ttl, create_only=True)
        except KeyExists:
            return None
        return token

    def holder(self, request: Request) -> Borrowed | None:
        """Return the token of the process that loads; ``None``: none does any more."""
        record = self._store().get(self._name(request))
        return Borrowed(record.value) if record is not None and isinstance(record.value, bytes) else None

    def owns(self, request: Request, token: bytes) -> int | None:
        """Return the record's generation if it still has the token: who has it may write."""
        record = self._store().get(self._name(request))
        return record.generation if record is not None and record.value == token else None

    def give_back(self, request: Request, token: bytes) -> None:
        """Let others load."""
        generation = self.owns(request, token)
        if generation is not None:
            with suppress(VersionConflict):  # it ran out, and somebody else has it
                self._store().delete(self._name(request), generation=generation)

    def release(self, request: Request, token: bytes) -> None:
        """Let others load, if the token is our own. What the store raises is logged: the record runs out by itself."""
        try:
            if token and not isinstance(token, Borrowed):
                self.give_back(request, token)
        except EtcdAeroError as error:
            logger.warning("the load of %r is over, others see it when its record runs out: %s", request.key, error)

    def _name(self, request: Request) -> bytes:
        return self._entries.lock_key(self._entries.record_key(request.prefix, request.key))
