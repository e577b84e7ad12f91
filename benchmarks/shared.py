"""A shared dataset: what the readers of a host take in memory together, and what a read costs.

    python benchmarks/shared.py [--rows 1000000] [--processes 8] [--held 2] [--changed 0.001] [--reads 100000]

``--held`` processes hold the same rows in memory each, for comparison. Memory is the proportional share (PSS) of all
processes that belongs to the dataset, after each has read every row; times are CPU seconds of one run. With the package
``lmdb`` the same rows are read from it as well, decoded in the same way.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stage import change_rows, machine, make_typed_rows, python, set_up

ROUNDS = 5


def declare(rows: dict[str, Any], *, shared: bool) -> Any:
    from django_etcdaero import dataset

    @dataset(shared=shared, first_read_timeout=600.0)
    def products() -> dict[str, Any]:
        return rows

    return products


def tell(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def pss() -> float:
    """Return this process's share of the memory it uses, in megabytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def refresher(args: argparse.Namespace) -> None:
    """Publish one row; all rows, and the changed ones, when told to."""
    set_up(args.directory)
    every = make_typed_rows(args.rows)
    rows = dict(list(every.items())[:1])
    products = declare(rows, shared=False)
    for step in range(3):
        if step:
            sys.stdin.readline()
            rows.update(every)
        if step == 2:
            change_rows(rows, args.changed, seed=step)
        result = products.refresh(force=True)
        assert result.ok, result.error
        tell(version=result.version)


def reader(args: argparse.Namespace) -> None:
    """Read each version, and say what that took; at each line on standard input, what this process takes."""
    set_up(args.directory, SHARED_DIR=f"{args.directory}/shared")
    products = declare({}, shared=args.shared)
    products.wait_version(1, timeout=600)
    tell()
    sys.stdin.readline()
    before = pss()
    tell()
    for version in (2, 3):
        cpu = time.process_time()
        products.wait_version(version, timeout=600)
        loaded = time.process_time() - cpu
        count = sum(1 for _ in products.snapshot().values())
        assert count == args.rows
        tell(loaded=loaded)
        sys.stdin.readline()
        tell(megabytes=pss() - before)
        if version == 2:
            sys.stdin.readline()


class Child:
    """A process of this script."""

    def __init__(self, role: str, args: argparse.Namespace, *options: str) -> None:
        command = [*python(), __file__, "--role", role, "--directory", str(args.directory)]
        command += ["--rows", str(args.rows), "--changed", str(args.changed), *options]
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
    readers = [Child("reader", args, "--shared") for _ in range(args.processes)]
    held = [Child("reader", args) for _ in range(args.held)]
    for each in (*readers, *held):
        each.answer()
    for each in (*readers, *held):
        each.go_on()
        each.answer()
    for version in (2, 3):
        if version == 3:
            for each in (*readers, *held):
                each.go_on()
        publisher.go_on()
        publisher.answer()
        for name, group in (("shared", readers), ("held", held)):
            if not group:
                continue
            loads = [each.answer()["loaded"] for each in group]
            for each in group:
                each.go_on()
            taken = [each.answer()["megabytes"] for each in group]
            print(
                f"version {version}, {name}: {len(group)} processes take {sum(taken):,.0f} MB together "
                f"(each {min(taken):,.0f} to {max(taken):,.0f}); "
                f"CPU seconds until it is there: most {max(loads):.2f}, median {statistics.median(loads):.2f}"
            )
        print(f"version {version}: the file has {file_of(args).stat().st_size / 2**20:,.0f} MB")
    for each in (*readers, *held, publisher):
        each.end()


def file_of(args: argparse.Namespace) -> Path:
    """Return the newest file of rows."""
    return max((args.directory / "shared").rglob("*.rows"), key=lambda path: path.stat().st_mtime)


def measured(kinds: Mapping[str, Callable[[Any], object]], keys: list[Any]) -> dict[str, float]:
    """Return the CPU microseconds of one read of each kind: the medians of rounds in which all take turns."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, read in kinds.items():
            before = time.process_time()
            for key in keys:
                read(key)
            times[name].append((time.process_time() - before) / len(keys) * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}


def reads(args: argparse.Namespace) -> None:
    """Compare reads: from the file, from a dict, from LMDB and from SQLite."""
    import os

    from django_etcdaero.datasets.blocks.codec import Encoder, decode
    from django_etcdaero.datasets.mapped.form import MappedFile
    from django_etcdaero.datasets.mapped.keys import pack
    from django_etcdaero.datasets.mapped.rows import MappedRows

    descriptor = os.open(file_of(args), os.O_RDONLY)
    file = MappedFile(descriptor)
    shared: MappedRows[str, Any] = MappedRows(file)
    rows = make_typed_rows(args.rows)
    keys = random.Random(1).choices(sorted(rows), k=args.reads)
    often = keys[: max(1, args.reads // 100)] * 100
    encoder = Encoder()
    encoded = dict(zip(*encoder.encode(list(rows), list(rows.values())), strict=True))
    database = sqlite3.connect(args.directory / "rows.sqlite3", isolation_level=None)
    database.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")
    database.execute("BEGIN")
    database.executemany("INSERT INTO rows VALUES (?, ?)", sorted(encoded.items()))
    database.execute("COMMIT")

    def from_sqlite(key: str) -> object:
        found = database.execute("SELECT row FROM rows WHERE key = ?", (pack(key),)).fetchone()
        return decode(found[0], frozen=True)

    kinds: dict[str, Callable[[Any], object]] = {
        "dict": rows.__getitem__,
        "shared": shared.__getitem__,
        "shared, in": shared.__contains__,
        "SQLite and decode": from_sqlite,
    }
    try:
        import lmdb
    except ImportError:
        print("LMDB is not installed, and not measured")
    else:
        path = str(args.directory / "lmdb")
        with lmdb.open(path, map_size=1 << 34) as environment, environment.begin(write=True) as writing:
            for key, row in sorted(encoded.items()):
                writing.put(key, row, append=True)
        environment = lmdb.open(path, readonly=True, lock=False)
        get = environment.begin().get
        kinds["LMDB and decode"] = lambda key: decode(get(pack(key)), frozen=True)
        kinds["LMDB alone"] = lambda key: get(pack(key))
        size = (args.directory / "lmdb" / "data.mdb").stat().st_blocks * 512
        print(f"LMDB: {size / 2**20:,.0f} MB")
    found = measured(kinds, keys)
    cached: MappedRows[str, Any] = MappedRows(file, cached=len(set(often)))
    found |= measured({"shared, cached": cached.__getitem__}, often)
    base = found.get("LMDB and decode", found["shared"])
    for name, microseconds in found.items():
        print(f"{name:20} {microseconds:8.2f} µs {microseconds / base:8.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--held", type=int, default=2)
    parser.add_argument("--changed", type=float, default=0.001)
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
            reads(args)
        finally:
            shutil.rmtree(args.directory)


if __name__ == "__main__":
    main()
