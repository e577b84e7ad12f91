"""Reading from a dataset beside a plain dict and Django's LocMemCache, as ratios of one run.

python benchmarks/reading.py
"""

from __future__ import annotations

import statistics
from timeit import Timer

from stage import machine, make_rows, set_up

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
    }  # fmt: skip
    statements = {
        "plain[key]": READS,
        "rows[key]": READS,
        'datasets["rows"][key]': READS,
        "rows.get(key)": READS,
        "key in rows": READS,
        "snapshot[key]": READS,
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


if __name__ == "__main__":
    main()
