"""How long a record store lives, and who may use it: the process that opened it, until it is closed."""

from __future__ import annotations

import os
from typing import Protocol

from django_etcdaero.exceptions import Cancelled, ConfigurationError
from django_etcdaero.system.forks import Resource

from .store import RecordStore


class Closable(Resource, Protocol):
    """Connections, or one, that are closed with their store."""

    def close(self) -> None: ...


class ConnectedStore(RecordStore):
    """A store that lives as its connections do."""

    _connections: Closable

    def close(self) -> None:
        self._connections.close()

    def before_fork(self, timeout: float) -> None:
        self._connections.before_fork(timeout)

    def after_fork_in_parent(self) -> None:
        self._connections.after_fork_in_parent()

    def abandon(self) -> None:
        self._connections.abandon()


def check_usable(location: str, *, pid: int, closed: bool) -> None:
    """Raise ``ConfigurationError`` in another process than ``pid``, ``Cancelled`` when the store is ``closed``."""
    if os.getpid() != pid:
        raise ConfigurationError(
            f"{location}: opened in process {pid} and used in process {os.getpid()}; "
            "call abandon() after a fork and open another store"
        )
    if closed:
        raise Cancelled(f"{location}: the store is closed")
