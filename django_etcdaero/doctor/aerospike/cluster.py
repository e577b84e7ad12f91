"""Whether the nodes of a cluster are one, each record has its copies, and all nodes are set up alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Verdict, check, error, info, ok, warning
from django_etcdaero.doctor.subjects import AerospikeNamespace
from django_etcdaero.doctor.words import against_here, some, span
from django_etcdaero.records.aerospike.node_answers import number

from .facts import BUILDS, CLOCKS, EDITION, NAMESPACE, NETWORK, OUTLIERS, PRACTICES, SERVICE, STATISTICS, ByNode

SAFE: Final = 3
"""Nodes with which one may fail while another is maintained."""
SKEW: Final = 5.0
"""Seconds by which the clocks of nodes and of this host may differ without a word."""
SKEW_WARN, SKEW_BAD = 2_000, 20_000
"""Milliseconds by which the clocks of nodes may differ from each other."""
INTERVALS, TIMEOUTS = range(150, 251), range(10, 16)
"""Milliseconds between two heartbeats, and how many may be missed."""


@check(
    "aerospike.cluster",
    "whether the nodes form one cluster",
    of=AerospikeNamespace,
    needs=(STATISTICS,),
    why=gettext_noop(
        "Nodes that do not see each other each serve what they have: writes to one side are lost or come back later."
    ),
)
def cluster(facts: Facts) -> Iterator[Verdict]:
    told = facts[STATISTICS]
    sizes = {node: int(number(each, "cluster_size") or 0) for node, each in told.items()}
    keys = {each.get("cluster_key", "") for each in told.values()}
    broken = [node for node, each in told.items() if each.get("cluster_integrity") == "false"]
    if len(keys) > 1:
        yield error(
            f"the nodes are in {len(keys)} clusters", "look at heartbeat addresses and the network between them"
        )
    if broken:
        yield error(f"{some(broken)} is not in agreement with the others", "asinfo -v 'recluster:', and its log")
    expected = max(sizes.values(), default=0)
    if expected != len(told):
        yield warning(
            f"{len(told)} of {expected} nodes answer this host",
            "see to those that are away; access-address must be reachable from here",
        )
    elif expected < SAFE:
        yield info(f"{expected} nodes" if expected > 1 else "one node: no failure is survived")
    yield ok(f"{expected} nodes")


@check(
    "aerospike.copies",
    "copies of each record",
    of=AerospikeNamespace,
    needs=(NAMESPACE, STATISTICS, SERVICE),
    why=gettext_noop(
        "A record with one copy is lost with its node; a lost block of a dataset is written again by the next "
        "load only."
    ),
)
def copies(facts: Facts) -> Iterator[Verdict]:
    nodes = len(facts[STATISTICS])
    for node, each in facts[NAMESPACE].items():
        effective = number(each, "effective_replication_factor")
        wanted = number(each, "replication-factor") or effective
        if effective is None or wanted is None:
            continue
        if effective < wanted:
            yield warning(
                f"{node}: {effective:.0f} copies where {wanted:.0f} are wanted", "add nodes, or wait for them"
            )
        elif effective < 2 <= nodes:
            yield warning(f"{node}: one copy of each record", "replication-factor 2, in the configuration of all nodes")
        elif effective < 2:
            yield info("one node, one copy of each record")
        alone = number((facts.get(SERVICE) or {}).get(node, {}), "paxos-single-replica-limit")
        if effective >= 2 and alone is not None and alone >= nodes > 1:
            yield warning(
                f"{node} keeps one copy as soon as {alone:.0f} nodes are left (paxos-single-replica-limit)",
                "paxos-single-replica-limit 1, in the configuration of all nodes",
            )
        dead = (number(each, "dead_partitions") or 0) + (number(each, "unavailable_partitions") or 0)
        if dead:
            yield error(
                f"{node}: {dead:.0f} partitions are dead or unavailable",
                f"bring back the missing nodes; then asinfo -v 'revive:namespace={facts.subject.namespace}'",
            )
    yield ok("as many as are wanted")


@check(
    "aerospike.namespace",
    "whether all nodes have the namespace",
    of=AerospikeNamespace,
    needs=(NAMESPACE,),
    why=gettext_noop("Records of a namespace that a node lacks cannot be there when it is their turn to hold them."),
)
def namespace(facts: Facts) -> Iterator[Verdict]:
    lacking = [node for node, each in facts[NAMESPACE].items() if each.get("type") == "unknown"]
    if lacking:
        yield error(
            f"{some(lacking)} lacks the namespace {facts.subject.namespace!r}",
            "add it to the configuration of every node, or correct the URL",
        )
    else:
        yield ok(f"{len(facts[NAMESPACE])} nodes have {facts.subject.namespace!r}")


@check(
    "aerospike.migrations",
    "partitions on the move",
    of=AerospikeNamespace,
    needs=(STATISTICS,),
    why=gettext_noop(
        "While partitions move, reads ask all copies and take longer; do not take another node down before it is over."
    ),
)
def migrations(facts: Facts) -> Iterator[Verdict]:
    left = sum(number(each, "migrate_partitions_remaining") or 0 for each in facts[STATISTICS].values())
    if left:
        yield info(f"{left:.0f} are still to move", "wait: asinfo -v 'cluster-stable:'")
    else:
        yield ok("none")


@check(
    "aerospike.consistency",
    "in which mode the namespace runs",
    of=AerospikeNamespace,
    needs=(NAMESPACE,),
    why=gettext_noop(
        "This package is written for the mode that stays available (AP): what it says of deletes that come back and of "
        "copies is about that."
    ),
)
def consistency(facts: Facts) -> Iterator[Verdict]:
    strong = [node for node, each in facts[NAMESPACE].items() if each.get("strong-consistency") == "true"]
    if strong:
        yield info("strong consistency: partitions may be unavailable, and a roster says which nodes belong to it")
    else:
        yield ok("available, partition tolerant (AP)")


@check(
    "aerospike.version",
    "versions and edition of the servers",
    of=AerospikeNamespace,
    needs=(BUILDS, EDITION),
    why=gettext_noop(
        "Community Edition has no users, no encryption and no durable deletes. Nodes of different versions are for the "
        "time of an upgrade."
    ),
)
def version(facts: Facts) -> Iterator[Verdict]:
    builds = sorted(set(facts[BUILDS].values()))
    editions = ", ".join(sorted(set((facts.get(EDITION) or {}).values())))
    if len(builds) > 1:
        yield warning(f"nodes run different versions: {', '.join(builds)}", "finish the upgrade")
    else:
        yield ok(f"{builds[0] if builds else '?'} {editions}".strip())


@check(
    "aerospike.clocks",
    "clocks of the nodes",
    of=AerospikeNamespace,
    needs=(CLOCKS, STATISTICS),
    why=gettext_noop(
        "Times to live and truncations are times of the nodes' clocks; a node that is far off keeps or loses "
        "what others "
        "do not, and with strong consistency takes no writes."
    ),
)
def clocks(facts: Facts) -> Iterator[Verdict]:
    apart = max(
        (number(each, "cluster_clock_skew_ms") or 0 for each in (facts.get(STATISTICS) or {}).values()), default=0
    )
    if apart >= SKEW_WARN:
        say = error if apart >= SKEW_BAD else warning
        yield say(f"the clocks of the nodes are {span(apart / 1000)} apart", "chronyc tracking, on each")
    for node, skew in facts[CLOCKS].skews.items():
        if abs(skew) >= SKEW:
            yield warning(
                f"the clock of {node} is at least {against_here(skew)}",
                "chronyc tracking, on both",
            )
    yield ok(f"within {SKEW:g} s")


@check(
    "aerospike.heartbeat",
    "how soon a dead node is noticed",
    of=AerospikeNamespace,
    needs=(NETWORK,),
    why=gettext_noop("Outside of these limits a node is missed too early, or calls wait for a dead one too long."),
)
def heartbeat(facts: Facts) -> Iterator[Verdict]:
    told = ""
    for node, each in facts[NETWORK].items():
        interval, missed = number(each, "heartbeat.interval"), number(each, "heartbeat.timeout")
        if interval is None or missed is None:
            continue
        told = f"{interval:.0f} ms, {missed:.0f} may be missed"
        if int(interval) not in INTERVALS or int(missed) not in TIMEOUTS:
            yield warning(f"{node}: {told}", "interval 150 and timeout 10, in network.heartbeat of all nodes")
            return
    yield ok(told or "not told")


@check(
    "aerospike.drift",
    "whether all nodes are configured alike",
    of=AerospikeNamespace,
    needs=(NAMESPACE, SERVICE),
    why=gettext_noop("With a setting that differs it depends on the key what is true of a record."),
)
def drift(facts: Facts) -> Iterator[Verdict]:
    found = differing(facts[NAMESPACE])
    if found:
        told = some([f"{name}: {', '.join(sorted(values))}" for name, values in sorted(found.items())])
        yield warning(f"the namespace differs between nodes: {told}", "asadm -e 'show config diff namespace'")
    service = differing(facts.get(SERVICE) or {})
    if service:
        told = some([f"{name}: {', '.join(sorted(values))}" for name, values in sorted(service.items())])
        yield info(f"the service differs between nodes: {told}", "asadm -e 'show config diff service'")
    yield ok("all alike")


def differing(nodes: ByNode) -> dict[str, set[str]]:
    """Return the settings that are not the same on all nodes, with their values; figures have no hyphens."""
    names = {name for each in nodes.values() for name in each if "-" in name and "_" not in name and "[" not in name}
    values = {name: {each.get(name, "not set") for each in nodes.values()} for name in names - _OWN}
    return {name: found for name, found in values.items() if len(found) > 1}


_OWN: Final = {
    *("rack-id", "storage-engine.device", "storage-engine.file", "active-rack"),
    *("node-id", "node-id-interface", "service-threads", "work-directory"),
}
"""Settings in which nodes differ on purpose."""


@check(
    "aerospike.practices",
    "what the servers say of their hosts",
    of=AerospikeNamespace,
    needs=(PRACTICES,),
    why=gettext_noop(
        "The server looks at its host when it starts (memory maps, swapping, huge pages, limits of files) and "
        "notes what "
        "may make it slow or end it."
    ),
)
def practices(facts: Facts) -> Iterator[Verdict]:
    failed = {node: found for node, found in facts[PRACTICES].items() if found}
    for node, found in failed.items():
        yield info(f"{node}: {', '.join(found)}", "https://aerospike.com/docs/database/manage/planning/best-practices")
    yield ok("nothing")


@check(
    "aerospike.outliers",
    "nodes and devices that differ from the others",
    of=AerospikeNamespace,
    needs=(OUTLIERS,),
    why=gettext_noop("A device or a link that is much slower than the others is about to fail."),
)
def outliers(facts: Facts) -> Iterator[Verdict]:
    found = [row for each in facts[OUTLIERS].values() for row in each]
    if found:
        told = some([" ".join(f"{name}={value}" for name, value in row.items()) for row in found])
        yield warning(told, "asadm -e 'show config', and the log of the node that is named")
    else:
        yield ok("none is told (the servers look for them with enable-health-check true)")
