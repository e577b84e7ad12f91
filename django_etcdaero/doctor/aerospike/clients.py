"""Who is connected with the nodes, as clients introduce themselves."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Probe, Verdict, check, info, ok
from django_etcdaero.doctor.subjects import AerospikeNamespace
from django_etcdaero.doctor.words import some
from django_etcdaero.records.aerospike.node_answers import rows

from .facts import ask


def _agents(namespace: AerospikeNamespace, timeout: float) -> Mapping[str, int]:
    """Return how many connections each kind of client has; of several nodes the most of one."""
    found: Counter[str] = Counter()
    for text in ask(namespace, "user-agents", timeout).values():
        for row in rows(text.strip()):
            name, count = agent(row.get("user-agent", "")), row.get("count", "")
            found[name] = max(found[name], int(count) if count.isdigit() else 0)
    return found


def agent(told: str) -> str:
    """Return client and application of what a node tells: Base64 of ``1,python-19.3.0,shop``."""
    try:
        text = base64.b64decode(told, validate=True).decode()
    except ValueError:
        return "unknown"
    _, client, application = (*text.split(",", 2), "", "")[:3]
    named = "" if application in ("", "not-set") else f" ({application})"
    return f"{client or 'unknown'}{named}" if client.isprintable() and application.isprintable() else "unknown"


AGENTS = Probe("agents", _agents)


@check(
    "aerospike.clients",
    "which clients are connected",
    of=AerospikeNamespace,
    needs=(AGENTS,),
    why=gettext_noop(
        "Clients of different versions are for the time of an upgrade, and one that nobody knows may write to the same "
        "sets. Servers before 8.1 do not tell."
    ),
)
def clients(facts: Facts) -> Iterator[Verdict]:
    found = facts[AGENTS]
    told = some([f"{name}: {count}" for name, count in sorted(found.items(), key=lambda each: -each[1])])
    versions = {name.partition(" ")[0] for name in found if name.startswith("python-")}
    if len(versions) > 1:
        yield info(f"{len(versions)} versions of the client for Python: {told}", "finish the upgrade")
    else:
        yield ok(told or "none has introduced itself")
