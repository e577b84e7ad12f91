"""What is asked of an Aerospike cluster: text commands, as ``asinfo`` sends them, put to all nodes at once."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from django_etcdaero.doctor.checking import NotVisible, Probe
from django_etcdaero.doctor.subjects import AerospikeNamespace
from django_etcdaero.exceptions import NotSupported, PermissionDenied

Properties: TypeAlias = Mapping[str, str]
"""Names and values, as a node tells them."""
ByNode: TypeAlias = Mapping[str, Properties]

EPOCH: Final = 1262304000
"""Aerospike's clocks count from 2010."""
NO_RIGHT: Final = range(80, 87)
"""Results for a user without the role that a command needs."""

_REFUSED = re.compile(r"(?:ERROR|FAIL)(?::(\d*)|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Clocks:
    """How far nodes' clocks are ahead of that of here, in whole seconds."""

    skews: Mapping[str, float]


def ask(namespace: AerospikeNamespace, command: str, timeout: float) -> dict[str, str]:
    """Return the answer of each node that gives one. Raises what the store raises.

    ``PermissionDenied`` when the user lacks the role for it, ``NotSupported`` when the nodes do not know the command.
    """
    store: Any = namespace.records.store()
    answers: dict[str, str] = store.ask_nodes(command, timeout=timeout)
    refusals = {node: match for node, text in answers.items() if (match := _REFUSED.match(text))}
    if len(refusals) < len(answers):
        return {node: text for node, text in answers.items() if node not in refusals}
    codes = {int(match[1] or 0) for match in refusals.values()}
    name, text = command.partition(":")[0], next(iter(answers.values()), "")
    if any(code in NO_RIGHT for code in codes):
        raise PermissionDenied(f"the user may not ask {name!r}: {text}")
    if any(word in text.lower() for word in ("unrecognized", "enterprise", "unsupported")) or codes == {4}:
        raise NotSupported(f"the nodes do not know {name!r}: {text}")
    raise NotVisible(f"the nodes refuse {name!r}: {text}")


def properties(text: str, *, delimiter: str = ";") -> dict[str, str]:
    """Read ``name=value;name=value``."""
    return dict(item.partition("=")[::2] for item in text.split(delimiter) if "=" in item)


def rows(text: str) -> list[dict[str, str]]:
    """Read rows of ``name=value:name=value``, each with a semicolon at its end."""
    return [found for row in text.split(";") if (found := properties(row, delimiter=":"))]


def number(told: Properties, *names: str) -> float | None:
    """Return the first of these that is told and is a number: servers of different age name them differently."""
    for name in names:
        try:
            return float(told[name])
        except (KeyError, ValueError):
            continue
    return None


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
