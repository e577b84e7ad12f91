"""Many watchers of one prefix, many puts: how long until every watcher has been told of every put.

    python benchmarks/watchers.py [--watchers 100] [--puts 1000] [--rate 1000]

All watchers are in this process, with a callback each. A put's delay is the time from the moment before it was sent to
the call of a callback; ``--rate`` is puts a second, 0 for as many as there can be. Ends with 1 if an event is missing
or comes twice.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import threading
import time
from typing import Any

from stage import machine, set_up


class Watchers:
    """What all watchers together were told."""

    def __init__(self, count: int, puts: int) -> None:
        self.seen = [[0] * puts for _ in range(count)]
        self.delays: list[float] = []
        self.sent = [0.0] * puts
        self.resyncs = 0
        self._missing = count * puts
        self.complete = threading.Event()

    def callback(self, watcher: int) -> Any:
        """Return the callback of one watcher."""
        from django_etcdaero.keyvalue import Event

        def told(item: Any) -> None:
            now = time.perf_counter()
            if not isinstance(item, Event):
                self.resyncs += 1
                return
            number = int(item.kv.value)
            self.seen[watcher][number] += 1
            self.delays.append(now - self.sent[number])
            self._missing -= 1
            if self._missing == 0:
                self.complete.set()

        return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=100)
    parser.add_argument("--puts", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for the last event")
    args = parser.parse_args()
    home = set_up(CALL_TIMEOUT=30)
    from django_etcdaero import kvs

    kv = kvs["default"]
    watchers = Watchers(args.watchers, args.puts)
    watches = [
        kv.watch("bench/", prefix=True, max_pending=args.puts, callback=watchers.callback(number))
        for number in range(args.watchers)
    ]
    start = time.perf_counter()
    for number in range(args.puts):
        if args.rate:
            time.sleep(max(0.0, start + number / args.rate - time.perf_counter()))
        watchers.sent[number] = time.perf_counter()
        kv.put(f"bench/{number % 100}", str(number))
    put = time.perf_counter() - start
    watchers.complete.wait(args.patience)
    end = time.perf_counter() - start
    for watch in watches:
        watch.cancel()
    kv.close()
    kv.engine.close()
    shutil.rmtree(home)
    total = args.watchers * args.puts
    wrong = sum(count != 1 for counts in watchers.seen for count in counts)
    percentiles = statistics.quantiles(watchers.delays, n=100)
    print(machine(), kv.engine.info.kind)
    print(f"{args.puts} puts in {put:.2f} s, {total} events in {end:.2f} s: {total / end:,.0f} a second")
    print(f"delay p50 {percentiles[49] * 1000:.1f} ms, p99 {percentiles[98] * 1000:.1f} ms")
    print(f"missing or double: {wrong}, resyncs: {watchers.resyncs}")
    return 1 if wrong or watchers.resyncs else 0


if __name__ == "__main__":
    raise SystemExit(main())
