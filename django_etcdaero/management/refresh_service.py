"""``etcdaero_refresh --loop``: a refresher that every node may run.

Each dataset has a thread, so that a slow source holds up nobody else. A thread sleeps until its dataset is due or a
request arrives; then it queues for the lock like the threads of all other nodes. Whoever gets it finds out whether the
load is still due. When the holder dies its lease expires and the next in the queue takes over.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from django.db import close_old_connections, connections

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome, RefreshResult, same_reason
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.client.watch import Watch
from django_etcdaero.runtime import Runtime
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.threads import wait

logger = logging.getLogger("django_etcdaero.refresh")

QUEUE = 30.0
"""Seconds in the queue for the lock before the state is looked at anew."""
LONGEST_SLEEP = 60.0
"""Seconds after which the state is looked at even when nothing was due."""
SETTLE = 1.0
"""Seconds to wait after an error of the service itself."""


class RefreshService:
    """Refreshes ``datasets`` until :meth:`run` is interrupted; ``tell`` gets each result that did something.

    A failure is told and logged once for each reason, not again while it goes on for the same reason. What the end of
    the service interrupts is no failure.
    """

    def __init__(
        self, datasets: Iterable[Dataset[Any, Any]], runtime: Runtime, tell: Callable[[RefreshResult], None]
    ) -> None:
        self._runtime = runtime
        self._tell = tell
        self._telling = threading.Lock()
        self._stopping = threading.Event()
        self._told: dict[str, str | None] = {}
        """The last failure that was told, by dataset; each entry is used by the dataset's thread only."""
        self._refreshes: dict[str, Refresh] = {}
        """The newest refresh of each dataset."""
        self._threads = [
            threading.Thread(target=self._serve, args=(dataset,), name=f"etcdaero-refresh-{dataset.name}", daemon=True)
            for dataset in datasets
        ]

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then release the locks and return."""
        try:
            for thread in self._threads:
                thread.start()
            wait(self._stopping, math.inf)
        except (SystemExit, KeyboardInterrupt):
            logger.info("stopping")
        finally:
            # A load under way cannot be interrupted from here. Without its lock whatever it still does is refused, and
            # another node may start at once; its threads end with the process.
            self._stopping.set()
            try:
                for refresh in tuple(self._refreshes.values()):
                    refresh.stop()
            finally:
                self._runtime.close()

    def _serve(self, dataset: Dataset[Any, Any]) -> None:
        wake = threading.Event()
        watch: Watch | None = None
        while not self._stopping.is_set():
            wake.clear()
            try:
                watch = self._watch_requests(dataset, watch, wake)
                pause = self._turn(dataset)
            except BaseException as error:  # whatever a receiver of signals raises: nobody else serves the dataset
                if self._stopping.is_set():
                    return
                self._log(dataset, error)
                pause = SETTLE
            wake.wait(pause)

    def _log(self, dataset: Dataset[Any, Any], error: BaseException) -> None:
        told, text = self._told.get(dataset.name), text_of(error)
        self._told[dataset.name] = text
        if same_reason(text, told):
            return
        if isinstance(error, EtcdAeroError):
            logger.warning("dataset %s: %s", dataset.name, error)
        else:
            logger.error("dataset %s: the refresh service failed and goes on", dataset.name, exc_info=error)

    def _watch_requests(self, dataset: Dataset[Any, Any], watch: Watch | None, wake: threading.Event) -> Watch:
        if watch is not None and not watch.closed:
            return watch
        stores = self._runtime.stores(dataset.using)
        return stores.kv.watch(dataset.layout(stores.prefix).request, callback=lambda item: wake.set())

    def _turn(self, dataset: Dataset[Any, Any]) -> float:
        """Refresh if due; return how many seconds to sleep at most."""
        close_old_connections()
        told = self._told.get(dataset.name)
        refresh = self._refreshes[dataset.name] = Refresh(dataset, self._runtime, wait=QUEUE, told=told, serving=True)
        if self._stopping.is_set():  # looked at after it can be seen: whoever set this first has not stopped it
            return 0.0
        try:
            result = refresh.run()
        finally:
            close_old_connections()
            for connection in connections.all(initialized_only=True):
                if not connection.in_atomic_block:
                    connection.close()
        if self._stopping.is_set():
            return 0.0
        failed = result.outcome is Outcome.FAILED
        if result.outcome not in (Outcome.FRESH, Outcome.LOCKED, Outcome.BACKOFF) and not (
            failed and same_reason(result.error, told)
        ):
            with self._telling:
                self._tell(result)
        if failed or result.outcome in (Outcome.FRESH, Outcome.UNCHANGED, Outcome.REFRESHED):
            self._told[dataset.name] = result.error
        if result.outcome in (Outcome.LOCKED, Outcome.FENCED):
            return 0.0
        if failed:
            return SETTLE
        if result.next_due is None:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, max(0.05, result.next_due - time.time() + random.uniform(0, 0.1)))
