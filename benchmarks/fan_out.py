"""A change of a few rows on its way to many processes: how long it takes, and what each of them pays for it.

    python benchmarks/fan_out.py [--rows 1000000] [--changed 1000] [--rounds 10] [--readers 8]

The refresher is a process of its own. The readers are forked from one that has loaded the first version, so that all of
them fit in memory; each has its own connections, and fetches for itself. Told is the time from the return of
``load_changes()`` to the moment in which a reader serves the new rows, with the CPU seconds and the bytes of a reader.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stage import machine, make_typed_rows, set_up
from stalls import declare, go


def tell(**figures: Any) -> None:
    os.write(1, json.dumps(figures).encode() + b"\n")  # one write: children share the pipe


def refresher(args: argparse.Namespace) -> None:
    set_up(args.directory)
    rows, log, returned = make_typed_rows(args.rows), [], [0.0]
    gc.freeze()
    products = declare(rows, log, args)
    load = type(products).load_changes

    def load_changes(self: Any, since: Any) -> Any:
        changes = load(self, since)
        returned[0] = time.time()
        return changes

    type(products).load_changes = load_changes
    chance = random.Random(3)
    keys = list(rows)
    for number in range(args.rounds + 1):
        sys.stdin.readline()
        for key in chance.sample(keys, args.changed) if number else ():
            rows[key] = {**rows[key], "stock": chance.randrange(10**6)}
            log.append(key)
        used = time.process_time()
        result = products.refresh(force=True)
        assert result.ok, result.error
        tell(returned=returned[0], cpu=time.process_time() - used, written=result.bytes_written)


def reader(args: argparse.Namespace) -> None:
    set_up(args.directory, START="lazy", SPLAY=0)
    from django_etcdaero.datasets.blocks.block_store import BlockStore
    from django_etcdaero.signals import dataset_loaded

    products = declare({}, [], args)
    fetched, arrived = [0], [0.0]
    fetch = BlockStore.fetch

    def counting(self: BlockStore, digests: Any) -> Any:
        found = fetch(self, digests)
        fetched[0] += sum(map(len, found.values()))
        return found

    BlockStore.fetch = counting  # type: ignore[method-assign]
    dataset_loaded.connect(lambda **kwargs: arrived.__setitem__(0, time.time()), weak=False)
    products.wait_version(1, timeout=3600)
    gc.freeze()
    children = []
    for _ in range(args.readers):
        child = os.fork()
        if not child:
            for version in range(2, args.rounds + 2):
                fetched[0] = 0
                time.sleep(0.5)
                used = time.process_time()
                products.wait_version(version, timeout=600)
                time.sleep(0.3)  # the old rows are freed
                tell(arrived=arrived[0], cpu=time.process_time() - used, fetched=fetched[0])
            os._exit(0)
        children.append(child)
    tell(readers=len(children))
    for child in children:
        os.waitpid(child, 0)


def conduct(args: argparse.Namespace) -> None:
    home = set_up()
    print(f"{machine()}; {args.rows:,} rows, {args.changed:,} changed, {args.readers} readers, {args.rounds} rounds")
    command = [sys.executable, __file__, "--directory", str(home), "--rows", str(args.rows)]
    command += ["--changed", str(args.changed), "--rounds", str(args.rounds), "--readers", str(args.readers)]

    def start(role: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*command, "--role", role], stdin=-1, stdout=-1, text=True)

    def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        found: dict[str, Any] = json.loads(process.stdout.readline())
        return found

    writer = start("refresher")
    follower: subprocess.Popen[str] | None = None
    took, cpu, fetched, publishing, written = [], [], [], [], []
    try:
        go(writer)
        answer(writer)
        follower = start("reader")
        answer(follower)
        time.sleep(3.0)  # their readers have begun
        for _ in range(args.rounds):
            go(writer)
            told = answer(writer)
            publishing.append(told["cpu"])
            written.append(told["written"])
            for _ in range(args.readers):
                each = answer(follower)
                took.append(each["arrived"] - told["returned"])
                cpu.append(each["cpu"])
                fetched.append(each["fetched"])
            time.sleep(1.0)
    finally:
        for process in filter(None, (writer, follower)):
            process.kill()
            process.wait()
        shutil.rmtree(Path(home))
    for name, figures, unit, factor in (
        ("from the return of load_changes() to the swap", took, "ms", 1e3),
        ("CPU of a reader, and 0.3 to 0.8 s of waiting", cpu, "ms", 1e3),
        ("CPU of the refresher", publishing, "ms", 1e3),
        ("fetched by a reader", fetched, "kB", 1e-3),
        ("written", written, "kB", 1e-3),
    ):
        ordered = sorted(each * factor for each in figures)
        middle, last = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
        print(f"{name}: median {middle:.1f}, p99 {last:.1f}, most {ordered[-1]:.1f} {unit}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changed", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--directory")
    parser.add_argument("--role", choices=("refresher", "reader"))
    args = parser.parse_args()
    args.by, args.indexes = "changes", False
    {"refresher": refresher, "reader": reader, None: conduct}[args.role](args)


if __name__ == "__main__":
    main()
