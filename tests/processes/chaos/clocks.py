"""Processes whose clock is wrong, by libfaketime (Debian: ``faketime``)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

FAKETIME = shutil.which("faketime")


class WrongClock:
    """The time of day of processes that get its ``environment``: it may jump while they run, within a second.

    How time passes is left as it is. The program itself would stand between a test and the process that gets the
    signals.
    """

    def __init__(self, file: Path, seconds: int, limits: tuple[int, int]) -> None:
        """``seconds``: how far it is ahead at first; ``limits``: and between what it may jump."""
        assert FAKETIME is not None
        self._file = file
        self.limits = limits
        self.jump(seconds)
        command = [FAKETIME, "-m", "-f", f"{seconds:+}s", "env"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        names = {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_CACHE_DURATION": "1"}
        names |= {"LD_PRELOAD": found["LD_PRELOAD"]}
        self.environment = names | {"DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def jump(self, seconds: int) -> None:
        """Let it be so far ahead of the right one."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+}s\n")
        os.replace(new, self._file)


def clean_up(pids: Iterable[int]) -> None:
    """Take away what the library leaves of processes that were killed."""
    for pid in pids:
        for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(Path("/dev/shm", name))
