"""A dataset beside other places for rows that each request needs: memory of eight processes, and a read of one row.

    python benchmarks/compare.py [--rows 1000000] [--processes 8] [--only shared ...]

In this order, each by processes of its own: a dataset (frozen dicts, and typed), the same with ``shared``, an SQLite
file with a pickled row under each key, ``LocMemCache`` and django-redis (a redis-server is started for it; it is left
out where that is missing). Every process has read or stored every row once. Memory is the proportional share (PSS) of
all of them beyond what they had before, and what is outside of them: the file, the server. A read is by one thread at
random, and takes time of the clock, because one of them waits for a server. JSON of all rows is the measure of size.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from etcd_calls import free_port
from points import declare_small, pss, tell
from shared import declare, file_of
from stage import machine, make_typed_rows, python, set_up

from django_etcdaero.records.store import batches

READS, ROUNDS = 20_000, 5
Get = Callable[[str], Any]


def dataset(args: argparse.Namespace, **options: Any) -> Get:
    """Read all rows of the dataset, and return how one is read."""
    from django_etcdaero import dataset as declared

    @declared(first_read_timeout=600.0, **options)
    def products() -> dict[str, Any]:
        return {}

    products.wait_version(1, timeout=3600)
    assert sum(1 for _ in products.snapshot().values()) == args.rows
    get: Get = products.__getitem__
    return get


def struct(args: argparse.Namespace) -> Get:
    from typed_rows import Struct

    return dataset(args, row_type=Struct)


def sqlite(args: argparse.Namespace) -> Get:
    database = sqlite3.connect(f"file:{args.directory}/rows.sqlite3?mode=ro", uri=True)
    assert sum(1 for _ in database.execute("SELECT row FROM rows")) == args.rows
    one = "SELECT row FROM rows WHERE key = ?"
    return lambda key: pickle.loads(database.execute(one, (key,)).fetchone()[0])


def locmem(args: argparse.Namespace) -> Get:
    from django.core.cache.backends.locmem import LocMemCache

    cache = LocMemCache("rows", {"OPTIONS": {"MAX_ENTRIES": 2 * args.rows}, "TIMEOUT": None})
    for key, row in make_typed_rows(args.rows).items():
        cache.set(key, row)
    get: Get = cache.get
    return get


def redis(args: argparse.Namespace) -> Get:
    from django_redis.cache import RedisCache

    cache = RedisCache(f"redis://127.0.0.1:{args.port}/0", {"TIMEOUT": None})
    get: Get = cache.get
    return get


KINDS: dict[str, Callable[[argparse.Namespace], Get]] = {
    "frozen": dataset,
    "typed": struct,
    "shared": lambda args: dataset(args, shared=True),
    "SQLite": sqlite,
    "LocMemCache": locmem,
    "django-redis": redis,
}


def process(args: argparse.Namespace) -> None:
    """Be one of the processes: take the rows, say what that takes, and at a line of input what a read does."""
    set_up(args.directory, SPLAY=0, SHARED_DIR=f"{args.directory}/shared")
    warm(args)
    before = pss()
    get = KINDS[args.kind](args)
    tell()
    sys.stdin.readline()
    tell(megabytes=pss() - before)
    sys.stdin.readline()
    keys = [f"sku-{number:07d}" for number in random.Random(1).choices(range(args.rows), k=READS)]
    took = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for key in keys:
            get(key)
        took.append((time.perf_counter() - begin) / READS)
    tell(microseconds=statistics.median(took) * 1e6)


def warm(args: argparse.Namespace) -> None:
    """Import and connect what any use needs, whatever the number of rows: that is not what is compared."""
    if args.kind in ("frozen", "typed", "shared"):
        declare_small(shared=args.kind == "shared").wait_version(1, timeout=600)
    elif args.kind == "django-redis":
        redis(args)("nothing")


def ask(processes: list[subprocess.Popen[str]], *, go: bool = True) -> list[dict[str, Any]]:
    """Let processes go on, and return what they say."""
    for each in processes if go else ():
        each.stdin.write("\n")  # type: ignore[union-attr]
        each.stdin.flush()  # type: ignore[union-attr]
    return [json.loads(each.stdout.readline()) for each in processes]  # type: ignore[union-attr]


def prepare(kind: str, rows: dict[str, Any], args: argparse.Namespace) -> Callable[[], float]:
    """Store the rows where processes of this kind look for them; return what says how many MB are outside of them."""
    path = args.directory / "rows.sqlite3"
    if kind == "SQLite":
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, row BLOB) WITHOUT ROWID")
        database.executemany("INSERT INTO rows VALUES (?, ?)", ((key, pickle.dumps(row)) for key, row in rows.items()))
        database.commit()
        database.close()
        return lambda: path.stat().st_size / 1e6
    if kind == "django-redis":
        from django_redis.cache import RedisCache

        cache = RedisCache(f"redis://127.0.0.1:{args.port}/0", {"TIMEOUT": None})
        empty = used_by_redis(cache)
        for some in batches(rows, 1000):
            cache.set_many({key: rows[key] for key in some})
        return lambda: used_by_redis(cache) - empty
    return lambda: 0.0


def used_by_redis(cache: Any) -> float:
    return float(cache.client.get_client().info("memory")["used_memory_rss"]) / 1e6


def measure(kind: str, outside: Callable[[], float], args: argparse.Namespace) -> tuple[float, float, float]:
    """Return the MB of all processes, the MB outside of them, and the microseconds of a read."""
    command = [*python(), __file__, "--kind", kind, "--directory", str(args.directory), "--rows", str(args.rows)]
    command += ["--port", str(args.port)]
    processes = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(args.processes)]
    try:
        ask(processes, go=False)
        megabytes = sum(each["megabytes"] for each in ask(processes))
        return megabytes, outside(), ask(processes[:1])[0]["microseconds"]
    finally:
        for each in processes:
            each.kill()
            each.communicate()


def start_redis(args: argparse.Namespace) -> subprocess.Popen[bytes] | None:
    program = shutil.which("redis-server")
    if program is None or find_spec("django_redis") is None:
        return None
    command = [program, "--port", str(args.port), "--save", "", "--appendonly", "no", "--dir", str(args.directory)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", args.port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return server


def conduct(args: argparse.Namespace) -> None:
    args.directory = set_up()
    args.port = free_port()
    rows = make_typed_rows(args.rows)
    size = sum(len(json.dumps({key: row}, default=str)) for key, row in rows.items()) / 1e6
    products = declare(rows, [], shared=False)
    assert declare_small().refresh().ok
    result = products.refresh(force=True)
    assert result.ok, result.error
    print(f"{args.rows:,} rows, JSON {size:.1f} MB, stored {result.bytes_total / 1e6:.1f} MB; {machine()}", flush=True)
    server = start_redis(args)
    found: dict[str, tuple[float, float, float]] = {}
    head = ("", f"MB of {args.processes}", "MB outside", "all / JSON", "read, us", "of LocMemCache")
    try:
        for kind in args.only or KINDS:
            if kind == "django-redis" and server is None:
                print("django-redis or redis-server is not installed, and not measured")
                continue
            found[kind] = measure(kind, prepare(kind, rows, args), args)
            if kind == "shared":
                print(f"the shared file: {file_of(args).stat().st_size / 1e6:.1f} MB", flush=True)
        print(" | ".join(head))
        base = found["LocMemCache"][2] if "LocMemCache" in found else float("nan")
        for kind, (own, outside, read) in found.items():
            sizes = (f"{own:,.1f}", f"{outside:,.1f}", f"{(own + outside) / size:.2f}")
            print(" | ".join((kind, *sizes, f"{read:.2f}", f"{read / base:.3f}")))
    finally:
        if server is not None:
            server.kill()
            server.wait()
        shutil.rmtree(args.directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=KINDS)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    (process if args.kind else conduct)(args)


if __name__ == "__main__":
    main()
