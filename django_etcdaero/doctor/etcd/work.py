"""How a cluster does its work, by the metrics that its members keep since they were started."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Verdict, check, error, info, ok, warning
from django_etcdaero.doctor.subjects import EtcdCluster
from django_etcdaero.doctor.words import percent, some, span

from .facts import METRICS

FSYNC: Final = "etcd_disk_wal_fsync_duration_seconds"
COMMIT: Final = "etcd_disk_backend_commit_duration_seconds"
ROUND_TRIP: Final = "etcd_network_peer_round_trip_time_seconds"
ADVISED: Final = {FSYNC: 0.010, COMMIT: 0.025}
"""Seconds that 99 of 100 should take."""
BAD: Final = {FSYNC: 0.5, COMMIT: 0.25}
FAR: Final = 0.15
"""Seconds of a round trip between two members."""
CHANGES: Final = 4
"""Elections a day that are more than upgrades need."""
FAILED: Final = 20
"""Proposals an hour that fail."""
WARN, WRONG = 0.01, 0.05
"""Parts of the calls that fail at the server."""
FEW: Final = 1000
"""Calls of which no part is told."""

_WORDS: Final = {FSYNC: "writing the log to disk", COMMIT: "a commit of the database"}
_FAULTS: Final = ("Unknown", "ResourceExhausted", "Internal", "Unavailable", "DataLoss", "DeadlineExceeded")


@check(
    "etcd.disk",
    "how fast the disks are",
    of=EtcdCluster,
    needs=(METRICS,),
    why=gettext_noop("Each write waits for the disks of a majority; a slow disk makes leaders lose their place."),
)
def disk(facts: Facts) -> Iterator[Verdict]:
    told = []
    for what, advised in ADVISED.items():
        for name, took in _quantiles(facts, what):
            said = f"{name}: 99 of 100 times {_WORDS[what]} takes up to {_seconds(took)}"
            told.append(said)
            if took > BAD[what]:
                yield error(said, "give etcd a disk of its own, an SSD")
            elif took > 2 * advised:  # buckets are that wide
                yield warning(f"{said}; advised are {advised * 1000:g} ms", "give etcd a disk of its own, an SSD")
    yield ok("; ".join(told) or "too little was written yet to tell")


@check(
    "etcd.elections",
    "how often leaders change",
    of=EtcdCluster,
    needs=(METRICS,),
    why=gettext_noop(
        "During an election nothing is written. Frequent ones come of slow disks, of a busy CPU or of a bad network."
    ),
)
def elections(facts: Facts) -> Iterator[Verdict]:
    most = 0.0
    for name, metrics in facts[METRICS].items():
        changes, hours = metrics.value("etcd_server_leader_changes_seen_total"), metrics.hours()
        if not changes or not hours:
            continue
        daily = changes / max(hours, 24) * 24
        most = max(most, daily)
        if daily > CHANGES:
            yield warning(
                f"{name} has seen {changes:.0f} changes in {span(hours * 3600)}",
                "look at etcd.disk, and at the load of the hosts; then raise --election-timeout",
            )
    yield ok(f"at most {most:.1f} a day")


@check(
    "etcd.network",
    "round trips between members",
    of=EtcdCluster,
    needs=(METRICS,),
    why=gettext_noop("Each write waits for a round trip to a majority."),
)
def network(facts: Facts) -> Iterator[Verdict]:
    told = []
    for name, took in _quantiles(facts, ROUND_TRIP):
        told.append(f"{name}: up to {_seconds(took)}")
        if took > FAR:
            yield warning(
                f"{name}: 99 of 100 round trips to other members take up to {_seconds(took)}", "ping the peers"
            )
    yield ok("; ".join(told) or "none to measure")


@check(
    "etcd.proposals",
    "writes that the cluster could not agree on",
    of=EtcdCluster,
    needs=(METRICS,),
    why=gettext_noop("A proposal fails when the leader changes or the majority is lost: callers get OutcomeUnknown."),
)
def proposals(facts: Facts) -> Iterator[Verdict]:
    most = 0.0
    for name, metrics in facts[METRICS].items():
        failed, hours = metrics.value("etcd_server_proposals_failed_total") or 0.0, metrics.hours()
        hourly = failed / max(hours or 0.0, 1.0)
        most = max(most, hourly)
        if hourly > FAILED:
            yield warning(f"{name}: {failed:.0f} failed, {hourly:.0f} an hour", "look at etcd.elections and etcd.disk")
    yield ok(f"at most {most:.1f} an hour failed")


@check(
    "etcd.calls",
    "calls that fail at the servers",
    of=EtcdCluster,
    needs=(METRICS,),
    why=gettext_noop("These are failures of the cluster, not refusals of what clients ask for."),
)
def calls(facts: Facts) -> Iterator[Verdict]:
    worst = 0.0
    for name, metrics in facts[METRICS].items():
        by_method: dict[str, tuple[float, float]] = {}
        for labels, count in metrics.samples.get("grpc_server_handled_total", {}).items():
            told = dict(labels)
            if told.get("grpc_type") != "unary":  # streams end with Unavailable when they are left
                continue
            total, failed = by_method.get(told.get("grpc_method", ""), (0.0, 0.0))
            at_fault = count if told.get("grpc_code") in _FAULTS else 0.0
            by_method[told.get("grpc_method", "")] = total + count, failed + at_fault
        for method, (total, failed) in by_method.items():
            part = failed / total if total >= FEW else 0.0
            worst = max(worst, part)
            if part >= WARN:
                say = error if part >= WRONG else warning
                yield say(
                    f"{name}: {percent(part)} of {total:.0f} calls of {method} failed", "look at the servers' logs"
                )
    yield ok(f"at most {percent(worst)} of a method's calls")


@check(
    "etcd.watches",
    "watches that lag behind",
    of=EtcdCluster,
    needs=(METRICS,),
    why=gettext_noop("Who watches and takes its events too slowly learns late of announcements."),
)
def watches(facts: Facts) -> Iterator[Verdict]:
    slow = {name: found.value("etcd_debugging_mvcc_slow_watcher_total") or 0 for name, found in facts[METRICS].items()}
    lagging = [f"{name}: {count:.0f}" for name, count in slow.items() if count > 0]
    if lagging:
        yield info(f"some are catching up at this moment: {some(lagging)}")
    counts = {name: found.value("etcd_debugging_mvcc_watcher_total") or 0 for name, found in facts[METRICS].items()}
    yield ok(f"none; watches: {some([f'{name} {count:.0f}' for name, count in counts.items()])}")


def _quantiles(facts: Facts, histogram: str) -> Iterator[tuple[str, float]]:
    """Yield by member how long 99 of 100 took, of those that have counted enough to tell."""
    for name, metrics in facts[METRICS].items():
        took = metrics.quantile(histogram, 0.99)
        if took is not None:
            yield name, took


def _seconds(bound: float) -> str:
    return "more than can be told" if math.isinf(bound) else f"{bound * 1000:g} ms"
