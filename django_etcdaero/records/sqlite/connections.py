"""The connections of one :class:`~django_etcdaero.records.sqlite.store.SqliteStore`, and how a step of work runs on
one.

A connection is used by one thread at a time; as many are open as threads were ever at work at once, up to a limit of
those that are kept. Within a process one thread writes at a time, so that only one of its threads competes with the
other processes for the file. A lock of another process is waited for here, never inside SQLite: the wait is bounded by
the call's deadline and has jitter, so that no process is starved by the others' rhythm.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from django_etcdaero.exceptions import StoreBusy, StoreFull
from django_etcdaero.records.life import check_usable
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.sqlite import errors, opening
from django_etcdaero.system.sqlite.kept_log import KeptLog
from django_etcdaero.system.sqlite.opening import Schema
from django_etcdaero.system.sqlite.path import Identity, identity_of
from django_etcdaero.system.sqlite.without_room import read_without_room

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

MAX_IDLE = 8
"""Connections that are kept open while nobody uses them."""

RETRY_INTERVALS = (0.0005, 0.005)
"""Shortest and longest time in seconds between two attempts to get the file's write lock."""

CLOSE_TIMEOUT = 1.0
"""Seconds that :meth:`Connections.close` waits for calls that are under way."""


class Connections:
    """All connections of one store in one process."""

    def __init__(self, path: str, schema: Schema, *, busy_timeout: float) -> None:
        self._path = path
        self._schema = schema
        self._log = KeptLog(path)
        self._busy_timeout = busy_timeout
        self._pid = os.getpid()
        self._closed = False
        # Locks are re-entrant because those know their owner: see _recover().
        self._state = threading.RLock()  # guards what follows
        self._idle: list[tuple[sqlite3.Connection, Identity]] = []
        self._in_use: dict[sqlite3.Connection, int] = {}
        """With the thread that uses it."""
        self._calls: set[int] = set()
        """The threads that are inside a call."""
        self._forks = 0
        self._writing = threading.RLock()

    def read(self, work: Work[T], deadline: float | None) -> T:
        """Run ``work(connection)`` outside any transaction.

        ``deadline``: until when to wait for others, by :func:`time.monotonic`; ``None``: ``busy_timeout`` from now.
        """
        until = self._until(deadline)
        self._begin(until)
        try:
            try:
                return self._attempt(work, until)
            except StoreFull as error:  # there is no room to open the file
                return read_without_room(self._path, self._schema, work, error, deadline=until, log=self._log)[0]
        finally:
            self._end()

    def write(self, work: Work[T], deadline: float | None) -> T:
        """Run ``work(connection)`` as one write transaction, which is rolled back if ``work`` raises.

        It is run again from the start when the transaction could not begin, so it must have no other effects.
        """
        until = self._until(deadline)
        self._begin(until)
        try:
            if not self._writing.acquire(timeout=max(0.0, until - monotonic())):
                raise StoreBusy(f"{self._path}: other threads write for longer than the time allowed")
            return self._attempt(lambda connection: _transact(connection, work), until)
        finally:
            self._end()

    def close(self) -> None:
        """Close what is idle now, and the rest as soon as it is; wait for that ``CLOSE_TIMEOUT`` at most."""
        if os.getpid() != self._pid:
            self.abandon()
            return
        self._closed = True
        self.close_idle()
        _wait(lambda: not self._calls, until=monotonic() + CLOSE_TIMEOUT)
        self._log.forget()

    def close_idle(self) -> None:
        """Close the connections that nobody uses. The next call opens another."""
        if os.getpid() != self._pid:
            return
        with self._state:
            while self._idle:
                self._idle.pop()[0].close()

    def before_fork(self, timeout: float) -> None:
        """Let no call begin, wait ``timeout`` seconds at most for those under way, and close what is idle."""
        with self._state:
            self._forks += 1
        _wait(lambda: not self._calls, until=monotonic() + timeout)
        self.close_idle()

    def after_fork_in_parent(self) -> None:
        """Let calls begin again."""
        with self._state:
            self._forks -= 1

    def abandon(self) -> None:
        """Forget everything without touching it. Takes no lock: its holder may not exist in this process."""
        self._closed = True
        for connection in (*self._in_use, *(idle for idle, _ in self._idle)):
            opening.leak(connection)
        self._idle, self._in_use = [], {}
        self._log.forget()

    def _until(self, deadline: float | None) -> float:
        return monotonic() + self._busy_timeout if deadline is None else deadline

    def check_usable(self) -> None:
        """Raise ``Cancelled`` after :meth:`close` or :meth:`abandon`, ``ConfigurationError`` in another process."""
        check_usable(self._path, pid=self._pid, closed=self._closed)

    def _begin(self, until: float) -> None:
        if self._closed or os.getpid() != self._pid:
            self.check_usable()
        thread = threading.get_ident()
        self._recover(thread)
        while True:
            with self._state:
                if not self._forks:
                    self._calls.add(thread)
                    return
            if not _wait(lambda: not self._forks, until=until):
                raise StoreBusy(f"{self._path}: this process is forking for longer than the time allowed")

    def _end(self) -> None:
        if self._writing._is_owned():  # type: ignore[attr-defined] # what threading.Condition uses
            self._writing.release()
        with self._state:
            self._calls.discard(threading.get_ident())

    def _recover(self, thread: int) -> None:
        """Undo what is left of a call of this thread that a signal handler ended by raising, between any two steps."""
        if thread not in self._calls and not self._writing._is_owned():  # type: ignore[attr-defined]
            return
        with self._state:
            for connection in [each for each, user in self._in_use.items() if user == thread]:
                del self._in_use[connection]
                connection.close()
        while self._writing._is_owned():  # type: ignore[attr-defined]
            self._writing.release()

    def _attempt(self, work: Work[T], until: float) -> T:
        while True:
            connection, identity = self._take(until)
            reusable = True
            try:
                return work(connection)
            except sqlite3.Error as error:
                reusable = errors.is_busy(error)
                if not reusable or monotonic() >= until:
                    raise errors.translate(error, self._path) from error
            finally:
                self._give_back(connection, identity, reusable)
            time.sleep(random.uniform(*RETRY_INTERVALS))

    def _take(self, until: float) -> tuple[sqlite3.Connection, Identity]:
        current = identity_of(self._path)
        with self._state:
            while self._idle:
                connection, identity = self._idle.pop()
                if identity == current:
                    self._in_use[connection] = threading.get_ident()
                    return connection, identity
                connection.close()  # the file was replaced or deleted: what it had is no longer in the store
        self.check_usable()
        connection, identity = opening.open_database(
            self._path, self._schema, timeout=max(0.0, until - monotonic()), log=self._log
        )
        with self._state:
            self._in_use[connection] = threading.get_ident()
        return connection, identity

    def _give_back(self, connection: sqlite3.Connection, identity: Identity, reusable: bool) -> None:
        with self._state:
            mine = self._in_use.pop(connection, None) is not None  # unless _recover() has closed it
            if mine and reusable and not connection.in_transaction and not self._closed and len(self._idle) < MAX_IDLE:
                self._idle.append((connection, identity))
            else:
                connection.close()


def _wait(condition: Callable[[], bool], *, until: float) -> bool:
    """Wait for something rare; return whether it came. No condition variable: a signal can leave its lock held."""
    while not condition():
        if monotonic() >= until:
            return False
        time.sleep(0.001)
    return True


def _transact(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                connection.execute("ROLLBACK")
        raise
    return result
