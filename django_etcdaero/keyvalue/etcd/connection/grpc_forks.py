"""Ending what gRPC does before a fork, so that no call of it is under way.

Closing channels is not all. gRPC has threads of its own, which end a few milliseconds after the last channel is gone;
a process that forks before that has children, and sometimes a parent, that hang.

And the order matters. With ``GRPC_ENABLE_FORK_SUPPORT=1`` gRPC registers handlers with ``os.register_at_fork()`` when
a process makes its first channel. Handlers for the time before a fork run in the reverse order of their registration:
gRPC's would stop its threads before those of :mod:`django_etcdaero.system.forks`, registered earlier, get to close the
channels, which then waits for the stopped threads for ever. Afterwards calls would begin before gRPC is ready for them.
Hence a second set of handlers, registered after gRPC's.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

from django_etcdaero.system import forks, unseen_forks
from django_etcdaero.system.clocks import monotonic

_TASKS = Path("/proc/self/task")
_GRPC_THREADS = ("event_engine", "grpc_", "lifeguard", "timer_", "resolver-execut", "default-executo")
_PATIENCE = 0.25
"""Seconds to wait for gRPC's threads: another user of gRPC in this process may keep them for ever."""

_lock = threading.Lock()
_armed = False


def arm() -> None:
    """Register the handlers, once; to be called when a channel has been made."""
    global _armed
    with _lock:
        if not _armed:
            _armed = True
            forks.surround()
            forks.at_rest(wait_for_threads)
            forks.in_child(_renew_lock)
            unseen_forks.when_closed(wait_for_threads)


def wait_for_threads() -> None:
    """Wait until gRPC's own threads have ended, on systems that let us see them, and not for long.

    One look is not enough: a thread bears its name only some time after it has started, and gRPC ends in one.
    """
    deadline = monotonic() + _PATIENCE
    quiet_looks = 0
    while quiet_looks < 3 and monotonic() < deadline:
        quiet_looks = 0 if _grpc_is_running() else quiet_looks + 1
        time.sleep(0.001)


def _grpc_is_running() -> bool:
    try:
        tasks = list(_TASKS.iterdir())
    except OSError:
        return False  # this system does not tell
    for task in tasks:
        with suppress(OSError):  # a thread that has just ended
            if (task / "comm").read_text().startswith(_GRPC_THREADS):
                return True
    return False


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()
