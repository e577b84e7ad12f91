"""A SQLite connection that threads take turns on, and how it notices that its file is not the same any more.

Reading and writing use two connections, so that a read never waits for a writer that waits for another process. A
connection is used by one thread at a time, for one short transaction; no code of a user runs meanwhile. Waiting for
the turn and for other processes is bounded by one deadline, after which ``StoreBusy`` is raised.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from django_etcdaero.exceptions import Cancelled, EtcdAeroError, StoreBusy, StoreFull
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.sqlite import errors, opening
from django_etcdaero.system.sqlite.kept_log import KeptLog
from django_etcdaero.system.sqlite.path import Identity, identity_of
from django_etcdaero.system.sqlite.without_room import read_without_room

from .schema import SCHEMA

T = TypeVar("T")
Work = Callable[[sqlite3.Cursor], T]


class GuardedConnection:
    """One connection with its lock. Every method may be called from any thread."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.identity: Identity | None = None
        """The file the connection was opened on; ``None`` for memory."""
        self.without_room = False
        """Whether each read opens the file anew, because there is no room to keep it open."""
        # Re-entrant only because it knows its owner: see _recover().
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._resting = threading.local()
        self._opens = 0
        """How often the place was opened."""

    def glance(self) -> tuple[object, ...]:
        """Return what differs from call to call if the files were written or replaced, as far as their times tell.

        They tell nothing of two writes in one tick of the file system's clock. Costs two system calls.
        """
        return tuple(map(_stamp, (self.place, self.place + "-wal")))

    def state(self, timeout: float) -> tuple[int, int]:
        """Return what differs from call to call if another connection has written in between, or it was opened anew."""
        (version,) = self.read(lambda cursor: cursor.execute("PRAGMA data_version").fetchone(), timeout)
        return self._opens, version

    def read(self, work: Work[T], timeout: float) -> T:
        """Return ``work(cursor)``, done in no transaction or in one that it ends itself; it may be called twice."""

        def use() -> T:
            try:
                return work(self._current(timeout))
            except sqlite3.Error as error:
                if not errors.is_busy(error):
                    raise
                self._undo()
                return self._insist(work, monotonic() + timeout)

        return self._use(use, timeout)

    def write(self, work: Work[T], timeout: float) -> T:
        """Return ``work(cursor)``, done in one write transaction that is undone when it raises."""
        deadline = monotonic() + timeout

        def use() -> T:
            cursor = self._insist(_begin, deadline)
            result = work(cursor)
            cursor.execute("COMMIT")
            return result

        return self._use(use, timeout)

    def close(self, timeout: float) -> None:
        """Close the connection; one that is stuck in somebody's call for longer than ``timeout`` seconds is left."""
        with suppress(StoreBusy):
            self._use(self._drop, timeout)

    def rest(self, timeout: float) -> None:
        """Wait ``timeout`` seconds at most until nobody uses the connection, and let nobody until :meth:`resume`.

        Each engine that shares the connection orders it, and ends it.
        """
        if self._rests or (not self._owned() and self._lock.acquire(timeout=max(timeout, 0))):
            self._resting.orders = self._rests + 1

    def resume(self) -> None:
        """End a rest that this thread has ordered."""
        if self._rests:
            self._resting.orders -= 1
            if not self._rests:
                self._lock.release()

    @property
    def _rests(self) -> int:
        """How many rests this thread has ordered that have not ended."""
        orders: int = getattr(self._resting, "orders", 0)
        return orders

    def leak(self) -> None:
        """Forget a connection inherited through a fork, in a way that nothing ever closes it: takes no lock."""
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            opening.leak(connection)

    # for the two kinds of place --------------------------------------------------------------------------------------

    def _current(self, timeout: float) -> sqlite3.Cursor:
        """Return a cursor on what the place holds now; raise ``Cancelled`` once the connection is closed."""
        if self._cursor is None:
            raise Cancelled(f"{self.place} was closed")
        return self._cursor

    def _fault(self, error: sqlite3.Error) -> EtcdAeroError:
        return errors.translate(error, self.place)

    # ------------------------------------------------------------------------------------------------------------------

    def _use(self, use: Callable[[], T], timeout: float) -> T:
        """Return ``use()``, called in the turn of this thread. What it leaves is undone, and errors are translated.

        A signal handler may raise between any two steps. ``with`` gives the lock back whatever happens; what is left
        of a transaction, if undoing it was interrupted, is undone by whoever comes next.
        """
        self._recover()
        inside = False
        try:
            if not self._lock.acquire(blocking=False):
                self._wait_for_turn(timeout)
            with self._lock:
                inside = True
                self._lock.release()  # ``with`` has taken it a second time, to give it back in the end
                try:
                    self._undo()
                    return use()
                except sqlite3.Error as error:
                    raise self._fault(error) from error
                finally:
                    try:
                        self._undo()
                    except sqlite3.Error:
                        self._drop()  # what cannot be undone is undone by the next connection that opens the file
        finally:
            if not inside and self._owned() and not self._nested():
                self._lock.release()

    def _wait_for_turn(self, timeout: float) -> None:
        if not self._lock.acquire(timeout=min(max(timeout, 0), threading.TIMEOUT_MAX)):
            raise StoreBusy(f"{self.place} is held by another thread of this process")

    def _insist(self, work: Work[T], deadline: float) -> T:
        """Return ``work(cursor)``, trying again until ``deadline`` while another process is in the way."""
        while True:
            try:
                return work(self._current(deadline - monotonic()))
            except sqlite3.Error as error:
                if not errors.is_busy(error) or monotonic() >= deadline:
                    raise
                self._undo()
            # Shorter than SQLite's own handler, whose steps of up to 0.1 s let eager writers starve patient ones.
            time.sleep(random.uniform(0.0002, 0.002))

    def _undo(self) -> None:
        connection = self._connection
        if connection is not None and connection.in_transaction:
            connection.rollback()

    def _owned(self) -> bool:
        owned: bool = self._lock._is_owned()  # type: ignore[attr-defined] # what threading.Condition uses
        return owned

    def _recover(self) -> None:
        """End the call that this thread is in, if a signal handler uses the store that has interrupted one.

        The cursor of that call is closed, so that it fails instead of going on outside its transaction.
        """
        if not self._owned():
            return
        with suppress(sqlite3.Error):
            if self._cursor is not None:
                self._cursor.close()
            self._undo()
        if self._connection is not None:
            self._cursor = self._connection.cursor()
        while not self._nested() and self._owned():  # nobody is: two handlers have raised, one after the other
            self._lock.release()

    def _nested(self) -> bool:
        """Tell whether this thread is inside of another call, which a signal handler has interrupted."""
        frame = sys._getframe().f_back
        code, calls = GuardedConnection._use.__code__, 0
        while frame is not None:
            calls += frame.f_code is code and frame.f_locals.get("self") is self
            frame = frame.f_back
        return calls > 1

    def _drop(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.close()


class MemoryConnection(GuardedConnection):
    """The one connection to a store in memory: its data lives as long as it does."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self._connection = opening.open_memory(SCHEMA)
        self._cursor = self._connection.cursor()


class FileConnection(GuardedConnection):
    """A connection to a store in a file; it follows the file's name when the file is replaced."""

    def __init__(self, path: str, *, log: KeptLog, opened: Work[None] | None = None) -> None:
        """Make a connection to the store at ``path`` (absolute); the first call opens it.

        ``log`` is shared by all connections of one engine. ``opened`` is called with a cursor each time a file is
        opened, outside of any transaction. Opening raises what :func:`.opening.open_database` raises.
        """
        super().__init__(path)
        self._log = log
        self._opened = opened
        self._closed = False

    def read(self, work: Work[T], timeout: float) -> T:
        deadline = monotonic() + timeout
        try:
            return super().read(work, timeout)
        except StoreFull as error:
            refused = error

        def use() -> T:
            result, self.identity = read_without_room(
                self.place,
                SCHEMA,
                lambda connection: work(connection.cursor()),
                refused,
                deadline=deadline,
                log=self._log,
            )
            self.without_room = True
            return result

        return self._use(use, deadline - monotonic())

    def close(self, timeout: float) -> None:
        self._closed = True
        super().close(timeout)

    def open(self, timeout: float) -> None:
        """Open the store now, making it if need be."""
        self.read(lambda cursor: None, timeout)

    def rest(self, timeout: float) -> None:
        super().rest(timeout)
        if self._rests:
            # A connection that is open at the fork makes SQLite in the child believe that the process holds locks on
            # the file. It would use the file without them, and whoever closes last would take the log away from it.
            # Closing it in the child is no way out (https://www.sqlite.org/howtocorrupt.html, section 2.6).
            self._drop()

    def leak(self) -> None:
        self._closed = True
        super().leak()

    def _current(self, timeout: float) -> sqlite3.Cursor:
        if self._cursor is None or identity_of(self.place) != self.identity:
            self._open(timeout)
        assert self._cursor is not None
        return self._cursor

    def _fault(self, error: sqlite3.Error) -> EtcdAeroError:
        if errors.is_damage(error):
            self._drop()  # the next call looks at the file afresh: it may have been repaired meanwhile
        return super()._fault(error)

    def _open(self, timeout: float) -> None:
        if self._closed:
            raise Cancelled(f"{self.place} was closed")
        self._drop()
        self._connection, opened = opening.open_database(self.place, SCHEMA, timeout=max(timeout, 0.05), log=self._log)
        cursor = self._connection.cursor()
        try:
            if self._opened is not None:
                self._opened(cursor)
        except BaseException:
            self._undo()
            self._drop()
            raise
        self._cursor, self.identity, self.without_room = cursor, opened, False
        self._opens += 1


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _begin(cursor: sqlite3.Cursor) -> sqlite3.Cursor:
    return cursor.execute("BEGIN IMMEDIATE")
