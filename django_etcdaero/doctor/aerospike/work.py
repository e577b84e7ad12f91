"""How the nodes do their work: latencies, failures, connections. Figures count since a node was started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Verdict, check, error, info, ok, warning
from django_etcdaero.doctor.subjects import AerospikeNamespace
from django_etcdaero.doctor.words import percent, some
from django_etcdaero.records.aerospike.node_answers import Properties, number

from .facts import LATENCIES, NAMESPACE, SERVICE, STATISTICS

LIMITS: Final[Mapping[str, Mapping[int, float]]] = {
    "read": {2: 5.0, 4: 1.0, 16: 0.1},
    "write": {4: 5.0, 16: 1.0, 64: 0.1},
}
"""By operation: milliseconds, and how many per cent may take longer."""
FAILING: Final = 0.05
"""Part of the calls that fail."""
FEW: Final = 1000
"""Calls of which no part is told."""
CONNECTIONS_WARN, CONNECTIONS_BAD = 0.80, 0.95
"""Parts of the connections that a node takes."""


@check(
    "aerospike.latency",
    "how long reads and writes take at the servers",
    of=AerospikeNamespace,
    needs=(LATENCIES,),
    why=gettext_noop(
        "A read of a process that starts, and each call of a cache, waits that long, and for the network besides."
    ),
)
def latency(facts: Facts) -> Iterator[Verdict]:
    told = 0
    for node, text in facts[LATENCIES].items():
        for operation, limits in LIMITS.items():
            shares = over(text, f"{{{facts.subject.namespace}}}-{operation}")
            told += bool(shares)
            for milliseconds, most in limits.items():
                share = shares.get(milliseconds, 0.0)
                if share > most:
                    yield warning(
                        f"{node}: {share:g} % of the {operation}s take more than {milliseconds} ms",
                        "asadm -e 'show latencies'; look at storage, CPU and network of that node",
                    )
                    break
    yield ok("within the limits" if told else "nothing was read or written in the last seconds")


def over(text: str, histogram: str) -> dict[int, float]:
    """Return by milliseconds how many per cent took longer, of one histogram of an answer to ``latencies``."""
    for part in text.split(";"):
        name, _, rest = part.partition(":")
        values = rest.split(",")
        if name == histogram and values[0] == "msec":  # with microsecond-histograms all that is told is below one
            return {2**power: float(value) for power, value in enumerate(values[2:]) if _is_number(value)}
    return {}


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


@check(
    "aerospike.errors",
    "calls that fail at the servers",
    of=AerospikeNamespace,
    needs=(NAMESPACE,),
    why=gettext_noop("Failures and timeouts at the servers are failures of refreshes, loads and caches here."),
)
def errors(facts: Facts) -> Iterator[Verdict]:
    for node, each in facts[NAMESPACE].items():
        for what in ("read", "write", "batch_sub_read", "batch_sub_write"):
            name = what if what.startswith("batch") else f"client_{what}"
            good, failed, late = (number(each, f"{name}_{end}") or 0 for end in ("success", "error", "timeout"))
            total = good + failed + late
            part = (failed + late) / total if total >= FEW else 0.0
            if part >= FAILING:
                yield warning(
                    f"{node}: {percent(part)} of {total:,.0f} {what.replace('_sub', '').replace('_', ' ')}s failed",
                    "asadm -e 'show statistics namespace like error', and the log of that node",
                )
    yield ok(f"less than {percent(FAILING)}")


@check(
    "aerospike.refusals",
    "writes that were refused for what they are",
    of=AerospikeNamespace,
    needs=(NAMESPACE,),
    why=gettext_noop("A record that is too big is never stored; a key that is busy is written by too many at once."),
)
def refusals(facts: Facts) -> Iterator[Verdict]:
    for node, each in facts[NAMESPACE].items():
        big, busy = number(each, "fail_record_too_big") or 0, number(each, "fail_key_busy") or 0
        if big:
            yield warning(
                f"{node} has refused {big:,.0f} records as too big",
                f"asinfo -v 'set-config:context=namespace;namespace={facts.subject.namespace};max-record-size=8M'",
            )
        lost, good = number(each, "fail_generation") or 0, number(each, "client_write_success") or 0
        if lost >= FEW and lost > FAILING * good:
            yield info(
                f"{node} has refused {lost:,.0f} writes because another one came first, of {good:,.0f}",
                "find out who writes the same keys of a cache at the same time",
            )
        if busy:
            yield info(f"{node} has refused {busy:,.0f} writes of a key that was busy", "find the hot key")
    yield ok("none")


@check(
    "aerospike.connections",
    "connections of clients",
    of=AerospikeNamespace,
    needs=(STATISTICS, SERVICE),
    why=gettext_noop("A node that has as many connections as it takes refuses the next process."),
)
def connections(facts: Facts) -> Iterator[Verdict]:
    told = []
    for node, each in facts[STATISTICS].items():
        there = number(each, "client_connections") or 0
        most = number(facts[SERVICE].get(node, {}), "proto-fd-max") or 0
        part = there / most if most else 0.0
        told.append(f"{there:.0f} of {most:.0f}")
        if part >= CONNECTIONS_WARN:
            say = error if part >= CONNECTIONS_BAD else warning
            yield say(
                f"{node}: {there:.0f} of {most:.0f} are in use", "raise proto-fd-max, and the limit of open files"
            )
        churn = _churn(each)
        if churn is not None and churn > 100:
            yield info(f"{node}: {churn:.0f} connections are opened each second", "let processes live longer")
    yield ok(some(told))


def _churn(told: Properties) -> float | None:
    opened, uptime = number(told, "client_connections_opened"), number(told, "uptime")
    return None if opened is None or not uptime or uptime < 60 else opened / uptime
