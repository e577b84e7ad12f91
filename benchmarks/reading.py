"""Reading from a dataset beside a plain dict and Django's LocMemCache, as ratios of one run; the same for one of many
rows, which are in many dictionaries, by the same key, by a thousand keys and by all of them; and what read-only rows
cost beside ordinary ones, when a field is read, when they are decoded, and in full passes of the garbage collector.

python benchmarks/reading.py [rows that are decoded and held, default 100,000]
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from timeit import Timer
from typing import Any

from stage import machine, make_rows, make_typed_rows, set_up

ROUNDS = 15
READS = 200_000


def main() -> None:
    set_up()
    from django.core.cache.backends.locmem import LocMemCache

    from django_etcdaero import dataset, datasets

    plain = make_rows(34_000)

    @dataset
    def rows() -> dict[str, object]:
        return dict(plain)

    result = rows.refresh()
    assert result.ok, result.error
    rows.wait_ready(30)
    snapshot = rows.snapshot()
    cache = LocMemCache("benchmark", {"OPTIONS": {"MAX_ENTRIES": 100_000}})
    key = "sku-0012345"
    cache.set(key, plain[key], None)
    scope = {
        "plain": plain, "rows": rows, "datasets": datasets, "snapshot": snapshot, "cache": cache, "key": key,
        "plain_row": plain[key], "frozen_row": rows[key],
    }  # fmt: skip
    statements = {
        "plain[key]": READS,
        "rows[key]": READS,
        'datasets["rows"][key]': READS,
        "rows.get(key)": READS,
        "key in rows": READS,
        "snapshot[key]": READS,
        'rows[key]["price"]': READS,
        'plain_row["price"]': READS,
        'frozen_row["price"]': READS,
        'plain_row.get("price")': READS,
        'frozen_row.get("price")': READS,
        "cache.get(key)": READS // 20,
    }
    timers = {statement: Timer(statement, globals=scope) for statement in statements}
    times: dict[str, list[float]] = {statement: [] for statement in statements}
    for _ in range(ROUNDS):  # in turn, so that a change of the machine's speed meets them all
        for statement, count in statements.items():
            times[statement].append(timers[statement].timeit(count) / count)
    print(machine())
    print(f"{'':24} {'ns (median)':>12} {'x dict':>8} {'of LocMem':>10}")
    for statement, measured in times.items():
        ratio = statistics.median(mine / base for mine, base in zip(measured, times["plain[key]"], strict=True))
        of_cache = statistics.median(mine / base for mine, base in zip(measured, times["cache.get(key)"], strict=True))
        print(f"{statement:24} {statistics.median(measured) * 1e9:12.1f} {ratio:8.2f} {f'1/{1 / of_cache:.0f}':>10}")


def compare_sizes(count: int) -> None:
    """Read a dataset of many rows beside a dict of the same."""
    import random

    from django_etcdaero import dataset

    plain = make_rows(count)

    @dataset
    def large() -> dict[str, object]:
        return dict(plain)

    result = large.refresh()
    assert result.ok, result.error
    large.wait_ready(60)
    keys, chance = list(plain), random.Random(1)
    read = {
        "one key": [keys[12345]] * 20_000,
        "1,000 keys": chance.sample(keys, 1000) * 20,
        "any keys": [chance.choice(keys) for _ in range(20_000)],
    }
    print(f"{count:,} rows{'':14} {'x dict':>8}")
    for name, some in read.items():
        each = {
            which: Timer("for key in some: rows[key]", timer=time.thread_time, globals={"some": some, "rows": rows})
            for which, rows in (("dict", plain), ("dataset", large), ("snapshot", large.snapshot()))
        }
        times: dict[str, list[float]] = {which: [] for which in each}
        for _ in range(ROUNDS):
            for which, timer in each.items():
                times[which].append(timer.timeit(1))
        for which in ("dataset", "snapshot"):
            print(f"{which + ', ' + name:24} {min(times[which]) / min(times['dict']):8.2f}")


def decode_and_hold(stored: list[tuple[bytes, bytes]], form: Any) -> tuple[float, float]:
    """Return the seconds that decoding took, and those of a full pass of the garbage collector with the rows held."""
    from django_etcdaero.datasets.blocks.partition import decode_block

    held: dict[Any, Any] = {}
    gc.collect()
    begin = time.process_time()
    gc.collect()
    empty = time.process_time() - begin
    begin = time.process_time()
    for digest, data in stored:
        block = decode_block(digest, data, rows=form)
        held.update(zip(block.keys, block.rows, strict=True))
    decoded = time.process_time() - begin
    gc.collect()
    begin = time.process_time()
    gc.collect()
    return decoded, time.process_time() - begin - empty


def compare_forms(count: int) -> None:
    from django_etcdaero.datasets.blocks.partition import partition

    blocks = partition(make_typed_rows(count), max_value_bytes=1_000_000)
    stored = [(block.digest, block.stored()) for block in blocks]
    taken: dict[str, list[tuple[float, float]]] = {"plain": [], "frozen": []}
    for _ in range(7):  # in turn, as above
        for form, measured in taken.items():
            measured.append(decode_and_hold(stored, form))
    print(f"{count:,} rows of 8 fields {'decode, s':>12} {'collect, ms':>12}")
    for form, measured in taken.items():
        decoded, collected = map(min, zip(*measured, strict=True))
        print(f"{form:24} {decoded:12.2f} {collected * 1000:12.1f}")


if __name__ == "__main__":
    main()
    compare_sizes(200_000)
    compare_forms(int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 100_000)
