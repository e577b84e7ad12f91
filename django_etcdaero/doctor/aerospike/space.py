"""How much room a namespace has, and what happens when it runs out: no writes, or records that vanish."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Verdict, check, error, info, ok, warning
from django_etcdaero.doctor.subjects import AerospikeNamespace
from django_etcdaero.doctor.words import percent, some
from django_etcdaero.records.aerospike.node_answers import Properties, number, part_used

from .facts import NAMESPACE, SETS

USED_WARN, USED_BAD = 0.80, 0.85
"""Parts of the memory or storage that are used."""
NEAR_STOP: Final = 10
"""Per cent of contiguous space above the limit at which writes are stopped."""
MANY_OBJECTS, LASTING = 1000, 0.5
"""Records of a cache, and the part of them that may be there for ever without a word."""
MANY_SETS, MOST_SETS = 750, 1000
"""Sets of a namespace; 4,095 is the end."""
SET_WARN, SET_BAD = 0.80, 0.99
"""Parts of what a set may have."""


@check(
    "aerospike.stop_writes",
    "whether the namespace takes writes",
    of=AerospikeNamespace,
    needs=(NAMESPACE,),
    why=gettext_noop(
        "A namespace that stops writes takes reads, deletes and truncations only: no refresh is stored, no "
        "cache filled."
    ),
)
def stop_writes(facts: Facts) -> Iterator[Verdict]:
    for node, each in facts[NAMESPACE].items():
        if each.get("stop_writes") == "true":
            yield error(f"{node} takes no writes", "add nodes or memory, delete what is not needed; then see its log")
        if each.get("clock_skew_stop_writes") == "true":
            yield error(f"{node} takes no writes because its clock is wrong", "chronyc tracking, on each node")
        if each.get("hwm_breached") == "true":
            yield warning(f"{node} is above the mark at which it evicts records", "add nodes or memory")
    yield ok("it does")


@check(
    "aerospike.space",
    "room that is left",
    of=AerospikeNamespace,
    needs=(NAMESPACE,),
    why=gettext_noop(
        "Writes stop when the storage has no contiguous space left, or too much of it is used; and when a node is lost "
        "the others must have room for what it held."
    ),
)
def space(facts: Facts) -> Iterator[Verdict]:
    worst, nodes = 0.0, len(facts[NAMESPACE])
    for node, each in facts[NAMESPACE].items():
        available, stop = number(each, "data_avail_pct", "device_available_pct"), _stop_below(each)
        part = part_used(each)
        if available is not None and available < stop + NEAR_STOP:
            yield error(
                f"{node}: {available:.0f} % contiguous space left; writes stop below {stop:.0f} %",
                "add nodes or storage; raise storage-engine.defrag-lwm-pct if much of it is holes",
            )
        if part is None:
            continue
        worst = max(worst, part)
        if part >= USED_WARN:
            say = error if part >= USED_BAD else warning
            yield say(f"{node}: {percent(part)} are used", "add nodes, memory or storage")
        elif nodes > 1 and part > (nodes - 1) / nodes:
            yield warning(
                f"{node}: {percent(part)} are used: the others cannot take what a lost node held", "add a node"
            )
    yield ok(f"at most {percent(worst)} of a node are used")


def _stop_below(told: Properties) -> float:
    return number(told, "storage-engine.stop-writes-avail-pct", "storage-engine.min-avail-pct") or 5.0


@check(
    "aerospike.eviction",
    "records that the servers take away early",
    of=AerospikeNamespace,
    needs=(NAMESPACE, SETS),
    why=gettext_noop(
        "A cache may lose entries before their time. Blocks of a dataset have no time to live while a version needs "
        "them, but what is being written does: eviction in the middle of a refresh makes it fail."
    ),
)
def eviction(facts: Facts) -> Iterator[Verdict]:
    evicted = sum(number(each, "evicted_objects") or 0 for each in facts[NAMESPACE].values())
    rows = [row for each in (facts.get(SETS) or {}).values() for row in each]
    exempt = {row.get("set") for row in rows if row.get("disable-eviction") == "true"}
    open_sets = [name for name in facts.subject.sets if name not in exempt]
    if not evicted:
        yield ok("none so far")
    elif facts.subject.for_datasets and open_sets:
        name = facts.subject.namespace
        yield warning(
            f"{evicted:,.0f} records were evicted, from a namespace that holds datasets ({some(open_sets)})",
            "put caches into a namespace of their own, or exempt the set: asinfo -v "
            f"'set-config:context=namespace;namespace={name};set={open_sets[0]};disable-eviction=true'",
        )
    else:
        yield info(f"{evicted:,.0f} records were evicted", "give the cache more room, if it misses too often")


@check(
    "aerospike.expiry",
    "whether records that are over are cleared away",
    of=AerospikeNamespace,
    needs=(NAMESPACE,),
    why=gettext_noop(
        "With nsup-period 0, the default of the server, a namespace refuses every record that is to expire: refreshes "
        "and caches then fail with 'forbidden'."
    ),
)
def expiry(facts: Facts) -> Iterator[Verdict]:
    name = facts.subject.namespace
    for node, each in facts[NAMESPACE].items():
        period = number(each, "nsup-period")
        if period == 0 and each.get("allow-ttl-without-nsup") != "true":
            yield error(
                f"{node} has nsup-period 0 and refuses records with a time to live",
                f"nsup-period 120 in its configuration, and at run time asinfo -v 'set-config:context=namespace;"
                f"namespace={name};nsup-period=120'",
            )
        elif period == 0:
            yield warning(f"{node} never clears expired records away (nsup-period 0)", "nsup-period 120")
        share = number(each, "nsup_cycle_deleted_pct") or 0.0
        if share > 1:
            yield warning(
                f"{node} finds {share:g} % of all records expired in each round: it falls behind",
                "a shorter nsup-period",
            )
        objects, lasting = number(each, "objects") or 0.0, number(each, "non_expirable_objects") or 0.0
        if not facts.subject.for_datasets and objects >= MANY_OBJECTS and lasting > LASTING * objects:
            yield info(
                f"{node}: {percent(lasting / objects)} of the records never expire, in a namespace of caches",
                "look for keys that are set with timeout None",
            )
        if facts.subject.for_datasets and each.get("apply-ttl-reductions") == "false":
            yield warning(
                f"{node} does not let a record live shorter than it was to (apply-ttl-reductions false): replaced "
                "versions stay for ever",
                f"asinfo -v 'set-config:context=namespace;namespace={name};apply-ttl-reductions=true'",
            )
    yield ok("they are")


@check(
    "aerospike.sets",
    "sets of the namespace",
    of=AerospikeNamespace,
    needs=(SETS,),
    why=gettext_noop(
        "A set that reaches the limit that was set for it takes no writes; a namespace has 4,095 sets at most, "
        "and their "
        "names never go away before a restart."
    ),
)
def sets(facts: Facts) -> Iterator[Verdict]:
    most = max((len(each) for each in facts[SETS].values()), default=0)
    for node, found in facts[SETS].items():
        for row in found:
            if row.get("set") in facts.subject.sets and (part := _part_of_limit(row)) >= SET_WARN:
                say = error if part >= SET_BAD else warning
                yield say(
                    f"{node}: the set {row['set']!r} has {percent(part)} of what it may have",
                    "raise its stop-writes-count or stop-writes-size, or make it smaller",
                )
    if most >= MANY_SETS:
        say = warning if most >= MOST_SETS else info
        yield say(f"{most} sets", "use fewer sets: one for records, one for each cache")
    yield ok(f"{most} sets")


@check(
    "aerospike.truncation",
    "whether a set is being emptied",
    of=AerospikeNamespace,
    needs=(NAMESPACE, SETS),
    why=gettext_noop(
        "While nodes truncate, which clear() of a cache may ask for, they read all their records, and are slower."
    ),
)
def truncation(facts: Facts) -> Iterator[Verdict]:
    at_it = [node for node, each in facts[NAMESPACE].items() if each.get("truncating") == "true"]
    for node, found in (facts.get(SETS) or {}).items():
        at_it += [f"{node}: {row.get('set')}" for row in found if row.get("truncating") == "true"]
    if at_it:
        yield info(f"at this moment: {some(at_it)}", "wait")
    else:
        yield ok("none")


def _part_of_limit(row: Properties) -> float:
    parts = [0.0]
    for limit, figure in (("stop-writes-count", "objects"), ("stop-writes-size", "data_used_bytes")):
        most, there = number(row, limit), number(row, figure)
        if most and there is not None:
            parts.append(there / most)
    return max(parts)
