"""The connections of one :class:`~django_etcdaero.records.database.store.DatabaseStore` in one process.

They are never those of ``django.db.connections``: what a store writes is no part of a transaction of its caller, and
stays when that is rolled back. Few are open at a time, each used by one thread; a call waits for one of them as long as
it has time. One that nobody has used for a while is closed, by a thread that runs as long as there are any. The same
thread shuts down the network below a call that its server does not end in time, as a frozen one or a lost network
would not.

No call begins while the process forks; what is idle then is closed, and what a child inherits all the same is leaked.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import Error as DatabaseError
from django.db import NotSupportedError

from django_etcdaero.exceptions import (
    ConfigurationError,
    EtcdAeroError,
    InvalidRequest,
    StoreBusy,
)
from django_etcdaero.records.life import check_usable
from django_etcdaero.stores.database import DatabaseAddress
from django_etcdaero.system import forks
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Condition, Flag
from django_etcdaero.system.threads import Background, wait_for

from . import errors
from .dialect import Fault
from .session import DIALECTS, Session

T = TypeVar("T")
Work = Callable[[Session], T]

MOST: Final = 4
"""Connections of one store in one process at most."""

IDLE_SECONDS: Final = 10.0
"""A connection that nobody has used for so long is closed."""

GRACE: Final = 0.5
"""Seconds that a server may be late in ending a statement by itself, before the connection is shut down."""

TICK: Final = 0.25
"""Seconds between two looks at what is overdue and what is idle."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that :meth:`Connections.close` waits for calls that are under way."""

PAUSES: Final = (0.001, 0.02)
"""Shortest and longest time in seconds before a statement is repeated that the database undid."""


class Connections:
    """Runs work on them. ``timeout``: seconds that a call without one may take."""

    def __init__(self, address: DatabaseAddress, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._pid = os.getpid()
        self._closed = False
        self._ended = Flag()
        self._state = Condition()  # guards what follows
        self._idle: list[Session] = []
        self._calls: dict[int, Session | None] = {}
        """By thread; ``None`` as long as it connects."""
        self._forks = 0
        self._watch: Background | None = None

    def until(self, timeout: float | None) -> float:
        """Return the deadline of a call that may take ``timeout`` seconds, by :func:`time.monotonic`."""
        return monotonic() + (self._timeout if timeout is None else timeout)

    def check_usable(self) -> None:
        """Raise ``Cancelled`` after :meth:`close` or :meth:`abandon`, ``ConfigurationError`` in another process."""
        check_usable(self._address.safe, pid=self._pid, closed=self._closed)

    def run(self, work: Work[T], until: float, *, write: bool) -> T:
        """Return ``work(session)``, which must have no effects but in the database.

        It is run again, as long as there is time, when the database has undone it for the sake of others, and when it
        only reads and a connection that was idle turns out to be broken.
        """
        self._begin(until)
        try:
            while True:
                session, fresh = self._take(until)
                try:
                    result = work(session)
                except DatabaseError as error:
                    if not self._again(session, error, until, write=write or fresh):
                        fault = self._fault(session, error)
                        raise errors.translate(
                            self._address, error, fault, write=write, late=session.broken_off
                        ) from error
                except SynchronousOnlyOperation as error:
                    raise self._in_event_loop() from error
                except EtcdAeroError:
                    session.sound = not session.broken_off
                    raise
                else:
                    session.sound = not session.broken_off
                    return result
                self._drop(session)
        finally:
            self._end()

    # life ------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what is idle now, and the rest as soon as it is; wait for that ``CLOSE_TIMEOUT`` at most."""
        if os.getpid() != self._pid:
            self.abandon()
            return
        self._closed = True
        self.close_idle()
        with self._state:
            self._state.notify_all()
            wait_for(self._state, lambda: not self._calls, CLOSE_TIMEOUT)
            watch = self._watch
        self._ended.set()
        if watch is not None:
            watch.join(CLOSE_TIMEOUT)

    def close_idle(self) -> None:
        """Close the connections that nobody uses. The next call opens another."""
        with forks.postponed():
            with self._state:
                idle, self._idle = self._idle, []
            for session in idle:
                session.close()

    def before_fork(self, timeout: float) -> None:
        """Let no call begin, wait ``timeout`` seconds at most for those under way, and close what is idle."""
        with self._state:
            self._forks += 1
            self._state.wait_for(lambda: not self._calls, timeout)
        self.close_idle()

    def after_fork_in_parent(self) -> None:
        """Let calls begin again."""
        with self._state:
            self._forks -= 1
            self._state.notify_all()

    def abandon(self) -> None:
        """Forget everything without touching it. Takes no lock: its holder may not exist in this process."""
        self._closed = True
        self._ended = Flag()
        self._ended.set()
        for session in (*self._idle, *self._calls.values()):
            if session is not None:
                session.leak()
        self._idle, self._calls = [], {}

    # a call ----------------------------------------------------------------------------------------------------------

    def _begin(self, until: float) -> None:
        self.check_usable()
        thread = threading.get_ident()
        with self._state:
            if thread in self._calls:  # left by a call of this thread that a signal handler ended by raising
                self._give_up(thread)
            free = wait_for(
                self._state,
                lambda: self._closed or (not self._forks and len(self._calls) < MOST),
                max(0.0, until - monotonic()),
            )
            self.check_usable()
            if not free:
                why = "this process is forking" if self._forks else f"all {MOST} connections of this process are in use"
                raise StoreBusy(f"{self._address.safe}: {why} for longer than the time allowed")
            self._calls[thread] = None

    def _end(self) -> None:
        thread = threading.get_ident()
        with self._state:
            session = self._calls.get(thread)
            if session is None or (session.sound and not self._closed and not self._forks):
                if session is not None:
                    session.idle_since = monotonic()
                    self._idle.append(session)
                self._ended_call(thread)
                return
        try:
            session.close()  # as a part of the call, because a fork waits for its end
        finally:
            with self._state:
                self._ended_call(thread)

    def _ended_call(self, thread: int) -> None:
        self._calls.pop(thread, None)
        self._state.notify_all()

    def _give_up(self, thread: int) -> None:
        session = self._calls.pop(thread)
        if session is not None:
            session.close()

    def _take(self, until: float) -> tuple[Session, bool]:
        """Return a connection, and whether it was just made."""
        fresh = False
        while True:
            with self._state:
                session = self._idle.pop() if self._idle else None
            if session is None:
                session, fresh = self._connect(until), True
            elif not session.fits():
                session.close()
                continue
            session.until = until
            session.sound = False  # until the work has ended as it should
            with self._state:
                self._calls[threading.get_ident()] = session
                if self._watch is None:
                    self._watch = Background(self._look_after, name="etcdaero-database")
                    self._watch.start()
            return session, fresh

    def _connect(self, until: float) -> Session:
        place, seconds = self._address.safe, max(0.0, until - monotonic())
        try:
            return Session(self._address.alias, seconds)
        except SynchronousOnlyOperation as error:
            raise self._in_event_loop() from error
        except (ImportError, ImproperlyConfigured, NotSupportedError) as error:  # no driver; too old a server
            raise ConfigurationError(f"{place}: {errors.one_line(error)}") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"{place}: {error}") from error
        except DatabaseError as error:
            late = monotonic() > until - TICK
            raise errors.unconnected(self._address, error, _connecting(error), late=late) from error

    def _drop(self, session: Session) -> None:
        """Give a connection back in the middle of a call, or close it."""
        with self._state:
            self._calls[threading.get_ident()] = None
            if session.sound:
                self._idle.append(session)
        if not session.sound:
            session.close()

    def _again(self, session: Session, error: DatabaseError, until: float, *, write: bool) -> bool:
        """Tell whether to try once more after an error; ``write``: not on account of a broken connection."""
        fault = self._fault(session, error)
        session.sound = fault not in (Fault.BROKEN, Fault.OTHER)
        if fault is Fault.BROKEN:
            if write or session.broken_off or monotonic() > until:
                return False
            self.close_idle()  # a server that was started anew has ended all of them
            return True
        pause = random.uniform(*PAUSES)
        if fault is not Fault.AGAIN or monotonic() + pause > until:
            return False
        time.sleep(pause)
        return True

    def _fault(self, session: Session, error: DatabaseError) -> Fault:
        return Fault.BROKEN if session.broken_off else session.dialect.fault(error)

    def _in_event_loop(self) -> InvalidRequest:
        return InvalidRequest(
            f"{self._address.safe}: a call that blocks was made in an event loop, where Django uses no database; "
            "make it in a thread, as asgiref's sync_to_async() and asyncio.to_thread() do"
        )

    # the thread ------------------------------------------------------------------------------------------------------

    def _look_after(self) -> None:
        while self._look():
            self._ended.wait(TICK)

    def _look(self) -> bool:
        """End what is overdue and close what is idle; return whether there is anything left to look after."""
        with self._state:
            now = monotonic()
            for session in self._calls.values():
                if session is not None and not session.broken_off and now > session.until + GRACE:
                    session.break_off()
            old = [each for each in self._idle if now > each.idle_since + IDLE_SECONDS]
            self._idle = [each for each in self._idle if each not in old]
            going_on = bool(self._idle or self._calls) and os.getpid() == self._pid
            if not going_on:
                self._watch = None
        for session in old:
            session.close()
        return going_on


def _connecting(error: DatabaseError) -> Fault:
    faults = [dialect(None).fault(error) for dialect in DIALECTS.values()]
    return next((fault for fault in faults if fault not in (Fault.BROKEN, Fault.OTHER)), Fault.BROKEN)
