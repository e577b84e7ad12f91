"""A model of one announcement to many processes: the load on the stores over time, and when all have swapped.

    python benchmarks/model.py [--measured docs/_static/benchmarks/announcement] [--rows 100000] [--svg DIRECTORY]

It simulates processes of which each does, step by step, what one process did when ``announcement.py --json`` measured
it alone: notice, ask the record store, compute, ask again, swap, tell etcd. First it is held against the measured
announcements to 50 processes; then it speaks of more. What is in it and where that is from is printed last.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from simulation import Costs, Setting, Trace, per_second, share, simulate
from svg import Series, plot
from traces import costs_of, held_against, traced

MEASURED = Path(__file__).parent.parent / "docs" / "_static" / "benchmarks" / "announcement"
STEP = 0.25
"""Seconds over which the load is averaged."""

ASSUMPTIONS = (
    ("what a process does, and the CPU it takes", "traced: one process alone, median round of announcement.py"),
    ("the time until a process is told", "etcd's CPU for the event, in line, and what it took one process alone"),
    ("CPU that all processes together take longer than alone", "measured with 50; for more the factor 2"),
    ("CPU of Aerospike for a record and a call", "its threads' CPU in rounds with 50 processes, by least squares"),
    ("CPU of etcd for an event and a registration", "its threads' CPU in rounds with 50 processes, by least squares"),
    ("the rest of a call's time", "constant, as for one process: no other load, loopback"),
    ("network", "not measured: 10 Gbit/s for each node of the store and each host"),
    ("records", "spread evenly over the nodes of the store, served from memory"),
    ("etcd", "one member does it all; fsync is not what limits it"),
    ("calls past their deadline", "counted, not repeated: in fact they would come again"),
)

HEAD = (
    "processes", "a host", "shared", "SPLAY, s", "fetched, GB", "most GB/s", "p50, s", "last, s", "slowest call, s",
    "calls over 5 s", "etcd, most/s",
)  # fmt: skip


def line(setting: Setting, trace: Trace, costs: Costs) -> tuple[list[str], Series]:
    """Return a line of the table and one of the plot."""
    outcome = simulate(setting, trace, costs)
    fetched = per_second(((end, size / 1e9) for _, end, size in outcome.calls), STEP)
    slowest = max((end - begin for begin, end, _ in outcome.calls), default=0.0)
    etcd = max(amount for _, amount in per_second(((at, 1.0) for at in outcome.etcd), STEP))
    name = f"{setting.processes:,}, SPLAY {setting.splay:g}{', shared' if setting.shared else ''}"
    cells = [
        f"{setting.processes:,}", f"{setting.per_host}", "yes" if setting.shared else "no", f"{setting.splay:g}",
        f"{sum(size for _, _, size in outcome.calls) / 1e9:.2f}", f"{max(amount for _, amount in fetched):.2f}",
        f"{share(outcome.swaps, 0.5):.2f}", f"{outcome.swaps[-1]:.2f}", f"{slowest:.2f}", f"{outcome.late:,}",
        f"{etcd:,.0f}",
    ]  # fmt: skip
    return cells, Series(name, fetched)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--measured", type=Path, default=MEASURED, help="a directory that announcement.py wrote")
    parser.add_argument("--rows", type=int, default=100_000, help="of the measured dataset from which it goes on")
    parser.add_argument("--processes", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--per-host", type=int, default=16)
    parser.add_argument("--host-cores", type=int, default=8)
    parser.add_argument("--nodes", type=int, default=3, help="of the record store")
    parser.add_argument("--node-cores", type=int, default=8)
    parser.add_argument("--gigabits", type=float, default=10.0, help="of the network of each node and host")
    parser.add_argument("--splay", type=float, nargs="+", default=[2.0, 30.0])
    parser.add_argument("--svg", type=Path, help="a directory for the plots")
    args = parser.parse_args()
    found: list[dict[str, Any]] = [json.loads(path.read_text()) for path in sorted(args.measured.glob("*.json"))]
    alone = {each["rows"]: each for each in found if each["processes"] == 1 and not each["shared"]}
    many = [each for each in found if each["processes"] > 1 and not each["shared"]]
    costs = costs_of(many)
    print(
        f"CPU of the record store: {costs.call * 1e6:.0f} us a call, {costs.record * 1e6:.1f} a record;"
        f" of etcd: {costs.event * 1e6:.0f} an event, {costs.registration * 1e6:.0f} a registration"
    )
    for each in many:
        if each["rows"] not in alone:
            continue
        for kind in ("all", "few"):
            held_against(each, kind, traced(alone[each["rows"]][kind], costs), costs)
    usual = Setting(
        processes=0, per_host=args.per_host, splay=0.0, host_cores=args.host_cores,
        store_cores=args.nodes * args.node_cores, store_network=args.nodes * args.gigabits / 8 * 1e9,
        host_network=args.gigabits / 8 * 1e9, slower=2.0,
    )  # fmt: skip
    for kind in ("all", "few"):
        trace = traced(alone[args.rows][kind], costs)
        print(f"{args.rows:,} rows, {kind}: {trace.bytes / 1e6:.3f} MB and {trace.cpu:.3f} CPU seconds for a process")
        print(" | ".join(HEAD))
        series = []
        for processes in args.processes:
            for shared in (False, True):
                for splay in args.splay if kind == "all" else args.splay[:1]:
                    cells, curve = line(replace(usual, processes=processes, splay=splay, shared=shared), trace, costs)
                    print(" | ".join(cells), flush=True)
                    series.append(curve)
        if args.svg is not None and kind == "all":
            title = f"Fetched from the record store after an announcement, {trace.bytes / 1e6:.1f} MB each"
            drawn = plot(title, "seconds after the announcement", "GB a second", series, log_x=False, log_y=False)
            (args.svg / "model.svg").write_text(drawn)
    for what, source in ASSUMPTIONS:
        print(f"- {what}: {source}")


if __name__ == "__main__":
    main()
