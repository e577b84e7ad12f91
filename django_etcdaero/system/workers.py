"""Threads for jobs of which any may block for as long as it likes, without holding up the others.

A job has a key: of one key one job runs at a time. Jobs begin in the order of their coming, those that somebody waits
for before the others, and those of a group that has fewer jobs under way before those of a group that has more. A few
run side by side. One that takes long gives its place away: it goes on, and another begins. So what blocks holds up
nobody, and as long as nothing does there are few threads.

Nobody here looks at a clock by itself: the owner calls :meth:`Workers.tend` now and then.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from .clocks import monotonic
from .conditions import Condition
from .threads import Background

logger = logging.getLogger("django_etcdaero.system")

PLACES = 4
"""Jobs that run side by side, those left aside that have given their place away."""
HOLD = 0.5
"""Seconds after which a job gives its place away."""
LINGER = 10.0
"""Seconds that a thread waits for another job before it ends."""


@dataclass(eq=False)
class _Job:
    key: Hashable
    group: Hashable
    run: Callable[[], object]
    urgent: bool
    began: float = field(default=0.0)


def _nothing() -> None:
    pass


class Workers:
    """Owner of daemon threads called ``name``. Usable from any thread."""

    def __init__(self, name: str, *, on_end: Callable[[Hashable], object] = lambda key: None) -> None:
        """``on_end(key)`` is called, by any thread, when a job has ended and another of its key may begin."""
        self._name = name
        self._on_end = on_end
        self._changed = Condition()
        self._waiting: list[_Job] = []
        self._running: list[_Job] = []
        self._threads: list[Background] = []
        self._idle = 0
        self._granted = 0
        """Jobs that a thread may take now."""
        self._stopped = False

    def submit(self, key: Hashable, run: Callable[[], object], *, group: Hashable = None, urgent: bool = False) -> bool:
        """Let ``run()`` be called soon; return false if a job of this key waits or runs already.

        Then ``urgent`` makes the waiting one urgent. ``run`` is expected not to raise; what it raises is logged.
        """
        with self._changed:
            if self._stopped or any(job.key == key for job in self._running):
                return False
            for job in self._waiting:
                if job.key == key:
                    job.urgent = job.urgent or urgent
                    self._grant()
                    return False
            self._waiting.append(_Job(key, group, run, urgent))
            self._grant()
            return True

    def busy(self, key: Hashable) -> bool:
        """Tell whether a job of this key waits or runs."""
        with self._changed:
            return any(job.key == key for job in (*self._running, *self._waiting))

    def tend(self) -> float | None:
        """Let waiting jobs begin in the place of those that take long.

        Return when this has to be called again at the latest, on the monotonic clock; ``None``: no job waits.
        """
        with self._changed:
            self._grant()
            if not self._waiting or self._stopped:
                return None
            now = monotonic()
            return min((job.began for job in self._running if job.began > now - HOLD), default=now) + HOLD

    def stop(self) -> None:
        """Begin no more jobs."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._granted = 0
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait for the end of the jobs that run, at most ``timeout`` seconds."""
        limit = monotonic() + timeout
        for thread in tuple(self._threads):
            thread.join(max(0.0, limit - monotonic()))

    # --- with the lock held ------------------------------------------------------------------------------------------

    def _grant(self) -> None:
        """Let as many waiting jobs begin as there are places, each in a thread that waits or a new one."""
        wanted = self._free_places()
        while self._granted < wanted:
            if self._idle <= self._granted and not self._start_thread():
                return
            self._granted += 1
            self._changed.notify()

    def _free_places(self) -> int:
        """Return how many of the waiting jobs may begin: urgent ones have places of their own."""
        urgent = sum(job.urgent for job in self._waiting)
        return min(urgent, self._places(urgent=True)) + min(len(self._waiting) - urgent, self._places(urgent=False))

    def _places(self, *, urgent: bool) -> int:
        since = monotonic() - HOLD
        return max(0, PLACES - sum(job.urgent is urgent and job.began > since for job in self._running))

    def _start_thread(self) -> bool:
        thread = Background(lambda: self._serve(thread), name=self._name)
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had: those that run take the job when they can
            return False
        if not thread.alive:  # the process ends
            return False
        self._threads.append(thread)
        return True

    def _next(self) -> _Job:
        urgent = [job for job in self._waiting if job.urgent]
        others = [job for job in self._waiting if not job.urgent]
        if urgent and (not others or self._places(urgent=True)):
            return urgent[0]
        under_way = Counter(job.group for job in self._running)
        return min(others, key=lambda job: under_way[job.group])

    # --- the threads -------------------------------------------------------------------------------------------------

    def _serve(self, thread: Background) -> None:
        job: _Job | None = None
        while (job := self._next_after(job, thread)) is not None:
            try:
                job.run()
            except BaseException:
                logger.exception("%s: a job failed in a way that nobody foresaw", self._name)
            job.run = _nothing  # while this waits for the next one nothing of it is kept alive

    def _next_after(self, done: _Job | None, thread: Background) -> _Job | None:
        if done is not None:
            with self._changed:
                self._running.remove(done)
            self._on_end(done.key)
        with self._changed:
            self._idle += 1
            self._grant()
            there = self._changed.wait_for(lambda: self._granted or self._stopped, LINGER)
            self._idle -= 1
            if not there or self._stopped:
                self._threads.remove(thread)
                return None
            self._granted -= 1
            job = self._next()
            self._waiting.remove(job)
            job.began = monotonic()
            self._running.append(job)
            return job
