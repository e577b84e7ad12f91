"""Source distributions of other projects, whose test suites are run as they are.

Each is fetched by pip once and unpacked below the user's cache directory (``XDG_CACHE_HOME``), where later runs and
other workers of the suite find it. ``python -m tests.programs.distributions django==5.2.19`` tells where one is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 240.0
"""Seconds that pip may take; it builds the metadata of what it fetches."""


class Unavailable(Exception):
    """A distribution could not be fetched, most likely because there is no network."""


def directory() -> Path:
    """Return the directory where they are."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "django-etcdaero-tests"


def sources(requirement: str) -> Path:
    """Return the unpacked source distribution of ``project==version``. Raises ``Unavailable``."""
    found = directory() / requirement.lower()
    if found.exists():
        return found
    with _locked(found):
        if not found.exists():
            with tempfile.TemporaryDirectory(dir=found.parent) as work:
                _unpack(_fetch(requirement, Path(work)), Path(work) / "unpacked").rename(found)
    return found


def installed(*requirements: str) -> Path:
    """Return a directory for ``PYTHONPATH`` with packages installed in it, without what they depend on.

    Raises ``Unavailable``.
    """
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    found = directory() / "+".join([python, *sorted(requirements)]).lower()
    if found.exists():
        return found
    with _locked(found):
        if not found.exists():
            with tempfile.TemporaryDirectory(dir=found.parent) as work:
                target = Path(work) / "target"
                _pip("install", "--no-deps", "--target", str(target), *requirements)
                target.rename(found)
    return found


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(requirement: str, work: Path) -> Path:
    _pip("download", "--no-deps", "--no-binary", ":all:", "--dest", str(work), requirement)
    return next(work.glob("*.tar.gz"))


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"pip {arguments[0]} {arguments[-1]} took longer than {PATIENCE:g} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"pip {arguments[0]} {arguments[-1]} failed: {last}")


def _unpack(archive: Path, target: Path) -> Path:
    with tarfile.open(archive) as file:
        file.extractall(target, filter="data")
    (root,) = target.iterdir()
    shutil.rmtree(root / "docs", ignore_errors=True)  # large, and never read
    return root


if __name__ == "__main__":
    print(sources(sys.argv[1]))
