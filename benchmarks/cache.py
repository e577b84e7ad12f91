"""The cache backend beside Django's and others': get, set, many, numbers, threads, awaiting, a stampede.

::

    python benchmarks/cache.py [--seconds 0.2] [--rounds 5] [NAME ...]

Caches that are measured: ``LocMemCache``, ours on ``mem:`` and on a SQLite file, diskcache; and on servers that are
named: ``BENCHMARK_AEROSPIKE=host:port/namespace`` (ours, and the raw client with pickle), ``BENCHMARK_REDIS=redis://…``
(Django's and django-redis), ``BENCHMARK_MEMCACHED=host:port`` (pylibmc), ``BENCHMARK_ETCD=host:port`` (ours). All take
turns in each round; what is told is the median of the rounds, in microseconds a call, and at the end, for the pairs
that can be compared, the median of the rounds' ratios. Everything is pickled; ours signs its pickles as well, but for
``mem:``, and ``plain`` does not. ``near`` is ours on the SQLite file behind a near cache: all its gets are hits there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pickle
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import django
from django.conf import settings

OURS = "django_etcdaero.cache.EtcdAeroCache"
SMALL = {"id": 17, "name": "A kettle", "price": Decimal("39.90"), "since": date(2026, 11, 29), "sold": True}
TEXT = "A kettle of stainless steel, 1.7 litres, which switches itself off. " * 3
ROW = {**SMALL, "text": TEXT, "changed": datetime(2026, 11, 29, 12, tzinfo=UTC), "tags": ["kitchen", "electric"] * 20}
PAIRS = (
    ("plain Aerospike", "raw Aerospike"),
    ("plain Aerospike", "Django Redis"),
    ("plain Aerospike", "django-redis"),
    ("plain Aerospike", "pylibmc"),
    ("ours Aerospike", "raw Aerospike"),
    ("ours Aerospike", "Django Redis"),
    ("ours Aerospike", "django-redis"),
    ("ours Aerospike", "pylibmc"),
    ("ours mem:", "LocMem"),
    ("near", "LocMem"),
    ("plain sqlite", "diskcache"),
    ("ours sqlite", "diskcache"),
)
"""What is compared: the first with the second."""

PAGE = [{**SMALL, "id": number, "text": TEXT[:150]} for number in range(120)]


class Raw:
    """The client of Aerospike as it is, with pickle: what a call costs at least."""

    def __init__(self, address: str) -> None:
        import aerospike

        hosts, _, namespace = address.partition("/")
        host, _, port = hosts.rpartition(":")
        self._client = aerospike.client({"hosts": [(host, int(port))], "policies": {"batch": {"total_timeout": 5000}}})
        self._place = (namespace, "benchmark_raw")
        self._policy = {"total_timeout": 5000}

    def set(self, key: str, value: Any, timeout: int) -> None:
        data = value if type(value) is int else bytearray(pickle.dumps(value, 5))
        self._client.put((*self._place, bytearray(key.encode())), {"v": data}, policy={**self._policy, "ttl": timeout})

    def get(self, key: str) -> Any:
        value = self._client.get((*self._place, bytearray(key.encode())), self._policy)[2]["v"]
        return value if type(value) is int else pickle.loads(value)

    def get_many(self, keys: list[str]) -> dict[str, Any]:
        batch = self._client.batch_read([(*self._place, bytearray(key.encode())) for key in keys])
        return {row.key[2].decode(): pickle.loads(row.record[2]["v"]) for row in batch.batch_records}

    def set_many(self, data: dict[str, Any], timeout: int) -> None:
        from aerospike_helpers.batch.records import BatchRecords, Write
        from aerospike_helpers.operations import operations

        self._client.batch_write(
            BatchRecords(
                [
                    Write(
                        (*self._place, bytearray(key.encode())),
                        [operations.write("v", bytearray(pickle.dumps(value, 5)))],
                        None,
                        {"ttl": timeout},
                    )
                    for key, value in data.items()
                ]
            )
        )

    def incr(self, key: str) -> Any:
        from aerospike_helpers.operations import operations

        steps = [operations.increment("v", 1), operations.read("v")]
        return self._client.operate((*self._place, bytearray(key.encode())), steps)[2]["v"]


def configured(directory: str) -> dict[str, dict[str, Any]]:
    """Return the entries of ``CACHES``."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    found: dict[str, dict[str, Any]] = {
        "LocMem": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}},
        "ours mem:": {"BACKEND": OURS, "LOCATION": "mem:", "OPTIONS": {"MAX_ENTRIES": 100_000}},
        "ours sqlite": {"BACKEND": OURS, "LOCATION": f"sqlite:///{directory}/ours.sqlite3"},
        "plain sqlite": {
            "BACKEND": OURS,
            "LOCATION": f"sqlite:///{directory}/plain.sqlite3",
            "OPTIONS": {"SERIALIZER": "unsigned-pickle"},
        },
        "near": {
            "BACKEND": OURS,
            "LOCATION": f"sqlite:///{directory}/near.sqlite3",
            "OPTIONS": {"NEAR": {"max_entries": 10_000, "max_bytes": 100_000_000, "max_age": 3600}},
        },
    }
    if find_spec("diskcache"):
        found["diskcache"] = {"BACKEND": "diskcache.DjangoCache", "LOCATION": f"{directory}/disk"}
    if address := os.environ.get("BENCHMARK_AEROSPIKE"):
        location = f"aerospike://{address}/benchmark_cache"
        found["ours Aerospike"] = {"BACKEND": OURS, "LOCATION": location}
        found["plain Aerospike"] = {
            "BACKEND": OURS,
            "LOCATION": location,
            "KEY_PREFIX": "plain",
            "OPTIONS": {"SERIALIZER": "unsigned-pickle"},
        }
    if address := os.environ.get("BENCHMARK_ETCD"):
        found["ours etcd"] = {"BACKEND": OURS, "LOCATION": f"etcd://{address}/{prefix}"}
    if url := os.environ.get("BENCHMARK_REDIS"):
        found["Django Redis"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
        if find_spec("django_redis"):
            found["django-redis"] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}
    if address := os.environ.get("BENCHMARK_MEMCACHED"):
        found["pylibmc"] = {"BACKEND": "django.core.cache.backends.memcached.PyLibMCCache", "LOCATION": address}
    for entry in found.values():
        entry.setdefault("KEY_PREFIX", "")
        entry["KEY_PREFIX"] = f"{prefix}{entry['KEY_PREFIX']}"
    return found


def operations_of(cache: Any) -> dict[str, Callable[[], Any]]:
    """Return what is measured of a cache; each is one call."""
    keys = [f"many-{number}" for number in range(100)]
    many = {key: {**SMALL, "key": key} for key in keys}
    cache.set("small", SMALL, 3600)
    cache.set("row", ROW, 3600)
    cache.set("page", PAGE, 3600)
    cache.set("number", 1, 3600)
    cache.set_many(many, 3600)
    return {
        "get small dict": lambda: cache.get("small"),
        "get 1 KB": lambda: cache.get("row"),
        "get 31 KB": lambda: cache.get("page"),
        "set small dict": lambda: cache.set("small", SMALL, 3600),
        "set 1 KB": lambda: cache.set("row", ROW, 3600),
        "set 31 KB": lambda: cache.set("page", PAGE, 3600),
        "get_many(100)": lambda: cache.get_many(keys),
        "set_many(100)": lambda: cache.set_many(many, 3600),
        "incr": lambda: cache.incr("number"),
    }


def timed(call: Callable[[], Any], seconds: float) -> float:
    """Return microseconds a call."""
    calls, started = 0, time.perf_counter()
    until = started + seconds
    while (now := time.perf_counter()) < until:
        call()
        calls += 1
    return (now - started) / calls * 1e6


def in_threads(alias: str, number: int, seconds: float) -> float:
    """Return microseconds a get takes, as seen by all threads together."""
    from django.core.cache import caches

    counts = [0] * number
    ready, go = threading.Barrier(number + 1), time.perf_counter

    def work(each: int) -> None:
        cache = caches[alias]
        cache.get("row")
        ready.wait()
        until = go() + seconds
        while go() < until:
            cache.get("row")
            counts[each] += 1

    threads = [threading.Thread(target=work, args=(each,)) for each in range(number)]
    for thread in threads:
        thread.start()
    ready.wait()
    for thread in threads:
        thread.join()
    return seconds / max(1, sum(counts)) * 1e6


def awaited(cache: Any, seconds: float) -> float:
    """Return microseconds an awaited get takes."""

    async def main() -> float:
        calls, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            await cache.aget("row")
            calls += 1
        return (time.perf_counter() - started) / calls * 1e6

    return asyncio.run(main())


def stampede(alias: str, number: int = 64) -> tuple[float, int]:
    """Return milliseconds until ``number`` threads have a value that takes 50 ms to make, and how many made it."""
    from django.core.cache import caches

    key, loads = uuid.uuid4().hex, []

    def load() -> int:
        loads.append(1)
        time.sleep(0.05)
        return 1

    ready = threading.Barrier(number + 1)

    def work() -> None:
        cache = caches[alias]
        ready.wait()
        cache.get_or_set(key, load, 60)

    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    ready.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - started) * 1e3, len(loads)


def compare(measured: dict[str, dict[str, list[float]]]) -> None:
    """Print a table of ratios: a line for each row that was measured, a column for each pair."""
    there = [pair for pair in PAIRS if any(set(pair) <= found.keys() for found in measured.values())]
    print("ratios: " + ", ".join(f"{number}: {one} / {other}" for number, (one, other) in enumerate(there, 1)))
    print(f"    {'':24}" + "".join(f"{number:8}" for number in range(1, len(there) + 1)))
    all_of: dict[tuple[str, str], list[float]] = {pair: [] for pair in there}
    for row, found in measured.items():
        cells = []
        for one, other in there:
            if one in found and other in found:
                ratio = statistics.median(a / b for a, b in zip(found[one], found[other], strict=True))
                all_of[one, other].append(ratio)
                cells.append(f"{ratio:8.2f}")
            else:
                cells.append(f"{'':8}")
        print(f"    {row:24}" + "".join(cells))
    print(f"    {'geometric mean':24}" + "".join(f"{statistics.geometric_mean(all_of[pair]):8.2f}" for pair in there))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="what to measure, by the beginning of its name")
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="etcdaero-bench-") as directory:
        settings.configure(
            SECRET_KEY="only for this benchmark",
            USE_TZ=True,
            CACHES={"default": {}, **configured(directory)},
            ETCDAERO={"default": {"PREFIX": "benchmark", "KV": "mem:", "RECORDS": "mem:"}},
        )
        settings.CACHES["default"] = settings.CACHES["LocMem"]
        django.setup()
        from django.core.cache import caches

        names = [name for name in settings.CACHES if name != "default"]
        measured: dict[str, Any] = {name: caches[name] for name in names}
        if address := os.environ.get("BENCHMARK_AEROSPIKE"):
            measured["raw Aerospike"] = Raw(address)
        calls = {name: operations_of(cache) for name, cache in measured.items()}
        print(f"Python {sys.version.split()[0]}, Django {django.__version__}, {os.cpu_count()} processors")
        rows = [each for each in next(iter(calls.values())) if not args.names or each.startswith(tuple(args.names))]
        table = [(row, {name: (lambda c=calls[name][row]: timed(c, args.seconds)) for name in calls}) for row in rows]
        table += [
            (
                f"get 1 KB, {number} threads",
                {n: (lambda a=n, k=number: in_threads(a, k, args.seconds)) for n in names},
            )
            for number in (1, 4, 16)
        ]
        table.append(("aget 1 KB", {name: (lambda c=caches[name]: awaited(c, args.seconds)) for name in names}))
        ratios: dict[str, dict[str, list[float]]] = {}
        for row, columns in table:
            if args.names and not row.startswith(tuple(args.names)):
                continue
            found: dict[str, list[float]] = {name: [] for name in columns}
            for _ in range(args.rounds):
                for name, measure in columns.items():
                    found[name].append(measure())
            print(row, flush=True)
            for name, values in sorted(found.items(), key=lambda item: statistics.median(item[1])):
                print(f"    {name:18} {statistics.median(values):10.2f} us", flush=True)
            ratios[row] = found
        compare(ratios)
        if not args.names:
            print("get_or_set by 64 threads of a value that takes 50 ms")
            for name in names:
                milliseconds, loads = stampede(name)
                print(f"    {name:18} {milliseconds:8.0f} ms, made {loads} times")


if __name__ == "__main__":
    main()
