"""Asking for loads away from the code that changed something: many changes are one request, and none is lost.

Whoever saves an object must not wait for a store, fail when it is away, or write to it a thousand times in a loop. So
changes only mark a dataset. A thread, which ends when there is nothing to do, asks for a load of what is marked: at
once, and again for what was marked after it began to ask, ``APART`` seconds later at the earliest. What cannot be asked
for stays marked and is tried again later and later; the end of the process waits for a last try.

Where no thread may run, and in test runs, whose stores are in memory, it is done by the code that changed something.
"""

from __future__ import annotations

import atexit
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.host import host
from django_etcdaero.runtime import runtime
from django_etcdaero.system import forks, uwsgi
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Condition
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.threads import Background

logger = logging.getLogger("django_etcdaero.datasets")

APART = 1.0
"""Seconds between two requests of this process for one dataset."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0
"""Seconds until a request that failed is tried again; doubled each time."""
EXIT_PATIENCE = 5.0
"""Longest time in seconds that the end of the process waits for the last try."""

AnyDataset = Dataset[Any, Any]
NO_KEYS: Mapping[str, str] = {}


def request(dataset: AnyDataset, keys: Collection[str]) -> None:
    """Ask for a load of the dataset now, with the rows of some keys. Raises what the store raises."""
    if keys:
        from django_etcdaero.datasets.state.schedule import request_load

        request_load(dataset, host().stores(dataset.using), repair=False, keys=keys)
    else:
        dataset.request_refresh()


class Asker:
    """Asks for loads of the datasets that were marked. ``threads()`` says whether a thread may do it."""

    def __init__(
        self, threads: Callable[[], bool], ask: Callable[[AnyDataset, Collection[str]], object] = request
    ) -> None:
        self._threads = threads
        self._ask = ask
        self._at_exit = False
        """Whether the end of the process waits for a last try: told late, to come before the stores are closed."""
        self._forget()

    def _forget(self) -> None:
        self._changed = Condition()
        self._marked: dict[str, AnyDataset] = {}
        self._keys: dict[str, dict[str, None]] = {}
        """Keys to ask for, by the name of the dataset."""
        self._not_before: dict[str, float] = {}
        """When each may be asked for again, on the monotonic clock."""
        self._failures: dict[str, int] = {}
        self._thread: Background | None = None
        self._closing = False

    def after_fork_in_child(self) -> None:
        """Leave what is marked to the parent, whose thread is not in this process."""
        self._forget()

    def mark(self, datasets: Iterable[AnyDataset], keys: Mapping[str, str] = NO_KEYS) -> None:
        """Have loads of ``datasets`` asked for: each by a request that is made after this call. Never raises.

        ``keys``: a key to ask for, as it stands in a request, by the name of a dataset.
        """
        forks.catch_up()
        datasets = list(datasets)
        with self._changed:
            for name, key in keys.items():
                self._keys.setdefault(name, {})[key] = None
        if not self._threads():
            for dataset in datasets:
                self._try(dataset)
            return
        with self._changed:
            self._marked.update((dataset.name, dataset) for dataset in datasets)
            self._changed.notify_all()
            if not self._at_exit:
                self._at_exit = True
                atexit.register(self.close)
            if self._thread is None and self._marked:
                thread = Background(self._run, name="etcdaero-changes")
                try:
                    thread.start()
                except RuntimeError as error:  # no thread to be had: the next change tries again
                    logger.warning("changes of models: no load can be asked for at the moment: %s", error)
                else:
                    self._thread = thread

    def close(self, timeout: float = EXIT_PATIENCE) -> None:
        """Try once more what is still to be asked for, without a pause; wait ``timeout`` seconds at most."""
        with self._changed:
            self._closing, thread = True, self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (due := self._next()) is not None:
            away: set[str] = set()
            for dataset in due:
                # One store that does not answer is waited for once a round, not once for each of its datasets.
                if dataset.using in away or not self._try(dataset):
                    away.add(dataset.using)
                    self._failed(dataset)
                else:
                    self._failures.pop(dataset.name, None)
                    self._not_before[dataset.name] = monotonic() + APART

    def _next(self) -> list[AnyDataset] | None:
        """Wait until some datasets are due and take them; ``None``: nothing is left to do."""
        with self._changed:
            while True:
                now = monotonic()
                waits = {name: 0.0 if self._closing else self._not_before.get(name, now) - now for name in self._marked}
                due = [self._marked.pop(name) for name, wait in waits.items() if wait <= 0]
                if due:
                    return due
                if not waits:
                    self._thread = None
                    return None
                self._changed.wait(min(waits.values(), default=math.inf))

    def _failed(self, dataset: AnyDataset) -> None:
        failures = self._failures[dataset.name] = self._failures.get(dataset.name, 0) + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (min(failures, 10) - 1))
        with self._changed:
            self._not_before[dataset.name] = monotonic() + pause
            if not self._closing:
                self._marked.setdefault(dataset.name, dataset)

    def _try(self, dataset: AnyDataset) -> bool:
        with self._changed:
            keys = self._keys.pop(dataset.name, {})
        try:
            self._ask(dataset, keys)
        except Exception as error:
            with self._changed:
                self._keys[dataset.name] = keys | self._keys.get(dataset.name, {})
            log = logger.debug if self._failures.get(dataset.name) else logger.warning  # once for each outage
            log("dataset %s: models changed, and no load could be asked for: %s", dataset.name, text_of(error))
            return False
        return True


def _threads_may_run() -> bool:
    return not runtime.memory_only and uwsgi.runs_threads()


asker = Asker(_threads_may_run)
forks.in_child(asker.after_fork_in_child)
