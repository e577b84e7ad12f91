"""From the announcement to the swap in several processes, over many small refreshes.

    python benchmarks/announce.py [--rows 34000] [--processes 8] [--rounds 40]

All processes run on this machine and compare one clock. Each round changes one row in a thousand. A round's delay of a
process is the time from the moment that the announcing transaction returned to the moment that the process serves the
version.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stage import change_rows, machine, make_rows, set_up


def declare(rows: dict[str, Any]) -> Any:
    from django_etcdaero import dataset

    @dataset
    def products() -> dict[str, Any]:
        return rows

    return products


def reader(args: argparse.Namespace) -> None:
    """Say when each version arrived."""
    set_up(args.directory, START="lazy")
    from django_etcdaero import signals

    products = declare({})

    def arrived(snapshot: Any, **kwargs: Any) -> None:
        print(json.dumps([snapshot.version, time.time()]), flush=True)

    signals.dataset_loaded.connect(arrived)
    products.wait_version(1, timeout=60)
    sys.stdin.read()


def conduct(args: argparse.Namespace) -> None:
    home = set_up()
    from django_etcdaero import signals

    rows = make_rows(args.rows)
    products = declare(rows)
    announced: dict[int, float] = {}

    def published(announcement: Any, **kwargs: Any) -> None:
        announced[announcement.version] = time.time()

    signals.dataset_published.connect(published)
    assert products.refresh(force=True).ok
    command = [sys.executable, __file__, "--directory", str(home), "--role", "reader"]
    readers = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(args.processes)]
    delays = []
    try:
        for process in readers:
            process.stdout.readline()  # type: ignore[union-attr] # the first version
        for number in range(args.rounds):
            change_rows(rows, 0.001, seed=number)
            result = products.refresh(force=True)
            assert result.ok, result.error
            for process in readers:
                version, at = json.loads(process.stdout.readline())  # type: ignore[union-attr]
                assert version == result.version
                delays.append(at - announced[version])
            time.sleep(0.05)
    finally:
        for process in readers:
            process.kill()
            process.wait()
        shutil.rmtree(Path(home))
    ordered = sorted(delays)
    print(f"{machine()}; {args.rows:,} rows, {args.processes} processes, {args.rounds} refreshes")
    print(
        f"announcement to swap: p50 {statistics.median(ordered) * 1e3:.1f} ms,"
        f" p99 {ordered[int(len(ordered) * 0.99)] * 1e3:.1f} ms, longest {ordered[-1] * 1e3:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=34_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--directory")
    parser.add_argument("--role", choices=("reader",))
    args = parser.parse_args()
    (reader if args.role else conduct)(args)


if __name__ == "__main__":
    main()
