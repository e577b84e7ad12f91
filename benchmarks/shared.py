"""A shared dataset: what the readers of a host take in memory together, and what a change and a read cost.

    python benchmarks/shared.py [--rows 1000000] [--processes 8] [--held 2] [--changed 1000] [--changes 10]
                                [--reads 100000]

``--held`` processes hold the same rows in memory each, for comparison. Memory is the proportional share (PSS) of all
processes that belongs to the dataset, after each has read every row; times are CPU seconds of one run. Changes come
through ``load_changes()``. With the packages ``lmdb``, ``msgspec`` and ``django-redis`` (and ``redis-server``) rows are
read from there as well, and decoded in the same way; from the caches a tenth of the rows.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from shared_reads import reads
from stage import machine, make_typed_rows, pss, python, set_up

SETTLE = 0.3
"""Seconds after a swap in which the old version is let go of."""


def declare(rows: dict[str, Any], log: list[str], *, shared: bool) -> Any:
    from django_etcdaero import Changes, Dataset, datasets

    class Products(Dataset[str, Any]):
        name = "products"
        first_read_timeout = 600.0

        def load(self) -> dict[str, Any]:
            return rows

        def change_cursor(self) -> int:
            return len(log)

        def load_changes(self, since: Any) -> Any:
            return Changes({key: rows[key] for key in log[since:]}, [], len(log)) if len(rows) > 1 else None

    products = datasets["products"]
    type(products).shared = shared
    return products


def tell(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def refresher(args: argparse.Namespace) -> None:
    """Publish one row; all rows, and then changes of them, when told to."""
    set_up(args.directory)
    every = make_typed_rows(args.rows)
    rows, log = dict(list(every.items())[:1]), list[str]()
    products = declare(rows, log, shared=False)
    chance = random.Random(1)
    for step in range(args.changes + 2):
        if step:
            sys.stdin.readline()
        if step == 1:
            rows.update(every)
        elif step:
            for key in chance.sample(sorted(rows), min(args.changed, args.rows)):
                rows[key] = {**rows[key], "stock": chance.randrange(10**6)}
                log.append(key)
        result = products.refresh(force=True, full=step == 1)
        assert result.ok, result.error
        tell(version=result.version)


def reader(args: argparse.Namespace) -> None:
    """Take each version into use, and say what that took; and twice what this process takes, after reading all rows."""
    set_up(args.directory, SHARED_DIR=f"{args.directory}/shared", SPLAY=0)
    products = declare({}, [], shared=args.shared)
    products.wait_version(1, timeout=600)
    tell()
    sys.stdin.readline()
    before = pss()
    tell()
    for version in range(2, args.changes + 3):
        cpu = time.process_time()
        products.wait_version(version, timeout=600)
        lag = products.status().lag
        time.sleep(SETTLE)
        tell(loaded=time.process_time() - cpu, lag=lag)
        sys.stdin.readline()
        if version in (2, args.changes + 2):
            assert sum(1 for _ in products.snapshot().values()) == args.rows
            tell()
            sys.stdin.readline()
            tell(megabytes=pss() - before)
            sys.stdin.readline()


class Child:
    """A process of this script."""

    def __init__(self, role: str, args: argparse.Namespace, *options: str) -> None:
        command = [*python(), __file__, "--role", role, "--directory", str(args.directory)]
        command += ["--rows", str(args.rows), "--changed", str(args.changed), *options]
        command += ["--changes", str(args.changes)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def memory(args: argparse.Namespace) -> None:
    """Measure readers that share, then some that do not."""
    publisher = Child("refresher", args)
    publisher.answer()
    groups = {
        "shared": [Child("reader", args, "--shared") for _ in range(args.processes)],
        "held": [Child("reader", args) for _ in range(args.held)],
    }
    everyone = [each for group in groups.values() for each in group]
    for each in everyone:
        each.answer()
    for each in everyone:
        each.go_on()
        each.answer()
    costs: dict[str, list[list[dict[str, float]]]] = {name: [] for name in groups}
    for version in range(2, args.changes + 3):
        publisher.go_on()
        publisher.answer()
        for name, group in groups.items():
            costs[name].append([each.answer() for each in group])
        for each in everyone:
            each.go_on()
        if version in (2, args.changes + 2):
            for each in everyone:
                each.answer()
            for name, group in groups.items():
                tell_memory(version, name, group)
            for each in everyone:
                each.go_on()
            print(f"version {version}: {files_of(args)}")
    for name, group in groups.items():
        if group:
            tell_costs(name, costs[name])
    for each in (*everyone, publisher):
        each.end()


def tell_memory(version: int, name: str, group: list[Child]) -> None:
    for each in group:
        each.go_on()
    taken = [each.answer()["megabytes"] for each in group]
    if taken:
        each = f"each {min(taken):,.0f} to {max(taken):,.0f}"
        print(f"version {version}, {name}: {len(group)} processes take {sum(taken):,.0f} MB together ({each})")


def tell_costs(name: str, rounds: list[list[dict[str, float]]]) -> None:
    """Say what the first load and the changes cost the process that did most for them, and the others."""
    first, *changes = [sorted(each["loaded"] for each in each_round) for each_round in rounds]
    print(
        f"first load, {name}: CPU of the one that did most {first[-1]:.2f} s, median {statistics.median(first):.2f} s"
    )
    if changes:
        most = [each[-1] * 1e3 for each in changes]
        others = [used * 1e3 for each in changes for used in each[:-1]] or [0.0]
        lags = sorted(each["lag"] * 1e3 for each_round in rounds[1:] for each in each_round)
        print(
            f"a change, {name}: CPU of the one that did most, median {statistics.median(most):.0f} ms, most"
            f" {max(most):.0f} ms; of the others, median {statistics.median(others):.1f} ms, most {max(others):.0f} ms;"
            f" from the announcement to the swap, median {statistics.median(lags):.0f} ms, most {lags[-1]:.0f} ms"
        )


def files_of(args: argparse.Namespace) -> str:
    """Say which files there are."""
    found = [path for path in (args.directory / "shared").rglob("*") if path.suffix in (".rows", ".changes")]
    return ", ".join(f"{path.suffix} {path.stat().st_size / 2**20:,.2f} MB" for path in sorted(found, key=str))


def file_of(args: argparse.Namespace) -> Path:
    """Return the newest file of rows."""
    return max((args.directory / "shared").rglob("*.rows"), key=lambda path: path.stat().st_mtime)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--held", type=int, default=2)
    parser.add_argument("--changed", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=10)
    parser.add_argument("--reads", type=int, default=100_000)
    parser.add_argument("--role", choices=["refresher", "reader"])
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--shared", action="store_true")
    args = parser.parse_args()
    if args.role == "refresher":
        refresher(args)
    elif args.role == "reader":
        reader(args)
    else:
        args.directory = set_up()
        print(f"{args.rows:,} rows, {machine()}")
        try:
            memory(args)
            reads(args.directory, file_of(args), rows=args.rows, count=args.reads)
        finally:
            shutil.rmtree(args.directory)


if __name__ == "__main__":
    main()
