"""Reads of one row side by side: from a mapped file, a dict, LMDB, SQLite, and the caches of Django."""

from __future__ import annotations

import os
import random
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

from stage import Row, make_typed_rows, pss

ROUNDS = 5
CACHED = 10
"""One of so many rows is put into the caches."""


def measured(kinds: Mapping[str, Callable[[Any], object]], keys: list[Any]) -> dict[str, float]:
    """Return the CPU microseconds of one read of each kind: the medians of rounds in which all take turns."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, read in kinds.items():
            before = time.process_time()
            for key in keys:
                read(key)
            times[name].append((time.process_time() - before) / len(keys) * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}


def reads(directory: Path, file: Path, *, rows: int, count: int) -> None:
    """Compare reads of ``count`` keys at random."""
    from django_etcdaero.datasets.blocks.codec import Encoder, decode
    from django_etcdaero.datasets.mapped.form import MappedFile
    from django_etcdaero.datasets.mapped.keys import pack
    from django_etcdaero.datasets.mapped.rows import MappedRows
    from django_etcdaero.datasets.mapped.stack import Stack

    stack = Stack(MappedFile(os.open(file, os.O_RDONLY)))
    shared: MappedRows[str, Any] = MappedRows(stack)
    every = make_typed_rows(rows)
    keys = random.Random(1).choices(sorted(every), k=count)
    encoder = Encoder()
    encoded = sorted(zip(*encoder.encode(list(every), list(every.values())), strict=True))
    from_sqlite = sqlite(directory / "rows.sqlite3", encoded)
    kinds: dict[str, Callable[[Any], object]] = {
        "dict": every.__getitem__,
        "shared": shared.__getitem__,
        "shared, rows of a NamedTuple": MappedRows[str, Any](stack, row_type=Row).__getitem__,
        "shared, in": shared.__contains__,
        "SQLite and decode": lambda key: decode(from_sqlite(pack(key)), frozen=True),
    }
    if (get := lmdb(directory / "lmdb", encoded)) is not None:
        kinds["LMDB and decode"] = lambda key: decode(get(pack(key)), frozen=True)
        kinds["LMDB alone"] = lambda key: get(pack(key))
    kinds |= structs(directory, stack, every)
    found = measured(kinds, keys)
    often = keys[: max(1, count // 100)] * 100
    found |= measured({"shared, cached": MappedRows[str, Any](stack, cached=len(set(often))).__getitem__}, often)
    with caches(dict(list(every.items())[:: max(1, min(CACHED, rows))]), rows) as (names, cached):
        found |= measured(cached, random.Random(2).choices(names, k=max(1, count // 10)))
    base = found.get("LMDB and decode", found["shared"])
    for name, microseconds in found.items():
        print(f"{name:32} {microseconds:8.2f} µs {microseconds / base:8.2f} x")


def sqlite(path: Path, encoded: Iterable[tuple[bytes, bytes]]) -> Callable[[bytes], bytes]:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")
    database.execute("BEGIN")
    database.executemany("INSERT INTO rows VALUES (?, ?)", encoded)
    database.execute("COMMIT")

    def get(key: bytes) -> bytes:
        row: bytes = database.execute("SELECT row FROM rows WHERE key = ?", (key,)).fetchone()[0]
        return row

    return get


def lmdb(path: Path, encoded: Iterable[tuple[bytes, bytes]]) -> Callable[[bytes], Any] | None:
    """Return what reads from an LMDB file with these rows; ``None``: it is not installed."""
    try:
        import lmdb as library
    except ImportError:
        print("LMDB is not installed, and not measured")
        return None
    with library.open(str(path), map_size=1 << 34) as environment, environment.begin(write=True) as writing:
        for key, row in encoded:
            writing.put(key, row, append=True)
    get: Callable[[bytes], Any] = library.open(str(path), readonly=True, lock=False).begin().get
    print(f"LMDB: {(path / 'data.mdb').stat().st_blocks * 512 / 2**20:,.0f} MB")
    return get


def structs(directory: Path, stack: Any, every: Mapping[str, Any]) -> dict[str, Callable[[Any], object]]:
    """Return reads of structs: ours, and those of msgspec from LMDB, stored as packed arrays."""
    try:
        import msgspec
    except ImportError:
        return {}
    from django_etcdaero.datasets.mapped.keys import pack
    from django_etcdaero.datasets.mapped.rows import MappedRows

    typed = list(get_type_hints(Row).items())
    struct = msgspec.defstruct("Struct", typed, frozen=True, gc=False)
    packed = msgspec.defstruct("Packed", typed, frozen=True, gc=False, array_like=True)
    encode, decoder = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(packed)
    get = lmdb(directory / "lmdb-structs", sorted((pack(key), encode(packed(**row))) for key, row in every.items()))
    ours: dict[str, Callable[[Any], object]] = {
        "shared, rows of a Struct": MappedRows[str, Any](stack, row_type=struct).__getitem__
    }
    if get is not None:
        ours["LMDB and msgspec to a Struct"] = lambda key: decoder.decode(get(pack(key)))
    return ours


@contextmanager
def caches(rows: Mapping[str, Any], every: int) -> Iterator[tuple[list[str], dict[str, Callable[[Any], object]]]]:
    """Give the keys and the reads of caches that hold some of ``every`` rows; say what all of them would take."""
    from django.core.cache.backends.locmem import LocMemCache

    local = LocMemCache("rows", {"OPTIONS": {"MAX_ENTRIES": 10**9}, "TIMEOUT": None})
    for key, row in rows.items():
        local.set(key, row)
    factor = every / len(rows)
    taken = sum(sys.getsizeof(key) + sys.getsizeof(value) for key, value in local._cache.items())
    print(
        f"LocMemCache: {taken * factor / 2**20:,.0f} MB of keys and values in each process, from 1 row of {factor:.0f}"
    )
    kinds: dict[str, Callable[[Any], object]] = {"LocMemCache": local.get}
    server = None
    try:
        from django_redis.cache import RedisCache

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        if shutil.which("redis-server"):
            server = subprocess.Popen(
                ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                stdout=subprocess.DEVNULL,
            )
            cache = RedisCache(f"redis://127.0.0.1:{port}/0", {"TIMEOUT": None})
            wait_for(port)
            empty = pss(server.pid)
            for key, row in rows.items():
                cache.set(key, row)
            print(f"Redis: {(pss(server.pid) - empty) * factor:,.0f} MB in its server, from 1 row of {factor:.0f}")
            kinds["django-redis"] = cache.get
    except ImportError:
        print("django-redis is not installed, and not measured")
    try:
        yield list(rows), kinds
    finally:
        if server is not None:
            server.kill()
            server.wait()


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("redis-server does not answer")
