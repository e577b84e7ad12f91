"""Where an engine's data lives: in the memory of one process, or in a file of one host."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable

from django_etcdaero.system import forks
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.sqlite.kept_log import KeptLog

from .connection import FileConnection, GuardedConnection, MemoryConnection, Work

_CLOSE_TIMEOUT = 5.0
"""Seconds that closing waits for a call in progress."""

Wake = Callable[[], None]


class Database:
    """The connections of one or several engines to one database."""

    shared_with_processes: bool
    """Other processes may write to it."""

    def __init__(
        self, url: str, *, reader: GuardedConnection, writer: GuardedConnection, watcher: GuardedConnection
    ) -> None:
        self.url = url
        self.reader = reader
        self.writer = writer
        self.watcher = watcher
        """What a watch thread reads from."""
        self.connections = tuple(dict.fromkeys((reader, writer, watcher)))
        # Replaced, never changed: who iterates over it needs no lock.
        self._wakes: tuple[Wake, ...] = ()

    def join(self, wake: Wake) -> None:
        """Use the store for an engine; ``wake`` is called after each commit that made a revision."""
        self._wakes = (*self._wakes, wake)

    def leave(self, wake: Wake) -> None:
        """Stop using the store; the last engine to leave may close it."""
        self._wakes = tuple(other for other in self._wakes if other != wake)

    def notify(self) -> None:
        """Tell the engines that the store has changed."""
        for wake in self._wakes:
            wake()

    def rest(self, timeout: float) -> None:
        """Before a fork: let no thread be inside SQLite; wait ``timeout`` seconds at most for those that are."""
        deadline = monotonic() + timeout
        for connection in self.connections:
            connection.rest(deadline - monotonic())

    def resume(self) -> None:
        """After the fork, in the parent: end the rest that this thread has ordered."""
        for connection in self.connections:
            connection.resume()

    def leak(self) -> None:
        """Forget everything inherited through a fork without touching it."""
        for connection in self.connections:
            connection.leak()


class FileDatabase(Database):
    """A file, for one engine; other engines and processes have their own connections to it."""

    shared_with_processes = True

    def __init__(self, path: str, *, timeout: float, restart: Work[None]) -> None:
        """Open ``path`` (absolute). ``restart`` is run on every file that is opened, before anything else is done."""
        self._log = log = KeptLog(path)
        writer = FileConnection(path, log=log, opened=restart)
        reader = FileConnection(path, log=log)
        try:
            writer.open(timeout)
            reader.open(timeout)
        except BaseException:
            writer.close(_CLOSE_TIMEOUT)
            log.forget()
            raise
        super().__init__(f"sqlite://{path}", reader=reader, writer=writer, watcher=FileConnection(path, log=log))

    def leave(self, wake: Wake) -> None:
        super().leave(wake)
        for connection in self.connections:
            connection.close(_CLOSE_TIMEOUT)
        self._log.forget()

    def leak(self) -> None:
        super().leak()
        self._log.forget()


class MemoryDatabase(Database):
    """A database in memory, for all engines of this process that use its name."""

    shared_with_processes = False

    def __init__(self, name: str) -> None:
        connection = MemoryConnection(f"mem:{name}")
        super().__init__(connection.place, reader=connection, writer=connection, watcher=connection)
        self._dropped = False

    def leave(self, wake: Wake) -> None:
        super().leave(wake)
        self._close_if_unused()

    def drop(self) -> None:
        """Close the store once no engine uses it any more."""
        self._dropped = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._dropped and not self._wakes:
            self.writer.close(_CLOSE_TIMEOUT)


_databases: dict[tuple[int, str], MemoryDatabase] = {}
"""By process id: the child of a fork must not touch the stores of its parent, nor a lock that guards them."""


def memory_database(name: str) -> MemoryDatabase:
    """Return the store ``name`` of this process, made if there is none."""
    key = (os.getpid(), name)
    store = _databases.get(key)
    if store is None:
        made = MemoryDatabase(name)
        store = _databases.setdefault(key, made)  # atomic: two threads get the same one
        if store is not made:
            made.drop()
    return store


def drop_memory(name: str = "") -> None:
    """Forget the data of the in-memory store ``name``; engines that are open on it keep it until they are closed."""
    store = _databases.pop((os.getpid(), name), None)
    if store is not None:
        with forks.postponed():
            store.drop()


@atexit.register
def _close_all() -> None:
    for pid, name in list(_databases):
        if pid == os.getpid():
            drop_memory(name)
