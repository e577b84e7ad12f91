"""The thread that calls the sinks of all watches of an engine, so that none of them holds up the connection."""

from __future__ import annotations

import logging
import threading
from collections import deque

from django_etcdaero.kv.engine import WatchBatch
from django_etcdaero.kv.etcd.watching import EtcdWatch

_log = logging.getLogger("django_etcdaero.kv")

_ROOM = 50_000
"""Events that may wait for their sinks before no more are taken from the server."""

_JOIN_TIMEOUT = 5.0
"""Seconds that stop() waits for a sink that does not return."""


class Dispatcher:
    """Owner of the thread ``etcdaero-watch-sinks``, which runs from the first batch until :meth:`stop`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[tuple[EtcdWatch, WatchBatch]] = deque()
        self._waiting_events = 0
        self._stopping = False
        self._thread: threading.Thread | None = None

    def submit(self, watch: EtcdWatch, batch: WatchBatch) -> None:
        """Have ``batch`` delivered after everything submitted before. Returns at once."""
        with self._changed:
            if self._stopping:
                return
            self._queue.append((watch, batch))
            self._waiting_events += len(batch.events)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="etcdaero-watch-sinks", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait_for_room(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds while too many events wait for their sinks; return whether there is room."""
        if self._waiting_events < _ROOM:
            return True
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting_events < _ROOM or self._stopping, timeout)

    def stop(self) -> None:
        """Deliver what is there and join the thread, within some seconds. Allowed inside a sink."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_TIMEOUT)
            if thread.is_alive():
                _log.error("the sink of a watch has not returned for %s s; its thread is left behind", _JOIN_TIMEOUT)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stopping)
                if not self._queue:
                    return
                watch, batch = self._queue.popleft()
            watch.deliver(batch)
            with self._changed:
                self._waiting_events -= len(batch.events)
                self._changed.notify_all()
            del watch, batch  # while waiting for the next one nothing of this one is kept alive
