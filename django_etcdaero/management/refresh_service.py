"""``etcdaero_refresh --loop``: a refresher that every node may run.

One thread knows when each dataset is due (:mod:`.agenda`) and gives those that are to threads that end with their
refresh: no more than ``threads`` are at work at a time. Each reads what is stored of its dataset and takes the lock if
a load is due. If another process has the lock the thread waits in line for it, so that it takes over when the holder
dies; others work meanwhile. Few wait like that: of the rest it is known that they are locked, and they are looked at
again when a watch says that the lock may be free, or after some seconds.

A load that has taken longer than its ``load_timeout`` keeps its thread, which counts no longer.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.checking import check_some
from django_etcdaero.datasets.publish.folding import Left, fold_on
from django_etcdaero.datasets.publish.hanging import MOST, hanging
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome, RefreshResult, same_reason
from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, EtcdAeroError
from django_etcdaero.project_code import run_project_code
from django_etcdaero.runtime import Runtime
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Condition, Flag
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.threads import Background, wait

from .agenda import Agenda
from .registration import Registration
from .reloading import RELOAD
from .request_watch import RequestWatch

logger = logging.getLogger("django_etcdaero.refresh")

THREADS = 4
"""How many datasets are at work at a time, unless the command is told otherwise."""
QUEUE = 30.0
"""Seconds in line for the lock before the state is looked at anew."""
LOCKED = 5.0
"""Seconds until a dataset that another process has the lock of is looked at again, if it cannot wait in line."""
LONGEST_SLEEP = 300.0
"""Seconds after which a dataset is looked at even when nothing was due."""
SETTLE = 1.0
"""Seconds to wait after an error of the service itself, and before a store that was away is asked again."""
GIVE_WAY = 3.0
"""Seconds by which a process in which a load of the dataset hangs, or which is to do so, lets others go first."""
STOPPING = 2.5
"""Longest time in seconds that giving the locks back may take at the end."""


class Job:
    """One look at one dataset, and what follows from it, in a thread of its own."""

    def __init__(self, service: RefreshService, dataset: Dataset[Any, Any]) -> None:
        self.dataset = dataset
        self.refresh: Refresh | None = None
        self.waited = False
        """It waited in line for the lock."""
        self.given_up = False
        """Its load has taken too long: whatever it still does, others go on without it."""
        self._service = service
        self.thread = Background(lambda: service.work(self), name=f"etcdaero-refresh-{dataset.name}")

    # As the line of its refresh:

    def enter(self) -> float:
        """Wait in line for the lock, unless too many do."""
        self.waited = self._service.wait_in_line(self)
        return QUEUE if self.waited else 0.0

    def leave(self) -> bool:
        """Work on, now that it has the lock."""
        return self._service.go_on(self)


class RefreshService:
    """Refreshes ``datasets`` until :meth:`run` is interrupted; ``tell`` gets each result that did something.

    A failure is told and logged once for each reason, not again while it goes on for the same reason. What the end of
    the service interrupts is no failure. ``gives_way``: other services go first.
    """

    def __init__(
        self,
        datasets: Iterable[Dataset[Any, Any]],
        runtime: Runtime,
        tell: Callable[[RefreshResult], None],
        *,
        threads: int = THREADS,
        gives_way: bool = False,
    ) -> None:
        self._datasets = {dataset.name: dataset for dataset in datasets}
        self._runtime = runtime
        self._tell = tell
        self._gives_way = gives_way
        self._telling = threading.Lock()
        self._stopping = Flag()
        self._told: dict[str, str | None] = {}
        """The last failure that was told, by dataset; each entry is used by the dataset's job only."""
        self._changed = Condition()  # guards the agenda and the jobs
        self._agenda = Agenda({name: dataset.using for name, dataset in self._datasets.items()}, threads)
        self._jobs: set[Job] = set()
        self._requests = RequestWatch(self._datasets.values(), self)
        self._registration = Registration(self._datasets.values())
        self._scheduler = Background(self._schedule, name="etcdaero-refresh")

    def run(self, stay: Callable[[], object] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then release the locks and return.

        ``stay`` is what to do meanwhile in this thread. Lets the ``SystemExit`` through that begins the process anew.
        """
        try:
            self.start()
            stay() if stay is not None else wait(self._stopping, math.inf)
        except (SystemExit, KeyboardInterrupt) as told:
            logger.info("stopping")
            if told.args == (RELOAD,):
                raise
        finally:
            try:
                self.stop()
            finally:
                self._runtime.close()

    def start(self) -> None:
        """Begin to serve, in threads."""
        self._scheduler.start()

    def stop(self) -> None:
        """Begin nothing any more, and give the locks back.

        A load under way cannot be interrupted from here. Given up, whatever it still does is refused, and another node
        may start at once; its threads end with the process.
        """
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
            refreshes = [job.refresh for job in self._jobs if job.refresh is not None]
        stops = [Background(refresh.stop, name="etcdaero-refresh-stop") for refresh in refreshes]
        stops.append(Background(self._registration.end, name="etcdaero-refresh-stop"))
        for each in stops:
            each.start()
        limit = monotonic() + STOPPING
        for each in stops:
            each.join(max(0.0, limit - monotonic()))

    # --- what is to be done ------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        with self._changed:
            while not self._stopping.is_set():
                name = self._agenda.begin_next(monotonic())
                if name is None:
                    self._changed.wait(self._agenda.pause(monotonic()))
                    continue
                job = Job(self, self._datasets[name])
                self._jobs.add(job)
                try:
                    job.thread.start()
                except RuntimeError as error:  # no thread to be had
                    logger.error("dataset %s: no thread can be started: %s", name, error)
                    self._jobs.discard(job)
                    self._agenda.end(name, monotonic() + SETTLE)

    def wake(self, name: str) -> None:
        """Look at a dataset at once."""
        with self._changed:
            self._agenda.wake(name)
            self._changed.notify_all()

    def unlock(self, name: str) -> None:
        """Look at a dataset if another process had its lock."""
        with self._changed:
            self._agenda.unlock(name)
            self._changed.notify_all()

    def wake_alias(self, alias: str, *, but: str | None = None) -> None:
        """Look at all datasets of an alias, but for one."""
        with self._changed:
            self._agenda.wake_alias(alias, but=but)
            self._changed.notify_all()

    def wait_in_line(self, job: Job) -> bool:
        """Let a job wait for a lock while others work; return False if too many do."""
        with self._changed:
            waits = not job.given_up and self._agenda.wait_in_line(job.dataset.name)
            self._changed.notify_all()
            return waits

    def go_on(self, job: Job) -> bool:
        """Let a job that waited work on; return False if it may not."""
        with self._changed:
            return self._agenda.go_on(job.dataset.name)

    # --- in the thread of a job --------------------------------------------------------------------------------------

    def work(self, job: Job) -> None:
        """Be the thread of a job."""
        pause, locked = SETTLE, False
        try:
            result = run_project_code(lambda: self._refresh(job))
            if result is not None:
                locked = result.outcome is Outcome.LOCKED
                pause = 0.0 if locked and job.waited else self._pause_after(result)
            if result is not None and result.outcome in (Outcome.FRESH, Outcome.UNCHANGED, Outcome.REFRESHED):
                pause = self._tidy(job, pause)
        except BaseException as error:  # whatever a receiver of signals raises: nobody else serves the dataset
            if not self._stopping.is_set():
                self._log(job.dataset, error)
                self._note_store(job.dataset.using, away=isinstance(error, ClusterError | DeadlineExceeded))
        finally:
            self._end(job, pause, locked=locked)

    def _refresh(self, job: Job) -> RefreshResult | None:
        """Refresh if it is due. Return ``None`` if the service was stopped or the job given up meanwhile."""
        dataset = job.dataset
        stores = self._runtime.stores(dataset.using)
        self._requests.follow(dataset, stores)
        self._registration.keep(dataset.using, stores)
        told = self._told.get(dataset.name)
        refresh = Refresh(
            dataset,
            self._runtime,
            told=told,
            serving=True,
            line=job,
            on_overdue=lambda result: self._give_up(job, result),
        )
        job.refresh = refresh
        if self._stopping.is_set():  # looked at after it can be seen: whoever set this first has not stopped it
            return None
        result = refresh.run()
        if self._stopping.is_set() or job.given_up:
            return None
        self._note_store(dataset.using, away=refresh.store_away)
        self._report(dataset, result)
        return result

    def _tidy(self, job: Job, pause: float) -> float:
        """Fold deltas of the dataset and check its records while nobody wants anything.

        ``pause`` is how many seconds there are until the next look; returns how many there are then.
        """
        dataset, ends = job.dataset, monotonic() + pause
        stores, left = self._runtime.stores(dataset.using), Left.MORE
        while left is Left.MORE and not self._stopping.is_set():
            with self._changed:
                if self._agenda.is_wanted(dataset.name, monotonic()):
                    return min(pause, SETTLE)
            if monotonic() >= ends:
                return 0.0
            left = fold_on(dataset, stores)
        check_some(dataset, stores)
        return max(0.0, min(ends - monotonic(), SETTLE if left is Left.TO_ANNOUNCE else math.inf))

    def _give_up(self, job: Job, result: RefreshResult) -> None:
        """Go on without a job whose load hangs."""
        with self._changed:
            job.given_up = True
            self._agenda.end(job.dataset.name, monotonic() + SETTLE)
            self._changed.notify_all()
        if not self._stopping.is_set():
            try:
                self._report(job.dataset, result)
            except BaseException as error:  # of whoever is told
                self._log(job.dataset, error)

    def _end(self, job: Job, pause: float, *, locked: bool) -> None:
        with self._changed:
            self._jobs.discard(job)
            if job.given_up:
                self._agenda.wake(job.dataset.name)  # maybe there is room for another load now
            else:
                self._agenda.end(job.dataset.name, monotonic() + pause, locked=locked)
            self._changed.notify_all()

    def _note_store(self, alias: str, *, away: bool) -> None:
        with self._changed:
            if away:
                self._agenda.is_away(alias, monotonic() + SETTLE)
            else:
                self._agenda.answers(alias)

    # --- what has come of it -----------------------------------------------------------------------------------------

    def _report(self, dataset: Dataset[Any, Any], result: RefreshResult) -> None:
        told = self._told.get(dataset.name)
        failed = result.outcome is Outcome.FAILED
        try:
            if result.outcome not in (Outcome.FRESH, Outcome.LOCKED, Outcome.BACKOFF) and not (
                failed and same_reason(result.error, told)
            ):
                with self._telling:
                    self._tell(result)
        finally:
            if failed or result.outcome in (Outcome.FRESH, Outcome.UNCHANGED, Outcome.REFRESHED):
                self._told[dataset.name] = result.error

    def _log(self, dataset: Dataset[Any, Any], error: BaseException) -> None:
        told, text = self._told.get(dataset.name), text_of(error)
        self._told[dataset.name] = text
        if same_reason(text, told):
            return
        if isinstance(error, EtcdAeroError):
            logger.warning("dataset %s: %s", dataset.name, error)
        else:
            logger.error("dataset %s: the refresh service failed and goes on", dataset.name, exc_info=error)

    def _pause_after(self, result: RefreshResult) -> float:
        """Return the seconds until the dataset is looked at again."""
        if result.outcome is Outcome.LOCKED:
            return LOCKED
        if result.outcome is Outcome.FENCED:
            return 0.0
        if result.outcome is Outcome.FAILED:
            return LONGEST_SLEEP if hanging(result.name) >= MOST else SETTLE
        if result.next_due is None:
            return LONGEST_SLEEP
        later = random.uniform(0, 0.1) + (GIVE_WAY if self._gives_way or hanging(result.name) else 0.0)
        return min(LONGEST_SLEEP, max(0.05, result.next_due - time.time() + later))
