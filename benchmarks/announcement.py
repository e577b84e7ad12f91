"""One announcement and many real processes: when each of them has swapped, and what the stores have to do for it.

    python benchmarks/announcement.py [--rows 20000 40000] [--processes 1 50] [--alone 100000] [--splay 2]
        [--shared --hosts 5] [--limit 240] [--json DIRECTORY]

Each process has its own connections. ``--interpreters`` of them are interpreters of their own, the others are forked
from those before anything is opened. In one kind of round all rows change, so that everything is fetched and spread
over ``SPLAY``; in the other 20, which ``load_changes()`` tells. Told is the time from the announcement to the swap,
what was asked of the stores (counted by the clients), and the CPU of the servers, if they are on this machine. With
``--shared`` the processes share files as those of ``--hosts`` hosts would. After ``--limit`` seconds it ends with what
it has. ``model.py`` goes on from what ``--json`` writes: what a process did one step after the other (``--alone``: of
larger datasets, too), and how long it took all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Any

from counting import Log, Servers, difference, instrument
from stage import machine, make_typed_rows, python, set_up

CHANGED = 20
"""Rows that change in a round of the second kind."""
KINDS = ("all", "few")
REGISTERED = 3.0
"""Seconds after which processes ask for nothing any more."""
IDLE = 3.0
"""Seconds for which it is counted what servers do while nothing happens."""
TOLD = 1.2
"""Seconds after the last swap in which all processes have told that they hold the version, and the store is quiet."""


def declare(rows: dict[str, Any], log: list[str], *, shared: bool) -> Any:
    from django_etcdaero import Changes, dataset

    def load_changes(since: int) -> Changes[str]:
        return Changes({key: rows[key] for key in log[since:]}, [], len(log))

    @dataset(load_changes=load_changes, change_cursor=lambda: len(log), shared=shared, first_read_timeout=600.0)
    def products() -> dict[str, Any]:
        return rows

    return products


# --- a process that reads --------------------------------------------------------------------------------------------


def reader(args: argparse.Namespace) -> None:
    """Be some processes; each says, in a line, which version it has in use, and writes a log of its own."""
    set_up(args.directory, START="lazy", SPLAY=args.splay, SHARED_DIR=f"{args.directory}/host-{args.host}")
    from django_etcdaero import signals

    products = declare({}, [], shared=args.shared)
    number, own = args.number, True
    for other in range(1, args.forks + 1):
        if own and not os.fork():
            number, own = args.number + other, False
    log = Log(args.directory / f"reader-{number}.log")
    instrument(log)

    def arrived(snapshot: Any, **kwargs: Any) -> None:
        log.write("swap", time.time(), time.process_time(), version=snapshot.version)
        os.write(1, f"{snapshot.version}\n".encode())  # one write: the processes share the pipe

    signals.dataset_loaded.connect(arrived)
    products.wait_version(1, timeout=300)
    while True:
        signal.pause()


# --- the process that publishes ---------------------------------------------------------------------------------------


class Readers:
    """The processes that read."""

    def __init__(self, home: Path, count: int, splay: float, args: argparse.Namespace) -> None:
        self._home, self._count = home, count
        self._interpreters: list[tuple[subprocess.Popen[str], int]] = []
        number = 0
        for each in range(min(args.interpreters, count)):
            processes = count // args.interpreters + (each < count % args.interpreters)
            command = [*python(), __file__, "--role", "reader", "--directory", str(home), "--splay", str(splay)]
            command += ["--number", str(number), "--forks", str(processes - 1), "--host", str(each % args.hosts)]
            command += ["--shared"] if args.shared else []
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
            self._interpreters.append((process, processes))
            number += processes

    def wait(self, version: int, *, since: float) -> list[list[dict[str, Any]]]:
        """Wait until all have the version in use, and have told so; return what each has done since then."""
        for process, count in self._interpreters:
            for _ in range(count):
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line == f"{version}\n", line
        time.sleep(TOLD)
        logs = [(self._home / f"reader-{number}.log").read_text() for number in range(self._count)]
        lines = [[json.loads(line) for line in log.splitlines()] for log in logs]
        return [[line for line in some if line["began"] >= since] for some in lines]

    def end(self) -> None:
        for process, _ in self._interpreters:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


class Publisher:
    """Changes rows and announces them."""

    def __init__(self, count: int, *, shared: bool) -> None:
        self._rows, self._log = make_typed_rows(count), []
        self._products = declare(self._rows, self._log, shared=shared)
        self.first = self._products.refresh(force=True)
        assert self.first.ok, self.first.error
        self.servers = Servers(self._products)
        self._announced = 0.0
        """When the last announcement was sent to etcd."""
        from django_etcdaero.datasets.publish.announcing import Announcing

        commit = Announcing._commit

        def committing(*args: Any) -> Any:
            self._announced = time.time()
            return commit(*args)

        Announcing._commit = committing  # type: ignore[method-assign]

    def announce(self, kind: str, readers: Readers | None = None) -> dict[str, Any]:
        """Announce a change, wait for all, and return what happened, with times from the announcement on."""
        chance = random.Random(len(self._log))
        for key in list(self._rows) if kind == "all" else chance.sample(sorted(self._rows), CHANGED):
            self._rows[key] = {**self._rows[key], "stock": chance.randrange(10**6)}
            self._log.append(key)
        before, self._announced = self.servers.counters(), 0.0
        result = self._products.refresh(force=True, full=kind == "all")
        at = self._announced
        assert result.ok, result.error
        assert result.changes == (kind == "few"), result
        did = [] if readers is None else readers.wait(result.version, since=at - 0.1)
        after = self.servers.counters()
        for line in (line for some in did for line in some):
            line["began"] -= at
            line["ended"] -= at
        swaps = [line["began"] for some in did for line in some if line.get("version") == result.version]
        return {"swaps": sorted(swaps), "did": did, "servers": difference(after, before)}


# --- what is told ----------------------------------------------------------------------------------------------------


def of_kind(did: list[list[dict[str, Any]]], kind: str) -> list[dict[str, Any]]:
    return [line for some in did for line in some if line["kind"].startswith(kind)]


def over_time(calls: list[dict[str, Any]]) -> str:
    """Say how many bytes were fetched over time, in at most 24 steps."""
    last = max((call["ended"] for call in calls), default=0.0)
    step = max(0.25, last / 24)
    amounts = [0.0] * (int(last / step) + 1)
    for call in calls:
        amounts[max(0, int(call["ended"] / step))] += call["bytes"] / 1e6
    return f"MB in steps of {step:.2f} s (a round): " + " ".join(f"{amount:.1f}" for amount in amounts)


def show(processes: int, kind: str, rounds: list[dict[str, Any]]) -> None:
    swaps = sorted(swap for each in rounds for swap in each["swaps"])
    at = {name: swaps[min(len(swaps) - 1, int(len(swaps) * share))] for name, share in (("p50", 0.5), ("p99", 0.99))}
    last = median(each["swaps"][-1] for each in rounds)
    print(
        f"{processes} processes, {kind}: announcement to swap p50 {at['p50']:.3f}, p99 {at['p99']:.3f},"
        f" longest {swaps[-1]:.3f} s; the last of a round {last:.3f} s (median)"
    )
    calls = [of_kind(each["did"], "records") for each in rounds]
    requests, bytes_ = (median(map(len, calls)), median(sum(call["bytes"] for call in some) for some in calls))
    slowest = max((call["ended"] - call["began"] for some in calls for call in some), default=0)
    etcd = median(len(of_kind(each["did"], "etcd")) for each in rounds)
    print(
        f"    asked of the record store: {requests:,.0f} calls, {bytes_ / 1e6:,.2f} MB, the slowest {slowest:.3f} s;"
        f" of etcd: {etcd:.0f} calls"
    )
    print(f"    {over_time(calls[-1])}")
    counted = {name: median(each["servers"][name] for each in rounds) for name in rounds[0]["servers"]}
    counted.pop("seconds")
    print("    of the servers: " + ", ".join(f"{name} {value:,.4g}" for name, value in counted.items()), flush=True)


def measure(args: argparse.Namespace) -> None:
    """Announce to so many processes, all rows and few; to one process at once, without a delay."""
    processes, count = args.processes[0], args.rows[0]
    args.directory = home = set_up()
    publisher = Publisher(count, shared=args.shared)
    splay = args.splay if processes > 1 else 0
    print(f"{count:,} rows, {publisher.first.bytes_total / 1e6:.1f} MB", flush=True)
    found: dict[str, Any] = {
        "rows": count, "processes": processes, "splay": splay, "shared": args.shared, "hosts": args.hosts,
        "bytes": publisher.first.bytes_total, "changed": CHANGED, "machine": machine(), "cores": os.cpu_count(),
    }  # fmt: skip
    found |= {kind: [] for kind in KINDS}
    ends = time.monotonic() + args.limit / 2
    readers = None
    try:
        signal.signal(signal.SIGALRM, too_late)
        signal.alarm(max(1, int(args.limit)))
        publishing = {kind: publisher.announce(kind)["servers"] for kind in KINDS}  # nobody reads yet
        readers = Readers(home, processes, splay, args)
        readers.wait(1 + len(KINDS), since=0)
        publisher.announce("few", readers)  # what is slower the first time is behind them
        time.sleep(REGISTERED)
        before = publisher.servers.counters()
        time.sleep(IDLE)
        idle = difference(publisher.servers.counters(), before)
        idle = {name: value / idle["seconds"] for name, value in idle.items()}
        for kind in KINDS * args.rounds:
            if found[kind] and time.monotonic() > ends:
                break
            each = publisher.announce(kind, readers)
            own = difference(each["servers"], publishing[kind])  # what the readers cost, beyond being there
            each["servers"] = difference(own, idle, times=own["seconds"])
            found[kind].append(each)
    except TimeoutError:
        print("    not finished in time", flush=True)
    finally:
        if readers is not None:
            readers.end()
        shutil.rmtree(home)
    for kind in KINDS:
        if found[kind]:
            show(processes, kind, found[kind])
    if not all(found[kind] for kind in KINDS):
        return
    if args.json is not None:
        for each in (each for kind in KINDS for each in found[kind]):
            condense(each, keep=processes == 1)
        args.json.write_text(json.dumps(found) + "\n")


def too_late(*args: object) -> None:
    raise TimeoutError


def condense(found: dict[str, Any], *, keep: bool) -> None:
    """Leave of a round what ``model.py`` needs; ``keep``: all that the process did."""
    calls = of_kind(found["did"], "records")
    found["calls"], found["records"] = len(calls), sum(call["records"] for call in calls)
    found["bytes"] = sum(call["bytes"] for call in calls)
    found["fetched"] = [[round(call["ended"], 3), call["bytes"]] for call in calls if call["records"] > 1]
    found["slowest"] = max((call["ended"] - call["began"] for call in calls), default=0.0)
    told = [(next(line for line in some if line["kind"] == "told"), some) for some in found["did"]]
    swapped = [(first, line) for first, some in told for line in some if "version" in line]
    found["cpu"] = sum(swap["used"] - first["used"] for first, swap in swapped)
    found["swaps"] = [round(swap, 4) for swap in found["swaps"]]
    if not keep:
        del found["did"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 40_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--alone", type=int, nargs="*", default=[100_000], help="rows that one process alone loads too")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds that all may take, at most")
    parser.add_argument("--interpreters", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--splay", type=float, default=2.0)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--hosts", type=int, default=5)
    parser.add_argument("--json", type=Path, help="a directory for what model.py reads")
    parser.add_argument("--role", choices=("reader", "measure"))
    parser.add_argument("--directory", type=Path)
    for name in ("--number", "--forks", "--host"):
        parser.add_argument(name, type=int, default=0)
    args = parser.parse_args()
    if args.role is not None:
        {"reader": reader, "measure": measure}[args.role](args)
        return
    print(machine(), flush=True)
    end = time.monotonic() + args.limit
    wanted = [(count, processes) for count in args.rows for processes in args.processes]
    wanted += [(count, 1) for count in args.alone if (count, 1) not in wanted]
    for number, (count, processes) in enumerate(wanted):
        shares = [20 + some for _, some in wanted[number:]]  # what one does not need is there for those after it
        limit = (end - time.monotonic()) * shares[0] / sum(shares)
        command = [*python(), __file__, "--role", "measure", "--rows", str(count), "--processes", str(processes)]
        command += ["--interpreters", str(args.interpreters), "--rounds", str(args.rounds)]
        command += ["--splay", str(args.splay), "--hosts", str(args.hosts), "--limit", str(limit)]
        command += ["--shared"] if args.shared else []
        if args.json is not None:
            args.json.mkdir(parents=True, exist_ok=True)
            name = f"{count}-{processes}{'-shared' if args.shared else ''}.json"
            command += ["--json", str(args.json / name)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
