"""What a change costs the publisher: some rows of many, loaded by ``load_changes()``, beside a load of everything.

    python benchmarks/changes.py [--rows 1000000] [--changed 1000] [--rounds 15]

Rows have eight fields, a ``Decimal`` and an aware ``datetime`` among them. All in one process, CPU seconds of it; the
stores are those of the other benchmarks. ``cProfile`` of one change: ``--profile``.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from stage import machine, make_typed_rows, peak_megabytes, set_up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: int(text.replace(",", "")), default=1_000_000)
    parser.add_argument("--changed", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    set_up()
    from django_etcdaero import Changes, dataset

    rows = make_typed_rows(args.rows)
    names = list(rows)
    changed: list[str] = []

    def load_changes(since: int) -> Changes[str]:
        return Changes({key: rows[key] for key in changed[since:]}, [], len(changed))

    @dataset(load_changes=load_changes, change_cursor=lambda: len(changed))
    def products() -> dict[str, Any]:
        return rows

    def cost(function: Callable[[], Any]) -> tuple[float, Any]:
        before = time.process_time()
        result = function()
        return time.process_time() - before, result

    print(machine())
    seconds, result = cost(products.refresh)
    print(f"first load of {args.rows:,} rows: {seconds:.2f} s, {result.bytes_written / 1e6:.1f} MB")
    full, result = cost(lambda: products.refresh(full=True))
    print(f"load of everything, nothing changed: {full:.2f} s")

    rng = random.Random(1)

    def change() -> None:
        for key in rng.sample(names, min(args.changed, len(names))):
            rows[key] = {**rows[key], "stock": rows[key]["stock"] + 1}
            changed.append(key)

    costs, written = [], []
    for number in range(args.rounds):
        change()
        profile = cProfile.Profile()
        if args.profile and number == args.rounds - 1:
            profile.enable()
        seconds, result = cost(lambda: products.refresh(force=True))
        profile.disable()
        assert (result.ok, result.changes, result.rows) == (True, True, args.rows), result
        if args.profile and number == args.rounds - 1:
            pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
        else:
            costs.append(seconds)
            written.append(result.bytes_written)
    print(
        f"{args.changed:,} rows changed: {1000 * median(costs):.0f} ms (from {1000 * min(costs):.0f} to"
        f" {1000 * max(costs):.0f}; 1/{full / median(costs):.0f} of everything), {median(written) / 1e3:.0f} kB written"
    )
    seconds, result = cost(lambda: products.refresh(force=True))
    assert result.changes
    print(f"nothing changed: {1000 * seconds:.1f} ms")
    changed.extend(names[: args.changed])
    seconds, result = cost(lambda: products.refresh(force=True))
    assert result.outcome == "unchanged", result
    print(f"{args.changed:,} rows told that are as they were: {1000 * seconds:.0f} ms")
    print(f"peak memory: {peak_megabytes():.0f} MB, with the rows of the source")


if __name__ == "__main__":
    main()
