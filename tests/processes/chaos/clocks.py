"""Processes whose clock is wrong, by libfaketime (Debian: ``faketime``)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

FAKETIME = shutil.which("faketime")


def ahead_by(seconds: int) -> dict[str, str]:
    """Return the environment of a process whose time of day is ahead; how time passes is left as it is.

    The program itself would stand between a test and the process that gets the signals.
    """
    assert FAKETIME is not None
    command = [FAKETIME, "-m", "-f", f"{seconds:+}s", "env"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    names = {"FAKETIME": found["FAKETIME"], "LD_PRELOAD": found["LD_PRELOAD"]}
    return names | {"DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def clean_up(pids: Iterable[int]) -> None:
    """Take away what the library leaves of processes that were killed."""
    for pid in pids:
        for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(Path("/dev/shm", name))
