"""What all benchmarks share: a Django set up on embedded stores in a directory, and the rows that they use.

Figures are compared inside one run on one machine only; ``docs/benchmarks.rst`` has the commands and the figures.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import tempfile
import threading
import time
from array import array
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import django
from django.conf import settings


def set_up(directory: str | Path | None = None, **options: Any) -> Path:
    """Set Django up with SQLite stores in ``directory`` (a new one by default) and return it.

    With ``BENCHMARK_KV`` and ``BENCHMARK_RECORDS`` in the environment (URLs as in the settings) on those stores
    instead, under a prefix of the directory's own.
    """
    home = Path(directory or tempfile.mkdtemp(prefix="etcdaero-bench-"))
    settings.configure(
        SECRET_KEY="benchmark",
        INSTALLED_APPS=["django_etcdaero"],
        USE_TZ=True,
        ETCDAERO={
            "default": {
                "KV": os.environ.get("BENCHMARK_KV", f"sqlite:///{home}/kv.sqlite3"),
                "RECORDS": os.environ.get("BENCHMARK_RECORDS", f"sqlite:///{home}/records.sqlite3"),
                "PREFIX": home.name,
                "OPTIONS": {"START": "lazy", **options},
            }
        },
    )
    django.setup()
    return home


def make_rows(count: int, *, seed: int = 1) -> dict[str, dict[str, Any]]:
    """Return ``count`` rows of about 100 bytes, the same ones in every process."""
    rng = random.Random(seed)
    return {
        f"sku-{number:07d}": {
            "id": number,
            "name": f"Product number {rng.randrange(10**6)}",
            "price": rng.randrange(10**6) / 100,
            "stock": rng.randrange(1000),
            "active": bool(number & 1),
            "category": f"c{number % 97}",
        }
        for number in range(count)
    }


class Row(NamedTuple):
    """A row of :func:`make_typed_rows` as a class."""

    id: int
    name: str
    price: Decimal
    stock: int
    active: bool
    category: str
    sku: str
    changed: datetime


def make_typed_rows(count: int) -> dict[str, dict[str, Any]]:
    """Return ``count`` rows of eight fields, as a database driver gives them: a ``Decimal`` and a time among them."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        key: {**row, "price": Decimal(number) / 100, "sku": key, "changed": start + timedelta(seconds=number)}
        for number, (key, row) in enumerate(make_rows(count).items())
    }


def change_rows(rows: dict[str, dict[str, Any]], share: float, *, seed: int) -> None:
    """Change the price of a random ``share`` of the rows."""
    rng = random.Random(seed)
    for key in rng.sample(sorted(rows), max(1, round(len(rows) * share))):
        rows[key] = {**rows[key], "price": rng.randrange(10**6) / 100 + 10_000}


def peak_megabytes() -> float:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def pss(pid: int | str = "self") -> float:
    """Return the share of a process of the memory that it uses, in megabytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def python() -> list[str]:
    """Return the command that starts this interpreter."""
    return [sys.executable, "-W", "error"]


class StallWatch:
    """Measures how long other threads are kept from running: a thread that wants to run every millisecond.

    ``late`` is by how many seconds each of its naps was exceeded, ``longest`` the longest of these. ``held`` is for how
    much of that the process was computing: what remains of it where the machine has other things to do as well.
    """

    def __init__(self) -> None:
        self.late = array("d", [0.0])
        self.held = array("d", [0.0])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def longest(self) -> float:
        return max(self.late)

    def _run(self) -> None:
        while not self._stop.is_set():
            before, used = time.perf_counter(), time.process_time()
            time.sleep(0.001)
            self.late.append(time.perf_counter() - before - 0.001)
            self.held.append(max(0.0, time.process_time() - used - 0.001))

    def __enter__(self) -> StallWatch:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()


def machine() -> str:
    """Say on what this runs."""
    return f"Python {sys.version.split()[0]}, Django {django.__version__}, {os.cpu_count()} processors"
