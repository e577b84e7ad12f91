"""How long other threads of a reader stand still: at the first load, and when a new version takes the old one's place.

    python benchmarks/stalls.py [--rows 1000000] [--changed 1000] [--swaps 3] [--by blocks|changes] [--indexes]
    PYTHONPATH=<another checkout> python benchmarks/stalls.py …

A thread of the reader wants to run every millisecond; told is by how much it was late, without a refresh, at the first
load, and at each swap with all that comes after it, and for how much of that the process was computing. The refresher
is a process of its own, and the second processor has nothing else to do: one that has makes both figures worse.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stage import StallWatch, machine, make_typed_rows, peak_megabytes, set_up

QUIET = 2.0
"""Seconds without a refresh after a swap that belong to it: old rows are freed in them."""


def declare(rows: dict[str, Any], log: list[str], args: argparse.Namespace) -> Any:
    from django_etcdaero import Dataset

    class Products(Dataset[str, Any]):
        name = "products"
        indexes = ("category", "id") if args.indexes else ()

        def load(self) -> dict[str, Any]:
            return rows

        if args.by == "changes":

            def change_cursor(self) -> int:
                return len(log)

            def load_changes(self, since: Any) -> Any:
                from django_etcdaero import Changes

                return Changes({key: rows[key] for key in log[since:]}, [], len(log))

    from django_etcdaero import datasets

    return datasets["products"]


def tell(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def refresher(args: argparse.Namespace) -> None:
    """Publish all rows, then the changed ones; wait for a line on standard input before each."""
    set_up(args.directory)
    rows, log = make_typed_rows(args.rows), []
    gc.freeze()
    products = declare(rows, log, args)
    chance = random.Random(2)
    for number in range(args.swaps + 1):
        sys.stdin.readline()
        if number:
            for key in chance.sample(sorted(rows), args.changed):
                rows[key] = {**rows[key], "stock": chance.randrange(10**6)}
                log.append(key)
        result = products.refresh(force=True)
        assert result.ok, result.error
        tell(version=result.version, written=result.bytes_written)


def reader(args: argparse.Namespace) -> None:
    """Follow the versions; say how late the thread was in the meantime."""
    set_up(args.directory, START="lazy", SPLAY=0)
    products = declare({}, [], args)
    with StallWatch() as watch:
        time.sleep(3.0)
    report("no refresh", watch, 0.0)
    for version in range(1, args.swaps + 2):
        sys.stdin.readline()
        used = time.process_time()
        with StallWatch() as watch:
            products.wait_version(version, timeout=3600)
            time.sleep(QUIET)
        report("first load" if version == 1 else "swap", watch, time.process_time() - used)
        if version == 1:
            used = time.process_time()
            gc.collect()
            tell(phase="gc.collect()", ms={}, cpu=time.process_time() - used)


def report(phase: str, watch: StallWatch, cpu: float) -> None:
    found = {}
    for name, seconds in (("late", watch.late), ("held", watch.held)):
        each = sorted(seconds)
        found[name] = [each[min(len(each) - 1, int(len(each) * share))] * 1e3 for share in (0.5, 0.99, 0.999, 1)]
    tell(phase=phase, ms=found, cpu=cpu, naps=len(watch.late), mb=peak_megabytes())


def conduct(args: argparse.Namespace) -> None:
    home = set_up()
    import django_etcdaero

    print(f"{machine()}; {args.rows:,} rows, {args.changed:,} changed, told by {args.by}")
    print(f"of {Path(django_etcdaero.__file__).parent}")
    command = [sys.executable, __file__, "--directory", str(home), "--by", args.by]
    command += ["--rows", str(args.rows), "--changed", str(args.changed), "--swaps", str(args.swaps)]
    command += ["--indexes"] if args.indexes else []

    def start(role: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*command, "--role", role], stdin=-1, stdout=-1, text=True)

    def show(figures: dict[str, Any]) -> None:
        print(f"{figures['phase']:12}: {figures['cpu']:.3f} s of CPU", end="")
        for name, found in figures["ms"].items():
            each = ", ".join(f"{what} {ms:.2f}" for what, ms in zip(("p50", "p99", "p99.9", "max"), found, strict=True))
            print(f"; {name}: {each} ms", end="")
        print(flush=True)

    writer = start("refresher")
    follower: subprocess.Popen[str] | None = None
    try:
        for number in range(args.swaps + 1):
            go(writer)
            json.loads(writer.stdout.readline())  # type: ignore[union-attr]
            if follower is None:
                follower = start("reader")
                show(json.loads(follower.stdout.readline()))  # type: ignore[union-attr]
            go(follower)
            show(json.loads(follower.stdout.readline()))  # type: ignore[union-attr]
            if number == 0:
                show(json.loads(follower.stdout.readline()))  # type: ignore[union-attr]
    finally:
        for process in filter(None, (writer, follower)):
            process.kill()
            process.wait()
        shutil.rmtree(Path(home))


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changed", type=int, default=1000)
    parser.add_argument("--swaps", type=int, default=3)
    parser.add_argument("--by", choices=("blocks", "changes"), default="blocks")
    parser.add_argument("--indexes", action="store_true", help="with an index by a few values and one by many")
    parser.add_argument("--directory")
    parser.add_argument("--role", choices=("refresher", "reader"))
    args = parser.parse_args()
    {"refresher": refresher, "reader": reader, None: conduct}[args.role](args)


if __name__ == "__main__":
    main()
