"""Full disks: a small file system in memory, where one may be mounted, and a limit to what a process may write."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LIMIT = 16 * 1024
"""Largest size of a file in bytes: SQLite's shared memory needs twice as much."""


def limit_files(pid: int = 0, size: int = LIMIT) -> None:
    """Let no file grow beyond ``size`` bytes by the hands of a process (0: this one): a disk that is full for it."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def unlimit_files(pid: int = 0) -> None:
    """Take that limit away."""
    limit_files(pid, resource.RLIM_INFINITY)


class SmallDisk:
    """A mounted file system."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._filling = directory / "filling"

    def fill(self) -> None:
        """Take all the room that is left."""
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            self._write_on_and_on()
        assert os.statvfs(self.directory).f_bavail == 0

    def _write_on_and_on(self) -> None:
        with self._filling.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        """Give it back."""
        self._filling.unlink()


@contextmanager
def small_disk(directory: Path, size: str = "4m") -> Iterator[SmallDisk]:
    """Mount one at ``directory``, which is made; skip the test where this process must not mount."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"a real full disk is NOT TESTED here: {error}")
    if mounted.returncode:
        pytest.skip(f"a real full disk is NOT TESTED here, this process must not mount one: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
