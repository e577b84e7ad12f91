"""Who may use a record store: the process that opened it, until it is closed."""

from __future__ import annotations

import os

from django_etcdaero.exceptions import Cancelled, ConfigurationError


def check_usable(location: str, *, pid: int, closed: bool) -> None:
    """Raise ``ConfigurationError`` in another process than ``pid``, ``Cancelled`` when the store is ``closed``."""
    if os.getpid() != pid:
        raise ConfigurationError(
            f"{location}: opened in process {pid} and used in process {os.getpid()}; "
            "call abandon() after a fork and open another store"
        )
    if closed:
        raise Cancelled(f"{location}: the store is closed")
