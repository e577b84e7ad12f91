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
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    StoreBusy,
)
from django_etcdaero.records.life import check_usable
from django_etcdaero.stores.aerospike import AerospikeAddress
from django_etcdaero.system import forks, gevent_pool
from django_etcdaero.system.call_limit import bounded_seconds
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.uninterrupted import raised_inside

from . import errors, probe
from .client_config import check_files, client_config
from .detached import Detached

if TYPE_CHECKING:
    from .native_client import NativeClient

T = TypeVar("T")

CONNECT_TIMEOUT = 1.0
"""Seconds that the native client waits for a node to connect to or to ask about the cluster."""

CLOSE_TIMEOUT = 1.0
"""Seconds that :meth:`Connection.close` waits for calls under way."""

PAUSES = {**dict.fromkeys(errors.REFUSED, (0.001, 0.1)), **dict.fromkeys(errors.AWAY, (0.1, 0.5))}
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


class Connection:
    """Runs calls on the one :class:`.native_client.NativeClient` of this process.

    ``timeout``: seconds that a call without one may take.
    """

    def __init__(self, address: AerospikeAddress, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._pid = os.getpid()
        self._greenlets = gevent_pool.patched()
        self._closed = False
        self._connecting = threading.Lock()  # guards the next
        self._detached = Detached()
        self._lock = threading.RLock()  # guards what follows
        self._state = threading.Condition(self._lock)  # the same; for each call the lock itself, which costs less
        self._client: NativeClient | None = None
        self._calls = 0
        self._forks = 0

    def until(self, timeout: float | None) -> float:
        """Return the deadline of a call that may take ``timeout`` seconds, by :func:`time.monotonic`."""
        return monotonic() + bounded_seconds(min(self._timeout if timeout is None else timeout, MAX_CALL))

    def check_usable(self) -> None:
        """Raise ``Cancelled`` after :meth:`close` or :meth:`abandon`, ``ConfigurationError`` in another process."""
        if os.getpid() == self._pid:
            if not self._closed:
                return
        else:
            self.abandon()
        check_usable(self._address.safe, pid=self._pid, closed=self._closed)

    def check_deadline(self, until: float) -> None:
        """Raise ``DeadlineExceeded`` after ``until``. For between two steps of a call; the first one is always made."""
        if monotonic() > until:
            raise DeadlineExceeded(f"{self._address.safe}: the time allowed ran out between two steps of the call")

    def run(
        self,
        call: Callable[[NativeClient, int], T],
        until: float,
        *,
        write: bool = False,
        ttl: int | None = None,
        expected: tuple[int, ...] = (),
        again: Collection[int] = errors.REFUSED,
    ) -> tuple[int, T | None]:
        """Return ``(0, call(client, milliseconds))``, or a result code of ``expected`` and ``None``.

        Results in ``again`` lead to another attempt as long as there is time. Every other result is raised as an error
        of this package; see :func:`.errors.translate`.
        """
        attempts = 0
        while True:
            client = self._begin(until)
            try:
                try:
                    if self._greenlets:
                        return errors.OK, _in_pool(call, client, until)
                    return errors.OK, call(client, _milliseconds(until))
                except SystemError as error:
                    raise raised_inside(error) from None
            except client.raised as error:
                code, in_doubt = error.code or 0, write and bool(error.in_doubt)
                if code in expected and not in_doubt:
                    return code, None
                pause = _pause(code, attempts)
                if in_doubt or code not in again or monotonic() + pause + LAST_ATTEMPT > until:
                    asked = ttl is not None and code == errors.FORBIDDEN
                    refused = ttl if asked and _in_pool(_takes_no_ttl, client, until) else None
                    raise errors.translate(
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
        self._close_idle_client()
        if self._connecting.acquire(timeout=CLOSE_TIMEOUT):  # else who connects does the same
            try:
                self._detached.when_late(CLIENT, lambda client: client.close())
            finally:
                self._connecting.release()

    def before_fork(self, timeout: float) -> None:
        """Let no call begin, wait ``timeout`` seconds at most for those under way, and close the client.

        If some go on even then the client stays open for them: the child will leak it (:meth:`abandon`).
        """
        with self._state:
            self._forks += 1
            self._state.wait_for(lambda: not self._calls, timeout=timeout)
        self._close_idle_client()

    def after_fork_in_parent(self) -> None:
        """Let calls begin again."""
        with self._state:
            self._forks -= 1
            self._state.notify_all()

    def abandon(self) -> None:
        """Forget the client without touching it. Takes no lock: its holder may not exist in this process."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            # A reference that nobody owns: one from a module would be dropped at exit, and the client destroyed then.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(client.native))
        self._detached.leak()

    def _begin(self, until: float) -> NativeClient:
        self.check_usable()
        with self._lock:
            if self._forks and not self._state.wait_for(lambda: not self._forks, max(0.0, until - monotonic())):
                raise StoreBusy(f"{self._address.safe}: this process is forking for longer than the time allowed")
            self._calls += 1
        try:
            return self._client or self._connect(until)
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        with self._lock:
            self._calls -= 1
            if self._calls:
                return
            if self._forks or self._closed:
                self._state.notify_all()
        if self._closed:
            self._close_idle_client()

    def _connect(self, until: float) -> NativeClient:
        if not self._connecting.acquire(timeout=max(0.0, until - monotonic())):
            raise DeadlineExceeded(f"{self._address.safe}: still connecting when the time allowed ran out")
        try:
            self.check_usable()
            if self._client is None:
                self._client = _open(self._address, until, self._detached)
            return self._client
        finally:
            if self._closed:
                self._detached.when_late(CLIENT, lambda client: client.close())
            self._connecting.release()

    def _close_idle_client(self) -> None:
        with forks.postponed():
            with self._state:
                if self._calls:
                    return
                client, self._client = self._client, None
            if client is not None:
                client.close()


def _open(address: AerospikeAddress, until: float, detached: Detached) -> NativeClient:
    """Return a connected client, or raise ``ClusterError``, ``DeadlineExceeded`` or what the server refuses with."""
    try:
        with forks.postponed():
            from .native_client import NativeClient  # here: this is where the package aerospike is needed first
    except ImportError as error:
        raise ConfigurationError(f"{address.safe}: the Python package aerospike cannot be imported: {error}") from error
    check_files(address)
    found = probe.probe(address, until, detached)
    if not found.answering:
        text = f"{address.safe}: no node can be reached: " + "; ".join(map(": ".join, found.errors.items()))
        raise DeadlineExceeded(text) if found.silent else ClusterError(text, found.errors)
    # The client looks up all names that it is given before it asks the first host.
    hosts = found.answering + [host for host in address.endpoints if host not in {*found.answering, *found.nameless}]

    def connect() -> NativeClient:
        client = NativeClient(address, client_config(address, hosts, CONNECT_TIMEOUT))
        if client.connected():
            return client
        client.close()
        # It does not say why (a wrong password, for one); a client that must connect does.
        return NativeClient(address, client_config(address, found.answering, CONNECT_TIMEOUT, must_connect=True))

    try:
        return detached.result(CLIENT, lambda: gevent_pool.blocking(connect), until - monotonic())
    except TimeoutError as error:
        raise DeadlineExceeded(f"{address.safe}: still connecting when the time allowed ran out") from error
    except NativeClient.raised as error:
        said = str(error.msg or "")
        if address.tls is not None and error.code in errors.NO_CONNECTION:
            # That is all it says when the encryption does not come about; the hosts themselves have just answered.
            name = address.tls.name or "', '".join(host for host, _ in found.answering)
            said = f"no encrypted connection ({said}): is the port for TLS, its certificate trusted and for '{name}'?"
        raise errors.translate(address, error.code or 0, said, in_doubt=False, ttl=None) from error


def _in_pool(call: Callable[[NativeClient, int], T], client: NativeClient, until: float) -> T:
    return gevent_pool.blocking(lambda: call(client, _milliseconds(until)))


def _milliseconds(until: float) -> int:
    return max(1, math.ceil((until - monotonic()) * 1000))


def _pause(code: int, attempts: int) -> float:
    shortest, longest = PAUSES.get(code, (0.0, 0.0))
    doubled: float = shortest * 2 ** min(attempts, 16)
    return min(longest, doubled) * random.uniform(0.5, 1.0)


def _takes_no_ttl(client: NativeClient, ms: int) -> bool:
    """Tell whether a namespace that has just forbidden a write forbids every one with a time to live."""
    try:
        return client.takes_no_ttl(ms)
    except client.raised:
        return True  # as a server does that nobody has configured
