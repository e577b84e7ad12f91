"""The thread that calls the sinks of an engine's watches, so that none of them holds up the connection."""

from __future__ import annotations

import logging
import queue
import threading

from django_etcdaero.keyvalue.values import WatchBatch
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.threads import Background

from .watching import EtcdWatch

_log = logging.getLogger("django_etcdaero.kv")

_ROOM = 50_000
"""Events that may wait for their sinks before no more are taken from the server."""

_JOIN_TIMEOUT = 5.0
"""Seconds that stop() waits for a sink that does not return."""


class SinkThread:
    """Owner of the thread ``etcdaero-watch-sinks``, which runs from the first batch until :meth:`stop`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # A queue in C and two counters instead of a condition: every event of every watch comes through here.
        self._queue: queue.SimpleQueue[tuple[EtcdWatch, WatchBatch] | None] = queue.SimpleQueue()
        self._submitted = 0  # events, counted under the lock
        self._delivered = 0  # events, counted by the thread
        self._roomy = Flag()
        self._roomy.set()
        self._stopping = False
        self._thread = Background(self._run, name="etcdaero-watch-sinks")

    def submit(self, watch: EtcdWatch, batch: WatchBatch) -> None:
        """Have ``batch`` delivered after everything submitted before. Returns at once."""
        with self._lock:
            if self._stopping:
                return
            self._submitted += len(batch.events)
            self._queue.put((watch, batch))
            self._thread.start()

    def _full(self) -> bool:
        return self._submitted - self._delivered >= _ROOM

    def wait_for_room(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds while too many events wait for their sinks; return whether there is room."""
        if not self._full():
            return True
        self._roomy.clear()
        if self._full() and not self._stopping:  # still: the thread has not made room meanwhile, so it will tell
            self._roomy.wait(timeout)
        return not self._full() or self._stopping

    def stop(self) -> None:
        """Deliver what is there and join the thread, within some seconds. Allowed inside a sink."""
        with self._lock:
            self._stopping = True
            self._queue.put(None)
        self._roomy.set()
        if not self._thread.join(_JOIN_TIMEOUT):
            _log.error("the sink of a watch has not returned for %s s; its thread is left behind", _JOIN_TIMEOUT)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            watch, batch = item
            watch.deliver(batch)
            self._delivered += len(batch.events)
            if not self._roomy.is_set() and not self._full():
                self._roomy.set()
            del item, watch, batch  # while waiting for the next one nothing of this one is kept alive
