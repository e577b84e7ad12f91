"""The guard of a held key: it tells when the key is gone while its owner still counts on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from django_etcdaero.exceptions import EtcdAeroError

from .background import TRANSIENT, backoff, logger
from .engine import WatchBatch, WatchHandle, WatchLost, WatchRequest

if TYPE_CHECKING:
    from .client import KV
    from .contest import Place


class Guard:
    """Watches the lease and the deletion of the key of a place.

    The watch is started in the background, so that a short critical section costs nothing more; it starts from the
    revision after the key's creation, so nothing is missed by that.
    """

    def __init__(self, kv: KV, place: Place, on_gone: Callable[[], object]) -> None:
        """``on_gone()`` is called once, from the thread that finds out; it must be quick and never raise."""
        self.gone = False
        self._kv = kv
        self._place = place
        self._on_gone = on_gone
        self._stopped = threading.Event()
        self._handle: WatchHandle | None = None
        self._start_revision = place.token + 1
        self._failures = 0

    def start(self) -> None:
        """Begin to watch."""
        self._place.session.lease.subscribe(self._lose)
        self._kv.chores.submit(self._watch)

    def stop(self) -> None:
        """Watch no more; ``gone`` stays as it is."""
        self._stopped.set()
        self._place.session.lease.unsubscribe(self._lose)
        if self._handle is not None:
            self._handle.cancel()

    def _lose(self) -> None:
        if not self._stopped.is_set() and not self.gone:
            self.gone = True
            self._on_gone()

    def _watch(self) -> float | None:
        """Task for the background: see that the key is there, unless that is known, and watch it from there on."""
        if self._stopped.is_set() or self.gone:
            return None
        place = self._place
        timeout = place.session.lease.ttl / 3
        try:
            if not self._start_revision:
                found = self._kv.range(place.key, timeout=timeout)
                if [(kv.create_revision, kv.lease) for kv in found.kvs] != [(place.token, place.session.lease.id)]:
                    self._lose()
                    return None
                self._start_revision = found.revision + 1
            request = WatchRequest(place.key, start_revision=self._start_revision, no_put=True)
            handle = self._handle = self._kv.watch_raw(request, self._sink, timeout=timeout)
        except TRANSIENT:
            self._failures += 1
            return backoff(self._failures)
        except EtcdAeroError as error:
            logger.warning("%r is guarded by its lease only: %s", place.key, error)
            return None
        self._failures = 0
        if self._stopped.is_set():
            handle.cancel()
        return None

    def _sink(self, batch: WatchBatch) -> None:
        if batch.events:
            self._lose()
        elif batch.lost in (WatchLost.COMPACTED, WatchLost.RESET):
            self._start_revision = 0
            self._kv.chores.submit(self._watch)
