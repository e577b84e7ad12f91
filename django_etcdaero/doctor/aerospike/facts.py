"""What is asked of an Aerospike cluster: text commands, as ``asinfo`` sends them, put to all nodes at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from django_etcdaero.doctor.checking import NotVisible, Probe
from django_etcdaero.doctor.subjects import AerospikeNamespace
from django_etcdaero.exceptions import ResponseError
from django_etcdaero.records.aerospike.node_answers import Properties, number, properties, rows

ByNode: TypeAlias = Mapping[str, Properties]

EPOCH: Final = 1262304000
"""Aerospike's clocks count from 2010."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """How far nodes' clocks are ahead of that of here, in whole seconds."""

    skews: Mapping[str, float]


def ask(namespace: AerospikeNamespace, command: str, timeout: float) -> dict[str, str]:
    """Return the answers by node. Raises :class:`NotVisible` if all nodes refuse, and what the store raises."""
    try:
        return namespace.store().ask_nodes(command, timeout=timeout)
    except ResponseError as error:
        raise NotVisible(str(error)) from error


def _told(namespace: AerospikeNamespace, command: str, timeout: float) -> ByNode:
    """Return the properties that each node tells. Raises :class:`NotVisible` if none tells any."""
    found = {node: properties(text) for node, text in ask(namespace, command, timeout).items()}
    if not any(found.values()):
        raise NotVisible(f"the nodes tell nothing to {command.partition(':')[0]!r}")
    return found


def _statistics(namespace: AerospikeNamespace, timeout: float) -> ByNode:
    return _told(namespace, "statistics", timeout)


def _namespace(namespace: AerospikeNamespace, timeout: float) -> ByNode:
    """Figures (with underscores in their names) and settings (with hyphens)."""
    return _told(namespace, f"namespace/{namespace.namespace}", timeout)


def _network(namespace: AerospikeNamespace, timeout: float) -> ByNode:
    return _told(namespace, "get-config:context=network", timeout)


def _service(namespace: AerospikeNamespace, timeout: float) -> ByNode:
    return _told(namespace, "get-config:context=service", timeout)


def _sets(namespace: AerospikeNamespace, timeout: float) -> Mapping[str, list[dict[str, str]]]:
    return {node: rows(text) for node, text in ask(namespace, f"sets/{namespace.namespace}", timeout).items()}


def _builds(namespace: AerospikeNamespace, timeout: float) -> Mapping[str, str]:
    return ask(namespace, "build", timeout)


def _edition(namespace: AerospikeNamespace, timeout: float) -> Mapping[str, str]:
    return ask(namespace, "edition", timeout)


def _practices(namespace: AerospikeNamespace, timeout: float) -> Mapping[str, list[str]]:
    answers = ask(namespace, "best-practices", timeout)
    told = {node: properties(text).get("failed_best_practices", "none") for node, text in answers.items()}
    return {node: [] if text in ("none", "") else text.split(",") for node, text in told.items()}


def _outliers(namespace: AerospikeNamespace, timeout: float) -> Mapping[str, list[dict[str, str]]]:
    return {node: rows(text) for node, text in ask(namespace, "health-outliers", timeout).items()}


def _latencies(namespace: AerospikeNamespace, timeout: float) -> Mapping[str, str]:
    return ask(namespace, "latencies:", timeout)


def _clocks(namespace: AerospikeNamespace, timeout: float) -> Clocks:
    before = time.time()
    answers = _namespace(namespace, timeout)
    after = time.time()
    skews = {}
    for node, told in answers.items():
        seconds = number(told, "current_time", "current-time")
        if seconds is not None:
            there = EPOCH + seconds
            skews[node] = there - after if there > after else min(0.0, there + 1 - before)
    if not skews:
        raise NotVisible("the nodes do not tell their time")
    return Clocks(skews)


STATISTICS = Probe("statistics", _statistics)
NAMESPACE = Probe("namespace", _namespace)
NETWORK = Probe("network", _network)
SERVICE = Probe("service", _service)
SETS = Probe("sets", _sets)
BUILDS = Probe("builds", _builds)
EDITION = Probe("edition", _edition)
PRACTICES = Probe("practices", _practices)
OUTLIERS = Probe("outliers", _outliers)
LATENCIES = Probe("latencies", _latencies)
CLOCKS = Probe("clocks", _clocks)
