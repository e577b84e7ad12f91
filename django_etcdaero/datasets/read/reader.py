"""The reader of a process: keeps all its datasets on the announced versions.

One thread sleeps until a watch reports a change of an announcement, a poll is due, rows grow too old, or somebody waits
for a dataset. It calls nothing that could block: whatever asks a store or runs code of the project is a job of
:class:`~django_etcdaero.system.workers.Workers`. A job is a look at what is announced under an alias
(:mod:`.announced`), a step of one dataset (:mod:`.follower`), or the registration under an alias (:mod:`.registering`).
So a store that does not answer, and code that does not return, hold up what needs them and nothing else.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.system import forks
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.threads import Background
from django_etcdaero.system.workers import Workers

from .timetable import Timetable

if TYPE_CHECKING:
    from django_etcdaero.datasets.host import Host

    from .announced import AnnouncementView, Name
    from .follower import Follower
    from .live import LiveDataset
    from .live_state import Work
    from .registering import Registering

logger = logging.getLogger("django_etcdaero.datasets")

RECOVERY = 1.0
"""Seconds of rest after an error that nobody foresaw; then the reader goes on."""
LONG = 11.0
"""Seconds after its beginning at which it is looked whether a step has come to an end."""
COPIES = 10
"""Announcement copies that are looked at in one poll interval, more or less: who has more datasets looks at each of
them less often."""


class _Alias:
    """What a reader has for one alias."""

    def __init__(self, view: AnnouncementView, registering: Registering) -> None:
        self.view = view
        self.registering = registering
        self.followers: dict[Name, Follower] = {}
        self.look: Work | None = None
        """The look that is under way."""


class Reader:
    """Owns the thread ``etcdaero-reader``, and those called ``etcdaero-load`` while there is something to do.

    ``datasets`` is looked at again and again: a view of the registry, so that what is declared later is found as well.
    ``poll_interval`` is how often the announcements are read however healthy the watch looks, ``splay`` the longest
    random delay before a large fetch, both in seconds; ``presence_ttl`` the seconds after which a dead process's
    registration vanishes, ``started`` when the process began (seconds since the epoch; ``None``: now).
    """

    def __init__(
        self,
        datasets: Iterable[LiveDataset[Any, Any]],
        host: Host,
        *,
        poll_interval: float,
        splay: float,
        presence_ttl: int,
        started: float | None = None,
    ) -> None:
        self._host = host
        self._datasets = datasets
        self._poll_interval = poll_interval
        self._splay = splay
        self._presence_ttl = presence_ttl
        self._started = time.time() if started is None else started
        # A request wakes the thread from the main thread, where handlers of signals raise: no Event, see conditions.
        self._wake = Flag()
        self._stopping = Flag()
        self._round_due_at = monotonic()
        self._followers: dict[Declared[Any, Any], Follower] = {}
        self._aliases: dict[str, _Alias] = {}
        self._wanted: deque[Declared[Any, Any]] = deque()
        """Datasets that somebody waits for and that are still to be looked at."""
        self._timetable: Timetable[Follower] = Timetable()
        self._workers = Workers("etcdaero-load", on_end=self._ended)
        self._thread = Background(self._run, name="etcdaero-reader")

    @property
    def alive(self) -> bool:
        """Whether the thread runs and has not been told to stop."""
        return self._thread.alive and not self._stopping.is_set()

    @property
    def died(self) -> bool:
        """Whether the thread ended although it was not told to stop."""
        return not self._thread.alive and not self._stopping.is_set()

    @property
    def late(self) -> float:
        """Seconds for which the thread has not come round to what was due; negative: until it is due."""
        return monotonic() - self._round_due_at

    def registers(self, alias: str) -> bool:
        """Tell whether the process is registered under an alias by this reader."""
        return self.alive and alias in self._aliases

    def start(self) -> None:
        """Start the thread. It does all input and output; this returns at once."""
        self._thread.start()

    def wake(self, dataset: Declared[Any, Any]) -> None:
        """Look at what is announced for ``dataset`` now, because somebody waits for it."""
        self._wanted.append(dataset)
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """Stop the threads and wait for them, at most ``timeout`` seconds."""
        limit = monotonic() + timeout
        self._stopping.set()
        self._wake.set()
        self._workers.stop()
        self._thread.join(timeout)
        self._workers.join(max(0.0, limit - monotonic()))

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with forks.postponed():  # here: it takes its time, and starting the reader must not
            from . import registering  # noqa: F401
        try:
            while not self._stopping.is_set():
                try:
                    self._round_due_at = monotonic()
                    pause = self._round()
                    self._round_due_at = monotonic() + pause
                    self._wake.wait(pause)
                except BaseException:
                    # SystemExit and MemoryError too: without this thread nothing newer would ever be read.
                    logger.exception("the reader met an unexpected error and goes on in %g s", RECOVERY)
                    self._stopping.wait(RECOVERY)
        finally:
            self._end()

    def _round(self) -> float:
        """Let begin what is due; return in how many seconds to look again, unless the thread is woken before."""
        self._wake.clear()
        self._find_datasets()
        self._serve_wanted()
        now = monotonic()
        due = [self._begin(alias, now) for alias in self._aliases.values()]
        for follower in self._timetable.take(now):
            self._timetable.note(follower, self._begin_step(follower, now))
        due.append(self._timetable.next_at)
        tend_at = self._workers.tend()
        if tend_at is not None:
            due.append(tend_at)
        # At the latest after a poll interval, for datasets that are declared meanwhile.
        return max(0.0, min([self._poll_interval, *(each - monotonic() for each in due)]))

    def _find_datasets(self) -> None:
        from .follower import Follower
        from .live import live_state

        found = False
        for dataset in tuple(self._datasets):
            if dataset in self._followers:
                continue
            alias = self._aliases.get(dataset.using) or self._add_alias(dataset.using)
            follower = Follower(
                dataset,
                self._host,
                alias.view,
                stopped=self._stopping.is_set,
                poll_interval=self._poll_interval,
                copy_interval=self._poll_interval,
                splay=self._splay,
            )
            self._followers[dataset] = alias.followers[follower.name] = follower
            live_state(dataset).followed(died=lambda: self.died, waits_for=partial(getattr, alias, "look"))
            follower.look_now()
            self._timetable.wake(follower)
            alias.view.look_now()
            found = True
        if found:
            for each in self._followers.values():
                each.copy_interval = self._poll_interval * max(1.0, len(self._followers) / COPIES)

    def _add_alias(self, name: str) -> _Alias:
        from .announced import AnnouncementView
        from .registering import Registering

        view = AnnouncementView(
            name, self._host, changed=lambda which: self._changed(alias, which), poll_interval=self._poll_interval
        )
        alias = self._aliases[name] = _Alias(
            view,
            Registering(
                view,
                self._host,
                ttl=self._presence_ttl,
                started=self._started,
                poll_interval=self._poll_interval,
            ),
        )
        return alias

    def _changed(self, alias: _Alias, which: Name | None) -> None:
        """Take notice of another announcement or load under an alias; called by any thread."""
        if which is None:
            followers = tuple(alias.followers.values())
            missing = sum(follower.missing_bytes for follower in followers)
            for follower in followers:
                follower.first_bytes = missing
        else:
            followers = tuple(filter(None, (alias.followers.get(which),)))
        for follower in followers:
            follower.look_now()
            self._timetable.wake(follower)
        alias.registering.changed()
        self._wake.set()

    def _serve_wanted(self) -> None:
        while self._wanted:
            follower = self._followers.get(self._wanted.popleft())
            if follower is None:
                continue
            follower.look_now(wanted=True)
            self._timetable.wake(follower)
            if not follower.view.looks or follower.view.away is not None or not follower.view.watching:
                follower.view.look_now()
            elif not follower.behind:
                self._submit((self._look_at, follower), partial(self._look_at, follower), follower, urgent=True)

    # --- what is due -------------------------------------------------------------------------------------------------

    def _begin(self, alias: _Alias, now: float) -> float:
        """Let a look and a registration begin if they are due; return when the next one is."""
        if now >= alias.view.next_at:
            self._submit((self._look, alias), partial(self._look, alias), alias)
        if now >= alias.registering.next_at:
            self._submit((self._register, alias), partial(self._register, alias), alias)
        # What is due now is begun, and whoever makes it wakes this thread at its end.
        return min((each.next_at for each in (alias.view, alias.registering) if each.next_at > now), default=math.inf)

    def _begin_step(self, follower: Follower, now: float) -> float:
        """Let a step begin if it is due, and the rows grow old; return when the next of both is."""
        next_at = follower.next_at
        follower.busy.tell_if_stuck()
        if follower.due(now):
            next_at = now + LONG
            self._submit(follower.dataset, partial(self._step, follower), follower, urgent=follower.wanted)
        too_old_at = follower.too_old_at
        if now >= too_old_at:
            follower.grow_old()
            return next_at
        look_at = too_old_at - follower.look_ahead
        if now < look_at:
            return min(next_at, look_at)
        if follower.view.looked_at < look_at:  # perhaps the source was read meanwhile and gave nothing new
            alias = self._aliases[follower.view.alias]
            self._submit((self._look, alias), partial(self._look, alias), alias)
        return min(next_at, too_old_at)

    def _submit(self, key: Hashable, job: Callable[[], object], of: Follower | _Alias, *, urgent: bool = False) -> None:
        def run() -> None:
            try:
                if not self._stopping.is_set():
                    job()
            except BaseException:
                logger.exception("the reader met an unexpected error and goes on")

        self._workers.submit(key, run, group=of.view.alias, urgent=urgent)

    def _ended(self, key: Hashable) -> None:
        """Take notice of the end of a job; called by its thread."""
        follower = self._followers.get(key) if isinstance(key, Declared) else None
        if follower is not None:
            self._timetable.wake(follower)
        self._wake.set()

    # --- jobs --------------------------------------------------------------------------------------------------------

    def _look(self, alias: _Alias) -> None:
        from .live_state import Work

        alias.look = Work.begin(f"a look at KV of the alias {alias.view.alias!r}")
        try:
            alias.view.look([follower.dataset for follower in tuple(alias.followers.values())])
        finally:
            alias.look = None
            if self._stopping.is_set():
                alias.view.close()

    def _look_at(self, follower: Follower) -> None:
        try:
            follower.view.look_at(follower.dataset)
        except EtcdAeroError:
            follower.view.look_now()  # which tells why
        else:
            follower.look_now()
            self._timetable.wake(follower)

    def _step(self, follower: Follower) -> None:
        self._host.run_project_code(follower.step)
        self._aliases[follower.view.alias].registering.changed()

    def _register(self, alias: _Alias) -> None:
        alias.registering.register(tuple(alias.followers.values()))

    def _end(self) -> None:
        for alias in self._aliases.values():
            alias.view.close()
            alias.registering.withdraw()
