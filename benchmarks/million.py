"""A large dataset end to end: full publish, small change, and what a reader pays for each.

    python benchmarks/million.py [--rows 1000000] [--changed 0.001]

The refresher and the reader are processes of their own. Prints where the seconds go, the bytes, the longest time that
other threads of the reader stood still, and the peak memory of both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stage import StallWatch, change_rows, machine, make_rows, peak_megabytes, set_up


class Clock:
    """Adds up the seconds spent in functions that are wrapped for the occasion."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            before = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - before

        setattr(owner, name, timed)

    def reset(self) -> dict[str, float]:
        seconds, self.seconds = self.seconds, {}
        return seconds


def declare(rows: dict[str, Any]) -> Any:
    from django_etcdaero import dataset

    @dataset
    def products() -> dict[str, Any]:
        return rows

    return products


def tell(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def refresher(args: argparse.Namespace) -> None:
    """Publish all rows, then the changed ones, then unchanged ones; wait for a line on standard input before each."""
    set_up(args.directory)
    from django_etcdaero.datasets.blocks.block_store import BlockStore
    from django_etcdaero.datasets.publish import announcing, expiry, full_load, storing

    rows = make_rows(args.rows)
    products = declare(rows)
    before = peak_megabytes()
    clock = Clock()
    clock.wrap(full_load, "stream_rows", "load")
    clock.wrap(storing.Storing, "store", "encode and write")
    clock.wrap(BlockStore, "write", "write")
    clock.wrap(BlockStore, "exists", "look up")
    clock.wrap(storing.Storing, "make_permanent", "make permanent")
    clock.wrap(announcing.Announcing, "prepare", "announce")
    clock.wrap(announcing.Announcing, "announce", "announce")
    clock.wrap(expiry.Expiry, "run", "announce")
    for step in ("full", "changed", "unchanged"):
        sys.stdin.readline()
        if step == "changed":
            change_rows(rows, args.changed, seed=2)
        result = products.refresh(force=True)
        assert result.ok, result.error
        seconds = clock.reset()
        seconds["encode"] = seconds.pop("encode and write") - seconds.get("write", 0) - seconds.get("look up", 0)
        tell(
            step=step,
            outcome=result.outcome,
            seconds=result.seconds,
            phases=seconds,
            written=result.bytes_written,
            total=result.bytes_total,
            base_mb=before,
            peak_mb=peak_megabytes(),
        )


def reader(args: argparse.Namespace) -> None:
    """Follow the versions; say what each cost."""
    set_up(args.directory, START="lazy", SPLAY=0)
    from django_etcdaero.datasets.blocks import assembly
    from django_etcdaero.datasets.blocks.block_store import BlockStore
    from django_etcdaero.datasets.read import fetching, follower

    products = declare({})
    clock = Clock()
    fetched = [0]
    fetch = BlockStore.fetch

    def counting(self: BlockStore, digests: Any) -> Any:
        found = fetch(self, digests)
        fetched[0] += sum(map(len, found.values()))
        return found

    BlockStore.fetch = counting  # type: ignore[method-assign]
    clock.wrap(BlockStore, "fetch", "fetch")
    clock.wrap(assembly, "decode_block", "decode")
    clock.wrap(fetching, "assemble", "assemble")
    clock.wrap(follower.Follower, "_load", "all")
    clock.wrap(follower, "free", "free")
    base = peak_megabytes()
    for version in (1, 2):
        with StallWatch() as watch:
            held = len(products.wait_version(version, timeout=600))
            patience = time.monotonic() + args.rows / 30_000  # a few rows are freed at once, unseen
            while "free" not in clock.seconds and version > 1 and time.monotonic() < patience:
                time.sleep(0.01)
        time.sleep(0.5)
        seconds = clock.reset()
        whole = seconds.pop("assemble")
        inside = seconds.get("decode", 0)
        seconds["merge"] = whole - inside - seconds["fetch"]
        tell(
            version=version,
            rows=held,
            phases=seconds,
            fetched=fetched[0],
            stall=watch.longest,
            base_mb=base,
            peak_mb=peak_megabytes(),
        )
        fetched[0] = 0


def show(title: str, figures: dict[str, Any]) -> None:
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in figures["phases"].items())
    print(f"{title}: {phases} s")


def conduct(args: argparse.Namespace) -> None:
    home = set_up()
    print(f"{machine()}; {args.rows:,} rows, {args.changed:.1%} changed")
    command = [sys.executable, __file__, "--rows", str(args.rows), "--changed", str(args.changed)]
    command += ["--directory", str(home)]

    def start(role: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*command, "--role", role], stdin=-1, stdout=-1, text=True)

    writer, follower = start("refresher"), start("reader")
    try:
        published, read = [], []

        def publish() -> None:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
            published.append(json.loads(writer.stdout.readline()))  # type: ignore[union-attr]

        def arrive() -> None:
            read.append(json.loads(follower.stdout.readline()))  # type: ignore[union-attr]

        publish()
        arrive()
        publish()
        arrive()
        publish()
    finally:
        for process in (writer, follower):
            process.kill()
            process.wait()
        shutil.rmtree(Path(home))
    full, changed, unchanged = published
    for each in published:
        show(f"refresh, {each['step']:9} ({each['outcome']}, {each['seconds']:.2f} s)", each)
        print(f"    written {each['written'] / 1e6:.2f} MB of {each['total'] / 1e6:.2f} MB")
    for each, name in zip(read, ("full", "changed"), strict=True):
        show(f"read, {name:12} ", each)
        stall = each["stall"] * 1e3
        print(f"    fetched {each['fetched'] / 1e6:.2f} MB; longest stall of other threads {stall:.0f} ms")
    print(f"written for the change: {changed['written'] / full['written']:.2%} of the full publish")
    print(f"fetched for the change: {read[1]['fetched'] / read[0]['fetched']:.2%} of the first fetch")
    print(f"peak memory: refresher {full['base_mb']:.0f} MB with the rows, {unchanged['peak_mb']:.0f} MB at most;")
    print(f"             reader {read[0]['base_mb']:.0f} MB empty, {read[1]['peak_mb']:.0f} MB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changed", type=float, default=0.001)
    parser.add_argument("--directory")
    parser.add_argument("--role", choices=("refresher", "reader"))
    args = parser.parse_args()
    {"refresher": refresher, "reader": reader, None: conduct}[args.role](args)


if __name__ == "__main__":
    main()
