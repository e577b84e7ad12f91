"""Threads for what a client does besides its callers' own calls: renewing, tidying up, delivering callbacks."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, OutcomeUnknown, StoreBusy
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Condition
from django_etcdaero.system.threads import Background

from .loss import LossReason, ToldOfLoss, required

T = TypeVar("T")

logger = logging.getLogger("django_etcdaero.kv")

TRANSIENT = (ClusterError, DeadlineExceeded, OutcomeUnknown, StoreBusy)
"""Errors that may go away by themselves: worth another try later, where repeating is harmless."""

Task: TypeAlias = Callable[[], "float | None"]
"""Work for a :class:`Worker`: returns the seconds until it wants to run again, ``None`` when it is done."""


ToldOf: TypeAlias = "Callable[[T], object] | Callable[[], object]"
"""A function of a user's that is called with what it is to hear of, unless it takes nothing."""


def backoff(attempt: int, *, limit: float = 5.0) -> float:
    """Return the seconds to wait after the ``attempt``-th failure (from 1) in a row: doubling, with jitter."""
    return min(limit, 0.05 * 2.0 ** min(attempt, 10)) * random.uniform(0.5, 1.0)


class Worker:
    """One thread that runs tasks in the order they fall due, one at a time.

    The thread starts with the first task. A task that raises is logged and dropped.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = Condition()
        self._due: list[tuple[float, int, Task]] = []
        self._numbers = itertools.count()  # keeps tasks due at the same time in order, and off comparing tasks
        self._thread = Background(self._run, name=name)
        self._stopped = False

    def submit(self, task: Task, *, delay: float = 0.0) -> None:
        """Run ``task`` in the thread, ``delay`` seconds from now. After :meth:`stop` tasks are dropped."""
        with self._changed:
            if self._stopped:
                return
            heapq.heappush(self._due, (monotonic() + delay, next(self._numbers), task))
            self._thread.start()
            self._changed.notify()

    def stop(self, *, timeout: float) -> None:
        """Drop what is due, let the running task finish and wait for the thread at most ``timeout`` seconds."""
        with self._changed:
            self._stopped = True
            self._due.clear()
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while (task := self._next()) is not None:
            try:
                again = task()
            except BaseException:  # SystemExit too: others have tasks here
                logger.exception("%s: a task failed", self._name)
                continue
            if again is not None:
                self.submit(task, delay=again)
            del task  # while waiting for the next one nothing of this one is kept alive

    def _next(self) -> Task | None:
        with self._changed:
            while not self._stopped:
                wait = self._due[0][0] - monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None


class CallbackThreads(Worker):
    """A thread for what watches and observations deliver, and another one for the news that something is lost.

    Who lost a lock has to hear of it even while a callback of a watch takes its time. Each starts when it is needed.
    """

    def __init__(self) -> None:
        super().__init__("etcdaero-dispatcher")
        self.losses = Worker("etcdaero-losses")
        """Calls what was given to ``on_lost``."""

    def stop(self, *, timeout: float) -> None:
        """Stop both, waiting for each at most ``timeout`` seconds."""
        super().stop(timeout=timeout)
        self.losses.stop(timeout=timeout)

    def report_loss(self, callback: ToldOfLoss[T], lost: T, what: str, *, reason: LossReason | None = None) -> None:
        """Call ``callback(lost, reason)`` in the thread for losses, without what it does not require.

        An error is logged; ``what`` is what messages call it.
        """
        told: tuple[Any, ...] = (lost,) if reason is None else (lost, reason)

        def call() -> None:
            try:
                callback(*told[: required(callback)])
            except BaseException:
                logger.exception("%s failed", what)

        self.losses.submit(call)
