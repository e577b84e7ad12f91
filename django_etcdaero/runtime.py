"""The process: owns the stores and the reader, and sees to forks and to the end.

One :class:`Runtime` lives in each process. It never does anything in ``ready()`` but arm itself. The child of a fork
forgets what it inherited (see :mod:`.system.forks`) and opens its own.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from asgiref.sync import sync_to_async
from django.core.signals import request_started

from . import conf
from .datasets.host import Host, Listener, bind
from .datasets.registry import datasets
from .exceptions import EtcdAeroError
from .listener import SignalListener
from .open_stores import Opened, OpenStores
from .system import forks, gevent_pool, uwsgi
from .system.serving import is_test_run, may_start_in_fork, serves, test_run_declared
from .watch_telling import tell_watches

if TYPE_CHECKING:
    from .datasets.declared import Declared
    from .datasets.read.live_state import LiveState
    from .datasets.read.reader import Reader
    from .datasets.stores import About, Stores

T = TypeVar("T")
AroundRefresh: TypeAlias = "Callable[[Declared[Any, Any]], AbstractContextManager[object]]"
"""Returns what a refresh of the dataset runs in; an error of it leaves through that."""

logger = logging.getLogger("django_etcdaero.runtime")

EXIT_PATIENCE = 2.0
"""Longest time in seconds that the end of the process waits for the reader."""


class Runtime(Host):
    """The host of the process's datasets."""

    def __init__(self) -> None:
        self.listener: Listener = SignalListener()
        self._stores = OpenStores(memory_only=test_run_declared() or is_test_run(sys.argv))
        self._stores.on_open(self._tell_watches)
        self._started = time.time()
        self._around_refreshes: list[AroundRefresh] = []
        self._attached = False
        self._reader_lock = threading.RLock()
        self._reader: Reader | None = None
        self._armed = False
        self._requested = False
        self._let_go_of_reader = False
        """The reader was stopped only because a fork came next, whose child is to have one."""
        self._stopped = False

    # --- stores ------------------------------------------------------------------------------------------------------

    def stores(self, alias: str) -> Stores:
        forks.catch_up()
        return self._stores.get(alias)

    @property
    def open_stores(self) -> OpenStores:
        """The stores that are open in this process."""
        return self._stores

    def on_open(self, hook: Callable[[Opened], object]) -> Callable[[], None]:
        """See :meth:`.open_stores.OpenStores.on_open`."""
        return self._stores.on_open(hook)

    def on_refresh(self, around: AroundRefresh) -> Callable[[], None]:
        """Run each refresh inside ``around(dataset)`` from now on; return what ends that."""
        self._around_refreshes.append(around)
        return lambda: self._around_refreshes.remove(around) if around in self._around_refreshes else None

    def close(self) -> None:
        """Stop the reader, withdraw the registration, release leases and stores; the next use opens them again."""
        forks.catch_up()
        with self._reader_lock:
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.stop(0.0)  # told to stop before there can be another one
        if reader is not None:
            reader.stop(EXIT_PATIENCE)
        self._stores.close()

    # --- the reader --------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Be ready to start the reader; start it now in a process that is known to serve. Opens no store.

        A test run starts it at the first use only, as each of its tests does after the first.
        """
        bind(self)
        self._armed = True
        self.attach()
        start = self._start_option()
        if start != "off" and not uwsgi.runs_threads():
            logger.error("no dataset is read in this process, and no lease of kv is kept alive: %s", uwsgi.NO_THREADS)
        at_once = start == "always" or (start == "auto" and serves(sys.argv, os.environ))
        if at_once and not is_test_run(sys.argv):
            self.ensure_reader()
        elif at_once or start == "auto":
            self._start_at_request()

    def _start_at_request(self) -> None:
        request_started.connect(self._on_request, dispatch_uid="django_etcdaero.runtime")

    def attach(self) -> None:
        """See to the stores at forks, when settings change, and at the end of the process. Idempotent."""
        if not self._attached:
            self._attached = True
            forks.in_child(self._after_in_child)
            uwsgi.follow_forks(before=self._let_go, after=forks.catch_up)
            atexit.register(self._at_exit)
            conf.changed.connect(self._on_settings_changed)

    def ensure_reader(self) -> None:
        forks.catch_up()
        reader = self._reader
        if reader is not None and reader.alive:
            return
        if self._start_option() == "off" or not self._armed or self._stopped or not uwsgi.runs_threads():
            return
        with self._reader_lock:
            if self._reader is None or not self._reader.alive:
                self._reader = self._new_reader()
                try:
                    self._reader.start()
                except RuntimeError as error:  # no thread to be had: the next read or request tries again
                    logger.error("the reader cannot be started: %s", error)

    def _new_reader(self) -> Reader:
        with forks.postponed():
            from .datasets.read.reader import Reader  # here: ready() must stay cheap

        options = conf.get("default").options
        return Reader(
            datasets.values(),
            self,
            poll_interval=options.POLL_INTERVAL,
            splay=options.SPLAY,
            presence_ttl=options.SESSION_TTL,
            started=self._started,
        )

    def _tell_watches(self, opened: Opened) -> None:
        """See to it that the watches of a client are told where no reader does it. Not in test runs."""
        alias, kv = opened.alias, opened.kv
        if alias is None or kv is None or self.memory_only or not uwsgi.runs_threads():
            return

        def read() -> bool:
            reader = self._reader
            return reader is not None and reader.registers(alias)

        def tell_about() -> About:
            from .about import about  # here: ready() must stay cheap

            return about(conf.get(alias))

        process = conf.DEFAULT_ALIAS if conf.DEFAULT_ALIAS in conf.aliases() else alias
        tell_watches(
            kv,
            ttl=conf.get(process).options.SESSION_TTL,
            started=self._started,
            about=tell_about,
            told_otherwise=read,
        )

    def wake_reader(self, dataset: Declared[Any, Any]) -> None:
        reader = self._reader
        if reader is not None:
            reader.wake(dataset)

    @contextmanager
    def refreshing(self, dataset: Declared[Any, Any]) -> Iterator[None]:
        with ExitStack() as inside:
            for around in self._around_refreshes.copy():
                inside.enter_context(around(dataset))
            yield

    def run_project_code(self, function: Callable[[], T]) -> T:
        from .project_code import run_project_code  # here: ready() must stay cheap

        return run_project_code(function)

    def open_transaction(self) -> str | None:
        from .transactions import open_transaction  # here: ready() must stay cheap

        return open_transaction()

    def on_commit(self, function: Callable[[], object]) -> Callable[[], bool] | None:
        from .transactions import on_commit

        return on_commit(function)

    def in_database_thread(self, function: Callable[[], T]) -> Awaitable[T]:
        return sync_to_async(function, thread_sensitive=True)()

    def reader_refusal(self) -> str | None:
        reader = self._reader
        if reader is not None and reader.alive:
            return None
        if self._stopped:
            return "the process is about to end"
        try:
            start = conf.get("default").options.START
        except EtcdAeroError as error:
            return str(error)
        if start == "off":
            return 'the reader is switched off by ETCDAERO["default"]["OPTIONS"]["START"] = "off"'
        if not uwsgi.runs_threads():
            return uwsgi.NO_THREADS
        return "the reader of this process is not running"

    def reader_late(self) -> float | None:
        """Return for how many seconds the reader's thread has not come round to what was due; ``None``: none runs."""
        reader = self._reader
        return None if reader is None or not reader.alive else reader.late

    def _start_option(self) -> str:
        try:
            return conf.get("default").options.START
        except Exception:  # a wrong setting is told by the system checks; here it must not break the start-up
            return "off"

    def _on_request(self, **kwargs: Any) -> None:
        """Start the reader at the first request, and at each later one if it died; not if it was closed."""
        forks.catch_up()
        if self._reader is not None or not self._requested:
            self._requested = True
            self.ensure_reader()

    # --- forks and the end -------------------------------------------------------------------------------------------

    def _after_in_child(self) -> None:
        # No lock of before the fork is taken here: a thread that does not exist in the child may hold it.
        self._reader_lock = threading.RLock()
        self._started = time.time()
        was_reading, self._reader = self._reader is not None or self._let_go_of_reader, None
        self._stores.abandon()
        for live in _live_states():
            live.after_fork_in_child()
        if was_reading or (self._start_option() == "auto" and may_start_in_fork(sys.argv)):
            if gevent_pool.may_patch():  # rows that were inherited are read without asking for a reader
                self._requested = False
                self._start_at_request()
            else:
                self.ensure_reader()

    def _let_go(self) -> None:
        """Keep nothing open but what is held in memory: a fork that runs none of Python's hooks comes next."""
        self._let_go_of_reader = self._let_go_of_reader or self._reader is not None
        self.close()

    def _at_exit(self) -> None:
        self._stopped = True
        self.close()

    def _on_settings_changed(self, **kwargs: Any) -> None:
        self.restart()

    # --- for tests ---------------------------------------------------------------------------------------------------

    @property
    def memory_only(self) -> bool:
        """Whether every alias is served from memory, whatever the settings say: so it is in test runs."""
        return self._stores.memory_only

    @memory_only.setter
    def memory_only(self, wanted: bool) -> None:
        if wanted != self.memory_only:
            self.restart()
            self._stores.memory_only = wanted

    def restart(self) -> None:
        """Close everything and let all datasets be not loaded."""
        self.close()
        for live in _live_states():
            live.forget()

    def forget_memory(self) -> None:
        """Restart with empty stores in memory."""
        self.restart()
        self._stores.drop_memory()


def _live_states() -> list[LiveState]:
    if not datasets:
        return []  # and import nothing: ready() must stay cheap
    from .datasets.read.live import live_state

    return [live_state(dataset) for dataset in datasets.values()]


runtime = Runtime()
