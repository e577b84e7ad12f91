"""What ``announcement.py`` measured, as ``model.py`` needs it: one process step by step, and what servers took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from simulation import Call, Costs, Outcome, Setting, Trace, share, simulate


def traced(rounds: Sequence[dict[str, Any]], costs: Costs) -> Trace:
    """Return what the process did in the round of which the swap came at the median time."""
    chosen = sorted(rounds, key=lambda each: each["swaps"][0])[len(rounds) // 2]
    lines: list[dict[str, Any]] = chosen["did"][0]
    swap = next(line for line in lines if line["kind"] == "swap")
    calls = [line for line in lines if line["kind"] == "records" and line["began"] < swap["began"]]
    steps: list[tuple[float, Call]] = []
    told = next(line for line in lines if line["kind"] == "told")
    used = told["used"]
    for line in calls:
        cpu, wall = line["used_then"] - line["used"], line["ended"] - line["began"]
        server = costs.call + costs.record * line["records"]
        rest = max(0.0, wall - cpu - server)
        steps.append((max(0.0, line["used"] - used), Call(cpu, rest, line["records"], line["bytes"])))
        used = line["used_then"]
    first = next((at for at, (_, call) in enumerate(steps) if call.records > 1), len(steps))
    put = next((line for line in lines if line["kind"] == "etcd Put" and line["began"] > swap["began"]), None)
    return Trace(
        latency=max(0.0, told["began"]),
        before=tuple(steps[:first]),
        fetching=tuple(steps[first:]),
        last=swap["used"] - used,
        after=0.0 if put is None else put["used"] - swap["used_then"],
        register=0.0 if put is None else put["used_then"] - put["used"],
    )


def fitted(points: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Return ``a`` and ``b`` so that ``a x + b y`` is nearest to each third number; neither is below a microsecond."""
    xx, xy, yy = (sum(p[i] * p[j] for p in points) for i, j in ((0, 0), (0, 1), (1, 1)))
    xz, yz = (sum(p[i] * p[2] for p in points) for i in (0, 1))
    determinant = xx * yy - xy * xy
    if not determinant:
        return max(1e-6, xz / xx if xx else 0.0), 1e-6
    return max(1e-6, (xz * yy - yz * xy) / determinant), max(1e-6, (yz * xx - xz * xy) / determinant)


def costs_of(measured: Iterable[dict[str, Any]]) -> Costs:
    """Return what the servers took, from all rounds with many processes."""
    rounds = [each for found in measured for kind in ("all", "few") for each in found[kind]]
    store = [(each["calls"], each["records"], each["servers"].get("Aerospike: CPU, s", 0.0)) for each in rounds]
    etcd = [
        (len(each["swaps"]), each["servers"].get("etcd: Put", 0.0), each["servers"].get("etcd: CPU, s", 0.0))
        for each in rounds
    ]
    return Costs(*fitted(store), *fitted(etcd))


def as_measured(found: dict[str, Any], kind: str, trace: Trace, cores: int) -> Setting:
    """Return the setting in which announcements of this kind were measured: everything on one machine.

    That may have been busy with other work: how much of it was there for the processes is what they used of it when all
    of them had everything to decode.
    """
    full, processes = found["all"], found["processes"]
    wall = sum(max(each["swaps"]) - min(at for at, _ in each["fetched"]) for each in full)
    own = sum(cpu + call.cpu for cpu, call in (*trace.before, *trace.fetching)) + trace.last
    return Setting(
        processes=processes,
        per_host=processes,
        splay=found["splay"],
        host_cores=cores,
        slower=max(1.0, median(each["cpu"] for each in found[kind]) / processes / own),
        core_speed=min(1.0, sum(each["cpu"] for each in full) / wall / cores),
        together=True,
        store_network=float("inf"),
        host_network=float("inf"),
    )


def held_against(found: dict[str, Any], kind: str, trace: Trace, costs: Costs) -> Outcome:
    """Print what was measured beside what the model says of it."""
    setting = as_measured(found, kind, trace, found["cores"])
    outcome = simulate(setting, trace, costs)
    swaps = sorted(swap for each in found[kind] for swap in each["swaps"])
    print(
        f"{found['processes']} processes, {found['rows']:,} rows, {kind}: on {setting.host_cores} cores at"
        f" {setting.core_speed:.0%}, steps {setting.slower:.2f} x as long as alone"
    )
    slowest = median(each["slowest"] for each in found[kind])
    modelled = max((end - begin for begin, end, _ in outcome.calls), default=0.0)
    rows: list[tuple[str, float, float]] = [
        (name, share(swaps, part), share(outcome.swaps, part))
        for name, part in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9))
    ]
    rows.append(("last", median(each["swaps"][-1] for each in found[kind]), outcome.swaps[-1]))
    rows.append(("slowest call", slowest, modelled))
    for name, measured, said in rows:
        print(f"    {name:13} measured {measured:7.3f} s, modelled {said:7.3f} s")
    return outcome
