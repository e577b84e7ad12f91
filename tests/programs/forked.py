"""What became of forked children, for programs that fork."""

from __future__ import annotations

import os
import signal
import time

CHILD_TIME = 20
"""Seconds that a child may take."""


def outcome(pid: int) -> int | str:
    """Return the exit code of a child, ``"hung"`` if it takes too long; then it is killed."""
    limit = time.monotonic() + CHILD_TIME
    while time.monotonic() < limit:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"
