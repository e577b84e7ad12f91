"""How the batches of a watch reach its sink, on every engine."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from .values import WatchBatch, WatchHandle, WatchRequest, WatchSink

_log = logging.getLogger("django_etcdaero.kv")

_CANCEL_TIMEOUT = 1.0
"""Seconds that cancel() waits for a sink that does not return: it may itself wait for the caller of cancel()."""


class Delivery(WatchHandle):
    """A running watch with its sink, which is given one batch at a time, and none after the watch has ended."""

    def __init__(self, request: WatchRequest, sink: WatchSink) -> None:
        self.request = request
        self._sink = sink
        self._ended = False
        # Held while the sink is called. Reentrant, because the sink may cancel its own watch.
        self._calling = threading.RLock()

    @property
    def ended(self) -> bool:
        """Nothing is delivered any more."""
        return self._ended

    @property
    def inverted(self) -> bool:
        """True when its range is empty whatever keys there are, which etcd refuses."""
        request = self.request
        return request.range_end not in (b"", b"\0") and request.range_end <= (request.key or b"\0")

    def cancel(self) -> None:
        """End the watch, after the call of its sink that may be under way (and which is given a second)."""
        self._ended = True
        lock = self._calling
        try:
            lock.acquire(timeout=_CANCEL_TIMEOUT)
        finally:  # one step, also where a signal handler raises before it is known whether the lock was taken
            with suppress(RuntimeError):  # it was not
                lock.release()

    def deliver(self, batch: WatchBatch) -> None:
        """Give ``batch`` to the sink, unless the watch has ended. Never raises."""
        with self._calling:
            if self._ended:
                return
            self._ended = batch.lost is not None
            try:
                self._sink(batch)
            except Exception:
                _log.exception("the sink of a watch on %r failed; the watch goes on", self.request.key)
