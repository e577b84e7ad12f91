"""The native client of one store in one process: made by the first call, shared by threads, never inherited.

A client that lives through a fork is poison: used by both sides it gives them each other's answers, and destroyed in
the child it crashes or hangs (measured). So it is closed before a fork, when no call is under way, and made anew
afterwards; and whatever a child inherits all the same is kept from being destroyed for ever.
"""

from __future__ import annotations

import ctypes
import math
import os
import random
import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, TypeVar

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    StoreBusy,
)
from django_etcdaero.stores.aerospike import AerospikeAddress
from django_etcdaero.system import forks

from . import faults, probe
from .client_config import check_files, client_config
from .detached import Detached

if TYPE_CHECKING:
    from .session import Session

T = TypeVar("T")

CONNECT_TIMEOUT = 1.0
"""Seconds that the native client waits for a node to connect to or to ask about the cluster."""

CLOSE_TIMEOUT = 1.0
"""Seconds that :meth:`Cluster.close` waits for calls under way."""

PAUSES = {**dict.fromkeys(faults.REFUSED, (0.001, 0.1)), **dict.fromkeys(faults.AWAY, (0.1, 0.5))}
"""By result code the shortest and longest time in seconds between two attempts; each has jitter and doubles it.

Those of a node that is away are so long because the client refuses all commands of a node that had 100 failures in a
second, also those that would succeed.
"""

LAST_ATTEMPT = 0.1
"""Seconds that must be left for another attempt: one that is cut short says less than the refusal before it."""

CLIENT = "client"
"""Name of the detached call that makes the native client."""

MAX_CALL = 86_400.0
"""Seconds that a command may take at most, whatever it is allowed: the client counts milliseconds in 32 bits."""


class Cluster:
    """Runs calls on the one :class:`.session.Session` of this process. ``timeout``: seconds of a call without one."""

    def __init__(self, address: AerospikeAddress, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._pid = os.getpid()
        self._closed = False
        self._connecting = threading.Lock()  # guards the next
        self._detached = Detached()
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
                f"{self._address.safe}: opened in process {self._pid} and used in process {os.getpid()}; "
                "call abandon() after a fork and open another store"
            )
        if self._closed:
            raise Cancelled(f"{self._address.safe}: the store is closed")

    def check_deadline(self, until: float) -> None:
        """Raise ``DeadlineExceeded`` after ``until``. For between two steps of a call; the first one is always made."""
        if time.monotonic() > until:
            raise DeadlineExceeded(f"{self._address.safe}: the time allowed ran out between two steps of the call")

    def run(
        self,
        call: Callable[[Session, int], T],
        until: float,
        *,
        write: bool = False,
        ttl: int | None = None,
        expected: tuple[int, ...] = (),
        again: Collection[int] = faults.REFUSED,
    ) -> tuple[int, T | None]:
        """Return ``(0, call(session, milliseconds))``, or a result code of ``expected`` and ``None``.

        Results in ``again`` lead to another attempt as long as there is time. Every other result is raised as an error
        of this package; see :func:`.faults.translate`.
        """
        attempts = 0
        while True:
            session = self._begin(until)
            try:
                return faults.OK, call(session, _milliseconds(until))
            except session.errors as error:
                code, in_doubt = error.code or 0, write and bool(error.in_doubt)
                if code in expected and not in_doubt:
                    return code, None
                pause = _pause(code, attempts)
                if in_doubt or code not in again or time.monotonic() + pause + LAST_ATTEMPT > until:
                    asked = ttl is not None and code == faults.FORBIDDEN
                    refused = ttl if asked and _takes_no_ttl(session, until) else None
                    raise faults.translate(
                        self._address, code, str(error.msg or ""), in_doubt=in_doubt, ttl=refused
                    ) from error
            finally:
                self._end()
            time.sleep(pause)
            attempts += 1

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
        if self._connecting.acquire(timeout=CLOSE_TIMEOUT):  # else who connects does the same
            try:
                self._detached.when_late(CLIENT, lambda session: session.close())
            finally:
                self._connecting.release()

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
        self._detached.leak()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _begin(self, until: float) -> Session:
        self.check_usable()
        with self._state:
            if not self._state.wait_for(lambda: not self._forks, timeout=max(0.0, until - time.monotonic())):
                raise StoreBusy(f"{self._address.safe}: this process is forking for longer than the time allowed")
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
            raise DeadlineExceeded(f"{self._address.safe}: still connecting when the time allowed ran out")
        try:
            self.check_usable()
            if self._session is None:
                self._session = _open(self._address, until, self._detached)
            return self._session
        finally:
            if self._closed:
                self._detached.when_late(CLIENT, lambda session: session.close())
            self._connecting.release()

    def _close_idle_session(self) -> None:
        with self._state:
            if self._calls:
                return
            session, self._session = self._session, None
        if session is not None:
            session.close()


def _open(address: AerospikeAddress, until: float, detached: Detached) -> Session:
    """Return a connected session, or raise ``ClusterError``, ``DeadlineExceeded`` or what the server refuses with."""
    try:
        with forks.postponed():
            from .session import Session  # here: this is where the package aerospike is needed first
    except ImportError as error:
        raise ConfigurationError(f"{address.safe}: the Python package aerospike cannot be imported: {error}") from error
    check_files(address)
    found = probe.probe(address, until, detached)
    if not found.answering:
        raise _unreachable(address, found.errors, silent=found.silent)
    # The client looks up all names that it is given before it asks the first host.
    hosts = [host for host in probe.in_order(address.endpoints, found.answering) if host not in found.nameless]

    def connect() -> Session:
        session = Session(address, client_config(address, hosts, CONNECT_TIMEOUT))
        if session.connected():
            return session
        session.close()
        # It does not say why (a wrong password, for one); a client that must connect does.
        return Session(address, client_config(address, found.answering, CONNECT_TIMEOUT, must_connect=True))

    try:
        return detached.result(CLIENT, connect, until - time.monotonic())
    except TimeoutError as error:
        raise DeadlineExceeded(f"{address.safe}: still connecting when the time allowed ran out") from error
    except Session.errors as error:
        said = str(error.msg or "")
        if address.tls is not None and error.code in faults.NO_CONNECTION:
            # That is all it says when the encryption does not come about; the hosts themselves have just answered.
            name = address.tls.name or "', '".join(host for host, _ in found.answering)
            said = f"no encrypted connection ({said}): is the port for TLS, its certificate trusted and for '{name}'?"
        raise faults.translate(address, error.code or 0, said, in_doubt=False, ttl=None) from error


def _unreachable(address: AerospikeAddress, errors: dict[str, str], *, silent: bool) -> ClusterError | DeadlineExceeded:
    text = f"{address.safe}: no node can be reached: " + "; ".join(f"{host}: {error}" for host, error in errors.items())
    return DeadlineExceeded(text) if silent else ClusterError(text, errors)


def _milliseconds(until: float) -> int:
    return max(1, math.ceil((until - time.monotonic()) * 1000))


def _pause(code: int, attempts: int) -> float:
    shortest, longest = PAUSES.get(code, (0.0, 0.0))
    doubled: float = shortest * 2 ** min(attempts, 16)
    return min(longest, doubled) * random.uniform(0.5, 1.0)


def _takes_no_ttl(session: Session, until: float) -> bool:
    """Tell whether a namespace that has just forbidden a write forbids every one with a time to live."""
    try:
        return session.takes_no_ttl(_milliseconds(until))
    except session.errors:
        return True  # as a server does that nobody has configured
