"""A change of a few rows on its way to many processes: how long it takes, and what each of them pays for it.

    python benchmarks/fan_out.py [--rows 1000000] [--changed 1000] [--rounds 10] [--readers 8] [--warm-up 1]
                                 [--apart] [--shared]

The refresher is a process of its own. The readers are forked from one that has loaded the first version, so that all of
them fit in memory; each has its own connections, and fetches for itself. Told is the time from the return of
``load_changes()`` to the moment in which a reader serves the new rows, with the CPU seconds and the bytes of a reader.
The first ``--warm-up`` changes are told by themselves: pages of memory that processes have in common since the fork are
copied when a change first touches them. With ``--apart`` each reader loads for itself, and has no page in common;
with ``--shared`` (``shared = True``) too, and all map one file.
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
    type(products).shared = args.shared
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
    set_up(args.directory, START="lazy", SPLAY=0, SHARED_DIR=f"{args.directory}/shared")
    from django_etcdaero.datasets.blocks.block_store import BlockStore
    from django_etcdaero.signals import dataset_loaded

    products = declare({}, [], args)
    type(products).shared = args.shared
    fetched, arrived = [0], [0.0]
    fetch = BlockStore.fetch

    def counting(self: BlockStore, digests: Any) -> Any:
        found = fetch(self, digests)
        fetched[0] += sum(map(len, found.values()))
        return found

    BlockStore.fetch = counting  # type: ignore[method-assign]
    dataset_loaded.connect(lambda **kwargs: arrived.__setitem__(0, time.time()), weak=False)
    apart = args.apart or args.shared
    if not apart:
        products.wait_version(1, timeout=3600)
        gc.freeze()
    children = []
    for _ in range(args.readers):
        child = os.fork()
        if not child:
            if apart:
                products.wait_version(1, timeout=3600)
                gc.freeze()
            tell(ready=os.getpid())
            for version in range(2, args.rounds + 2):
                fetched[0] = 0
                time.sleep(0.5)
                used = time.process_time()
                products.wait_version(version, timeout=600)
                time.sleep(0.8)  # the old rows are freed
                tell(arrived=arrived[0], cpu=time.process_time() - used, fetched=fetched[0])
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def conduct(args: argparse.Namespace) -> None:
    home = set_up()
    print(f"{machine()}; {args.rows:,} rows, {args.changed:,} changed, {args.readers} readers, {args.rounds} rounds")
    command = [sys.executable, __file__, "--directory", str(home), "--rows", str(args.rows)]
    command += ["--changed", str(args.changed), "--rounds", str(args.rounds), "--readers", str(args.readers)]
    command += [f"--{option}" for option in ("apart", "shared") if getattr(args, option)]

    def start(role: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*command, "--role", role], stdin=-1, stdout=-1, text=True)

    def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        found: dict[str, Any] = json.loads(process.stdout.readline())
        return found

    writer = start("refresher")
    follower: subprocess.Popen[str] | None = None
    rounds: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    try:
        go(writer)
        answer(writer)
        follower = start("reader")
        for _ in range(args.readers):
            answer(follower)
        time.sleep(3.0)  # their readers have begun
        for _ in range(args.rounds):
            go(writer)
            told = answer(writer)
            rounds.append((told, [answer(follower) for _ in range(args.readers)]))
            time.sleep(1.0)
    finally:
        for process in filter(None, (writer, follower)):
            process.kill()
            process.wait()
        shutil.rmtree(Path(home))
    first = min(args.warm_up, args.rounds - 1)
    if first:
        print(f"the first {first}:")
        show(rounds[:first])
        print("those after:")
    show(rounds[first:])


def show(rounds: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> None:
    """Print the figures of some changes: what the refresher told of each, and what each reader did."""
    each = [(told, reader) for told, readers in rounds for reader in readers]
    swaps = [max(reader["arrived"] for reader in readers) - told["returned"] for told, readers in rounds]
    for name, figures, unit, factor in (
        (
            "from the return of load_changes() to the swap",
            [reader["arrived"] - told["returned"] for told, reader in each],
            "ms",
            1e3,
        ),
        ("the same, to the last swap of a change", swaps, "ms", 1e3),
        ("CPU of a reader, and 0.8 to 1.3 s of waiting", [reader["cpu"] for _, reader in each], "ms", 1e3),
        ("CPU of the refresher", [told["cpu"] for told, _ in rounds], "ms", 1e3),
        ("fetched by a reader", [reader["fetched"] for _, reader in each], "kB", 1e-3),
        ("written", [told["written"] for told, _ in rounds], "kB", 1e-3),
    ):
        ordered = sorted(figure * factor for figure in figures)
        middle, last = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
        print(f"{name}: median {middle:.1f}, p99 {last:.1f}, most {ordered[-1]:.1f} {unit}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changed", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--warm-up", type=int, default=1, help="changes at the beginning that are told by themselves")
    parser.add_argument("--apart", action="store_true", help="each reader loads for itself: no page is forked")
    parser.add_argument("--shared", action="store_true", help="all readers map one file")
    parser.add_argument("--directory")
    parser.add_argument("--role", choices=("refresher", "reader"))
    args = parser.parse_args()
    args.by, args.indexes = "changes", False
    {"refresher": refresher, "reader": reader, None: conduct}[args.role](args)


if __name__ == "__main__":
    main()
