"""What a refresher needs for a dataset that is loaded from a generator: memory at its peak, and time of the processor.

    PYTHONPATH=. python benchmarks/streaming.py [--rows=1000000] [--from=generator|dict|both] [--again] [--ordered]

Each load runs in a process of its own, which loads nothing else and whose source keeps no rows. ``--again``: a second
load in the same process, in which one row of a thousand has changed. The stores are as for the other benchmarks
(:mod:`stage`).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stage import machine, python, set_up

SOURCES = ("generator", "dict")


def memory(name: str) -> int:
    """Return a figure of /proc/self/status in bytes, such as VmHWM, the largest resident size so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return 0


def processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def pairs(count: int, changed: int) -> Iterator[tuple[int, dict[str, Any]]]:
    for number in range(count):
        price = number % 1000 + (number % 1000 == 7) * changed
        yield number, {"name": f"Product {number}", "price": price}


def refresh(source: str, count: int, *, again: bool, ordered: bool) -> None:
    """Load in this process, and print what that took."""
    set_up()
    from django_etcdaero import dataset
    from django_etcdaero.datasets.dataset import Dataset

    changed = 0

    def products() -> Any:
        found = pairs(count, changed)
        return dict(found) if source == "dict" else found

    made: Dataset[int, Any] = dataset(ordered=ordered)(products)
    for round_number in range(1 + again):
        changed = round_number
        before, used, began = memory("VmRSS"), processor_time(), time.perf_counter()
        result = made.refresh(force=True)
        if not result.ok:
            sys.exit(str(result.error))
        print(
            f"{source:<10}{result.rows:>11,} rows  cpu {processor_time() - used:7.1f} s  wall"
            f" {time.perf_counter() - began:7.1f} s  at its peak {memory('VmHWM') / 1e6:6.0f} MB (before it"
            f" {before / 1e6:4.0f})  {result.bytes_written / 1e6:.1f} of {result.bytes_total / 1e6:.1f} MB written",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--from", dest="source", choices=(*SOURCES, "both"), default="both")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--ordered", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        refresh(options.source, options.rows, again=options.again, ordered=options.ordered)
        return
    print(machine(), flush=True)
    flags = [name for name in ("--again", "--ordered") if getattr(options, name[2:])]
    for source in SOURCES if options.source == "both" else (options.source,):
        command = [*python(), __file__, "--here", f"--rows={options.rows}", f"--from={source}", *flags]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
