"""The reader of a process: one thread that keeps all its datasets on the announced versions.

It sleeps until a watch reports a change of an announcement, a poll is due, or somebody wakes it; then each dataset's
:class:`.follower.Follower` takes one step. It also keeps the process's registration up to date (:mod:`.presence`).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django_etcdaero.datasets.state.status import same_reason
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.system import forks
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.threads import Background

if TYPE_CHECKING:
    from django_etcdaero.datasets.host import Host
    from django_etcdaero.datasets.state.presence import Presence
    from django_etcdaero.keyvalue.facade import KV

    from .follower import Follower
    from .live import LiveDataset

logger = logging.getLogger("django_etcdaero.datasets")

RECOVERY = 1.0
"""Seconds of rest after an error that nobody foresaw; then the reader goes on."""
REGISTER_WITHIN = 0.3
"""Longest time in seconds until a process tells that it holds another version."""


class Reader:
    """Owns the thread ``etcdaero-reader``.

    ``datasets`` is looked at again and again: a view of the registry, so that what is declared later is found as well.
    ``poll_interval`` and ``splay`` are seconds (see :class:`.follower.Follower`), ``presence_ttl`` the seconds after
    which a dead process's registration vanishes.
    """

    def __init__(
        self,
        datasets: Iterable[LiveDataset[Any, Any]],
        host: Host,
        *,
        poll_interval: float,
        splay: float,
        presence_ttl: int,
    ) -> None:
        self._host = host
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._presence_ttl = presence_ttl
        self._started = time.time()
        self._poll_interval = poll_interval
        self._presences: dict[str, tuple[KV, Presence]] = {}
        self._present_at = 0.0
        self._registered: object = None
        self._unregistered: dict[str, str] = {}
        """Why this process is not registered, by alias, as it was told."""
        self._datasets = datasets
        self._splay = splay
        self._followers: list[Follower] = []
        self._thread = Background(self._run, name="etcdaero-reader")

    @property
    def alive(self) -> bool:
        """Whether the thread runs and has not been told to stop."""
        return self._thread.alive and not self._stopping.is_set()

    @property
    def died(self) -> bool:
        """Whether the thread ended although it was not told to stop."""
        return not self._thread.alive and not self._stopping.is_set()

    def start(self) -> None:
        """Start the thread. It does all input and output; this returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Look at all announcements now."""
        for follower in tuple(self._followers):
            follower.look_now()
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """Stop the thread and wait for it, at most ``timeout`` seconds."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        with forks.postponed():  # here: it takes its time, and starting the reader must not
            from django_etcdaero.datasets.state import presence  # noqa: F401

            from . import follower  # noqa: F401
        try:
            while not self._stopping.is_set():
                try:
                    self._round()
                except BaseException:
                    # SystemExit and MemoryError too: without this thread nothing newer would ever be read.
                    logger.exception("the reader met an unexpected error and goes on in %g s", RECOVERY)
                    self._stopping.wait(RECOVERY)
        finally:
            self._end()

    def _round(self) -> None:
        self._wake.clear()
        self._find_datasets()
        for follower in self._followers:
            if self._stopping.is_set():
                return
            if follower.due(time.monotonic()):
                follower.step()
        if not self._stopping.is_set():
            self._register()
        due = min([self._present_at, *(follower.next_at for follower in self._followers)])
        self._wake.wait(max(0.0, due - time.monotonic()))

    def _find_datasets(self) -> None:
        from .follower import Follower
        from .live import live_state

        followed = {follower.dataset for follower in self._followers}
        for dataset in tuple(self._datasets):
            if dataset in followed:
                continue
            follower = Follower(
                dataset,
                self._host,
                wake=self._wake.set,
                pause=self._stopping.wait,
                stopped=self._stopping.is_set,
                poll_interval=self._poll_interval,
                splay=self._splay,
            )
            self._followers.append(follower)
            live_state(dataset).followed(died=lambda: self.died)

    def _register(self) -> None:
        """Write the registration when what it says has changed, or at each poll."""
        from django_etcdaero.datasets.state.presence import Presence

        statuses = [(follower.dataset, follower.dataset.status()) for follower in self._followers]
        said = [(dataset.name, status.version, status.state) for dataset, status in statuses]
        now = time.monotonic()
        if said != self._registered:
            # A little later, at random: just now all processes load what was announced.
            self._registered = said
            self._present_at = min(self._present_at, now + random.uniform(0, REGISTER_WITHIN))
        if now < self._present_at:
            return
        self._present_at = now + self._poll_interval
        for alias in {dataset.using for dataset, _ in statuses}:
            of_alias = [(dataset, status) for dataset, status in statuses if dataset.using == alias]
            try:
                kv = self._host.stores(alias).kv
                if alias not in self._presences or self._presences[alias][0] is not kv:
                    self._presences[alias] = (kv, Presence(kv, ttl=self._presence_ttl, started=self._started))
                self._presences[alias][1].publish(
                    {dataset.name: status.version for dataset, status in of_alias},
                    {dataset.name: str(status.state) for dataset, status in of_alias},
                    {dataset.name: dataset.schema for dataset, _ in of_alias},
                )
            except EtcdAeroError as error:
                told, self._unregistered[alias] = self._unregistered.get(alias), text_of(error)
                if not same_reason(self._unregistered[alias], told):
                    logger.warning(
                        "alias %r: this process could not be registered for etcdaero_status: %s", alias, error
                    )
            else:
                self._unregistered.pop(alias, None)

    def _end(self) -> None:
        for follower in self._followers:
            follower.close()
        for _, presence in self._presences.values():
            try:
                presence.withdraw()
            except EtcdAeroError as error:
                logger.debug("this process's registration could not be withdrawn: %s", error)
