"""Which run of the operating system this is, and whether another process of this host is dead for certain.

The number of a process alone does not tell: it means something only in its PID namespace and for one run of the
system, and it is given again. So a process is named by the run, the namespace, its number and the time of its start
(proc_pid_stat(5), field 22). Where there is no ``/proc`` nothing is ever certain.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .clocks import monotonic

_PROC = Path("/proc")


def this_process() -> dict[str, Any] | None:
    """Return what :func:`is_dead` needs to know about this process (JSON values); ``None`` if it cannot be told."""
    try:
        return dict(_mark(os.getpid()))
    except (OSError, IndexError):
        return None


@functools.lru_cache(maxsize=1)
def _mark(pid: int) -> dict[str, Any]:
    """Return what stays the same for as long as the process lives, which locks tell each time they are taken."""
    _, started = _state(pid)
    return {**_surroundings(pid), "pid": pid, "started": started}


def is_dead(process: object) -> bool:
    """Tell whether the process that told ``process`` runs no more; False unless that is certain."""
    if not isinstance(process, Mapping):
        return False
    pid = process.get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid < 1:
        return False
    try:
        if {name: process.get(name) for name in ("boot", "pids")} != _surroundings(os.getpid()):
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # the number belongs to another user's process now, a later one or the same
        state, started = _state(pid)
        if started != process.get("started"):
            return True
        # A process that nobody has waited for yet; its other threads could run on after the first has ended.
        return state in ("Z", "X") and len(os.listdir(_PROC / str(pid) / "task")) <= 1
    except (OSError, OverflowError, IndexError):
        return False


@functools.lru_cache(maxsize=1)
def _surroundings(pid: int) -> dict[str, str]:
    """Return the run of the system and the namespace of this process, whose number ``pid`` is, so that a child asks."""
    return {
        "boot": (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        "pids": os.readlink(_PROC / "self/ns/pid"),
    }


def _state(pid: int) -> tuple[str, str]:
    """Return the state and the start of a process; its name, between parentheses, may contain anything."""
    fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return fields[0], fields[19]


@functools.cache
def boot_id() -> str:
    """Return a text that is the same in all processes of this host until it is started anew.

    Monotonic clocks of different runs of the system cannot be compared.
    """
    if sys.platform == "darwin":
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, timeout=5, check=False
        )
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.strip()
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        # Minutes are coarse enough to agree between processes nearly always; if they do not, leases live longer.
        return f"minute-{round((time.clock_gettime(time.CLOCK_REALTIME) - monotonic()) / 60)}"
