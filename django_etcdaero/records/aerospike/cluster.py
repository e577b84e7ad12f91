"""The native client of one store in one process: made by the first call, shared by threads, never inherited.

A client that lives through a fork is poison: used by both sides it gives them each other's answers, and destroyed in
the child it crashes or hangs (measured). So it is closed before a fork, when no call is under way, and made anew
afterwards; and whatever a child inherits all the same is kept from being destroyed for ever.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    StoreBusy,
)

from . import faults, probe
from .target import Target

if TYPE_CHECKING:
    from .session import Session

T = TypeVar("T")

CONNECT_TIMEOUT = 1.0
"""Seconds that the native client waits for a node to connect to or to ask about the cluster."""

CLOSE_TIMEOUT = 1.0
"""Seconds that :meth:`Cluster.close` waits for calls under way."""

MAX_CALL = 86_400.0
"""Seconds that a command may take at most, whatever it is allowed: the client counts milliseconds in 32 bits."""


class Cluster:
    """Runs calls on the one :class:`.session.Session` of this process. ``timeout``: seconds of a call without one."""

    def __init__(self, target: Target, timeout: float) -> None:
        self._target = target
        self._timeout = timeout
        self._pid = os.getpid()
        self._closed = False
        self._connecting = threading.Lock()
        self._state = threading.Condition()  # guards what follows
        self._session: Session | None = None
        self._calls = 0
        self._forks = 0

    def until(self, timeout: float | None) -> float:
        """Return the deadline of a call that may take ``timeout`` seconds, by :func:`time.monotonic`."""
        return time.monotonic() + min(self._timeout if timeout is None else timeout, MAX_CALL)

    def check_usable(self) -> None:
        """Raise ``Cancelled`` after :meth:`close` or :meth:`abandon`, ``ConfigurationError`` in another process."""
        if os.getpid() != self._pid:
            self.abandon()
            raise ConfigurationError(
                f"{self._target.url}: opened in process {self._pid} and used in process {os.getpid()}; "
                "call abandon() after a fork and open another store"
            )
        if self._closed:
            raise Cancelled(f"{self._target.url}: the store is closed")

    def check_deadline(self, until: float) -> None:
        """Raise ``DeadlineExceeded`` after ``until``. For between two steps of a call; the first one is always made."""
        if time.monotonic() > until:
            raise DeadlineExceeded(f"{self._target.url}: the time allowed ran out between two steps of the call")

    def run(
        self,
        call: Callable[[Session, int], T],
        until: float,
        *,
        write: bool = False,
        ttl: int | None = None,
        expected: tuple[int, ...] = (),
    ) -> tuple[int, T | None]:
        """Return ``(0, call(session, milliseconds))``, or a result code of ``expected`` and ``None``.

        Every other result is raised as an error of this package; see :func:`.faults.translate`.
        """
        session = self._begin(until)
        try:
            return faults.OK, call(session, max(1, math.ceil((until - time.monotonic()) * 1000)))
        except session.errors as error:
            code, in_doubt = error.code or 0, write and bool(error.in_doubt)
            if code in expected and not in_doubt:
                return code, None
            raise faults.translate(self._target, code, str(error.msg or ""), in_doubt=in_doubt, ttl=ttl) from error
        finally:
            self._end()

    # --- life --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let no call begin, wait ``CLOSE_TIMEOUT`` at most for those under way; the last of them closes the client."""
        if os.getpid() != self._pid:
            self.abandon()
            return
        self._closed = True
        with self._state:
            self._state.wait_for(lambda: not self._calls, timeout=CLOSE_TIMEOUT)
        self._close_idle_session()

    def before_fork(self, timeout: float) -> None:
        """Let no call begin, wait ``timeout`` seconds at most for those under way, and close the client.

        If some go on even then the client stays open for them: the child will leak it (:meth:`abandon`).
        """
        with self._state:
            self._forks += 1
            self._state.wait_for(lambda: not self._calls, timeout=timeout)
        self._close_idle_session()

    def after_fork_in_parent(self) -> None:
        """Let calls begin again."""
        with self._state:
            self._forks -= 1
            self._state.notify_all()

    def abandon(self) -> None:
        """Forget the client without touching it. Takes no lock: its holder may not exist in this process."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            # A reference that nobody owns: one from a module would be dropped at exit, and the client destroyed then.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session.client))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _begin(self, until: float) -> Session:
        self.check_usable()
        with self._state:
            if not self._state.wait_for(lambda: not self._forks, timeout=max(0.0, until - time.monotonic())):
                raise StoreBusy(f"{self._target.url}: this process is forking for longer than the time allowed")
            self._calls += 1
        try:
            return self._session or self._connect(until)
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        with self._state:
            self._calls -= 1
            if self._calls:
                return
            self._state.notify_all()
        if self._closed:
            self._close_idle_session()

    def _connect(self, until: float) -> Session:
        if not self._connecting.acquire(timeout=max(0.0, until - time.monotonic())):
            raise DeadlineExceeded(f"{self._target.url}: still connecting when the time allowed ran out")
        try:
            self.check_usable()
            if self._session is None:
                self._session = _open(self._target, until)
            return self._session
        finally:
            self._connecting.release()

    def _close_idle_session(self) -> None:
        with self._state:
            if self._calls:
                return
            session, self._session = self._session, None
        if session is not None:
            session.close()


def _open(target: Target, until: float) -> Session:
    """Return a connected session, or raise ``ClusterError``, ``DeadlineExceeded`` or what the server refuses with."""
    try:
        from .session import Session  # here: this is where the package aerospike is needed first
    except ImportError as error:
        raise ConfigurationError(f"{target.url}: the Python package aerospike cannot be imported: {error}") from error
    target.check_files()
    found = probe.probe(target, until)
    if not found.answering:
        raise _unreachable(target, found.errors, silent=found.silent)
    try:
        session = Session(target, target.client_config(probe.in_order(target.hosts, found.answering), CONNECT_TIMEOUT))
        if session.connected():
            return session
        session.close()
        # It does not say why (a wrong password, for one); a client that must connect does.
        return Session(target, target.client_config(found.answering, CONNECT_TIMEOUT, must_connect=True))
    except Session.errors as error:
        said = str(error.msg or "")
        if target.tls is not None and error.code in faults.NO_CONNECTION:
            # That is all it says when the encryption does not come about; the hosts themselves have just answered.
            name = target.tls.name or "', '".join(host for host, _ in found.answering)
            said = f"no encrypted connection ({said}): is the port for TLS, its certificate trusted and for '{name}'?"
        raise faults.translate(target, error.code or 0, said, in_doubt=False, ttl=None) from error


def _unreachable(target: Target, errors: dict[str, str], *, silent: bool) -> ClusterError | DeadlineExceeded:
    text = f"{target.url}: no node can be reached: " + "; ".join(f"{host}: {error}" for host, error in errors.items())
    return DeadlineExceeded(text) if silent else ClusterError(text, errors)
