"""One connection of our own to a database: a copy of Django's, which no code of the project's ever sees."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import math
import os
import select
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connections
from django.db.utils import load_backend

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system import forks
from django_etcdaero.system.clocks import monotonic

from .dialect import Dialect
from .execution import Result
from .mysql import MySQL
from .postgresql import PostgreSQL

DIALECTS: Final[Mapping[str, type[Dialect]]] = {"postgresql": PostgreSQL, "mysql": MySQL}
"""By the vendor of Django's backend; that of MariaDB is called ``mysql``, too."""

LEAST_CONNECT_SECONDS: Final = 2
"""What the drivers take for the time to connect is whole seconds, and for one of them 2 is the least."""

LEAST_SECONDS: Final = 0.001
"""The shortest limit that a statement is sent with."""


class Session:
    """An open connection. One thread at a time uses it, any thread may :meth:`break_off` what it does.

    Its statements commit by themselves. Errors of Django and of drivers come out of it: see :mod:`.connections`.
    """

    def __init__(self, alias: str, seconds: float) -> None:
        """Connect in about ``seconds``; the settings of the alias are those of this moment."""
        self.settings = copy.deepcopy(settings_of(alias))
        with forks.postponed():  # it imports the driver
            backend = load_backend(self.settings["ENGINE"])
        self.wrapper: Any = backend.DatabaseWrapper(copy.deepcopy(self.settings), alias)
        vendor = self.wrapper.vendor
        if vendor not in DIALECTS:
            known = "PostgreSQL, MySQL and MariaDB"
            instead = "; use sqlite:///path" if vendor == "sqlite" else ""
            raise ConfigurationError(f"records can be kept in {known}, not in a database of vendor {vendor!r}{instead}")
        self.dialect = DIALECTS[vendor](self.wrapper)
        self.until = monotonic() + seconds
        """When the statements of the call that uses it must have ended."""
        self.idle_since = 0.0
        self.sound = True
        """Whether another call may use it."""
        self.broken_off = False
        own = self.wrapper.settings_dict
        own["AUTOCOMMIT"] = True
        own["OPTIONS"] = self.dialect.options(own["OPTIONS"], max(LEAST_CONNECT_SECONDS, math.ceil(seconds)))
        self.max_age = self.settings["CONN_MAX_AGE"] or None  # 0 says: to the end of a request. Here it is idle time
        own["CONN_MAX_AGE"] = None
        self.wrapper.inc_thread_sharing()
        self.opened = monotonic()
        self._network: int | None = None
        """A descriptor of our own for the socket: a driver tells none while it is busy, and may close its own."""
        try:
            self.wrapper.ensure_connection()
            self._network = _descriptor(self.wrapper.connection)
            for statement in self.dialect.preparations():
                self.plain(statement)
        except BaseException:
            self.close()
            raise

    # statements ------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> str:
        """See :class:`.execution.Execution`, which this is, with errors of Django and no others."""
        return self.dialect.now

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Result:
        """Carry out a statement, which the server ends when the time of the call has run out."""
        seconds = max(LEAST_SECONDS, self.until - monotonic())
        return self.dialect.carry_out(statement, parameters, seconds)

    def plain(self, statement: str) -> None:
        """Carry out a statement without parameters and without a limit: those that begin and end transactions."""
        self.dialect.carry_out(statement, (), None)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Let the statements inside be one transaction."""
        self.plain("START TRANSACTION")
        try:
            yield
        except BaseException:
            with contextlib.suppress(DatabaseError):  # the first error is the one to tell
                self.plain("ROLLBACK")
            raise
        self.plain("COMMIT")

    # life ------------------------------------------------------------------------------------------------------------

    def fits(self) -> bool:
        """Tell whether another call may use it: not too old, of the settings of now, and not closed by the server."""
        now = monotonic()
        if self.max_age is not None and now > self.opened + self.max_age:
            return False
        if self.settings != settings_of(self.wrapper.alias):
            return False
        if self._network is None:
            return True
        # Nothing was asked, so what there is to read is the end of the connection, or why it ends.
        poll = select.poll()
        poll.register(self._network, select.POLLIN)
        return not poll.poll(0)

    def break_off(self) -> None:
        """End what a thread does with it, from another one: the network below it is shut down."""
        self.broken_off = True
        self.sound = False
        if self._network is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._network)) as network:
                network.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. Never raises."""
        with contextlib.suppress(Exception):
            connection, self.wrapper.connection = self.wrapper.connection, None
            if connection is not None:
                connection.close()
        network, self._network = self._network, None
        if network is not None:
            os.close(network)

    def leak(self) -> None:
        """Keep it from being destroyed for ever: closed in the child of a fork it would end that of the parent."""
        connection = self.wrapper.connection
        if connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _descriptor(connection: Any) -> int | None:
    try:
        return os.dup(connection.fileno())
    except (AttributeError, OSError):
        return None  # not every driver tells it


def settings_of(alias: str) -> dict[str, Any]:
    """Return what ``settings.DATABASES`` says of an alias at this moment: a test run changes it."""
    try:
        return dict(connections.settings[alias])
    except KeyError:
        raise ConfigurationError(f"settings.DATABASES has no alias {alias!r}") from None
    except ImproperlyConfigured as error:
        raise ConfigurationError(f"settings.DATABASES: {error}") from error
