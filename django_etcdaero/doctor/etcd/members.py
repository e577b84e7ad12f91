"""Whether a cluster has the members that it should have, and whether they work together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Verdict, check, error, info, ok, verdict_on, warning
from django_etcdaero.doctor.subjects import EtcdCluster
from django_etcdaero.doctor.words import some, span
from django_etcdaero.exceptions import PermissionDenied

from .facts import ADVERTISED, HEALTH, MEMBERS, STATUSES, answering, named

BEHIND: Final = 1_000
"""Entries of the log that a member may lag behind what it has received."""
MOST: Final = 7
"""Members beyond which each write waits for too many."""
SLOW: Final = 0.15
"""Seconds that a read may take that a majority takes part in."""


@check(
    "etcd.reachable",
    "whether the members answer",
    of=EtcdCluster,
    needs=(HEALTH,),
    why=gettext_noop(
        "A cluster serves as long as more than half of its members work together; each that is missing is one that "
        "must not fail."
    ),
)
def reachable(facts: Facts) -> Iterator[Verdict]:
    failure = facts.failure(HEALTH)
    if failure is not None and not isinstance(failure, PermissionDenied):
        said = verdict_on(failure).seen
        yield error(said, "see to the servers (systemctl status etcd), the hosts in KV, and user and password")
        return
    found = facts[HEALTH]
    away = [each for each in found if not each.reachable]
    mute = [each for each in found if each.reachable and not each.serves_reads and not each.is_learner]
    told = some([named(each.endpoint, each.error or "no answer") for each in (*away, *mute)])
    if not any(each.healthy for each in found):
        yield error(f"no member serves: {told}", "systemctl status etcd on the hosts of the members")
    elif away or mute:
        yield warning(
            f"{len(away) + len(mute)} of {len(found)} endpoints do not serve: {told}", "systemctl status etcd"
        )
    else:
        slowest = max((each.latency or 0.0 for each in found), default=0.0)
        if slowest > SLOW:
            yield warning(
                f"all {len(found)} serve, but a linearizable read took {span(slowest)}",
                "look at disk and network of the members: etcdctl check perf, at a quiet hour",
            )
        else:
            yield ok(f"{len(found)} of {len(found)}; the slowest read took {span(slowest)}")


@check(
    "etcd.leader",
    "whether there is a leader",
    of=EtcdCluster,
    needs=(STATUSES,),
    why=gettext_noop("Without a leader nothing is written and no linearizable read answered."),
)
def leader(facts: Facts) -> Iterator[Verdict]:
    seen = answering(facts[STATUSES])
    without = [endpoint for endpoint, status in seen.items() if not status.leader]
    leaders = {status.leader for status in seen.values() if status.leader}
    if without:
        yield error(f"no leader is known to {some(without)}", "start the members that are missing, or restore a quorum")
    elif len(leaders) > 1:
        yield warning(
            "members name different leaders: an election is under way, or these are two clusters", "repeat it"
        )
    else:
        yield ok(f"all {len(seen)} members that answer follow one")


@check(
    "etcd.members",
    "number and state of the members",
    of=EtcdCluster,
    needs=(MEMBERS,),
    why=gettext_noop(
        "An odd number of three, five or seven survives the loss of a minority; one more makes writes slower and "
        "survives no more losses."
    ),
)
def members(facts: Facts) -> Iterator[Verdict]:
    found = facts[MEMBERS]
    voting = [each for each in found if not each.is_learner]
    waiting = [f"{each.id:x}" for each in found if not each.name]
    learners = [each.name for each in found if each.is_learner and each.name]
    if waiting:
        yield warning(
            f"{some(waiting)} was added and has never been started, and counts for the majority",
            f"start it with --initial-cluster-state=existing, or etcdctl member remove {waiting[0]}",
        )
    if learners:
        yield info(f"{some(learners)} is a learner, without a vote", "etcdctl member promote ID, when it has caught up")
    if len(voting) > MOST:
        yield warning(f"{len(voting)} members vote; seven are enough", "etcdctl member remove ID")
    elif len(voting) % 2 == 0:
        yield warning(
            f"{len(voting)} members vote: an even number survives no more losses than {len(voting) - 1}",
            "add a member (etcdctl member add) or remove one",
        )
    elif len(voting) == 1:
        yield info("one member: when it is away, so is the cluster", "three members survive the loss of one")
    else:
        yield ok(f"{len(voting)} members vote")


@check(
    "etcd.endpoints",
    "whether KV names all members",
    of=EtcdCluster,
    needs=(MEMBERS, ADVERTISED),
    why=gettext_noop(
        "A process moves to another member only if it knows of one; and addresses that members tell clients should be "
        "reachable for them."
    ),
)
def endpoints(facts: Facts) -> Iterator[Verdict]:
    known = facts.subject.address.endpoints
    away = {name: problem for name, problem in facts[ADVERTISED].items() if problem}
    there = [name for name, problem in facts[ADVERTISED].items() if not problem]
    if away:
        told = some([f"{name}: {problem}" for name, problem in away.items()])
        yield info(
            f"members tell clients of addresses that cannot be reached from here: {told}", "--advertise-client-urls"
        )
    missing = len(facts[MEMBERS]) - len(known)
    if missing > 0 and facts.subject.address.sync is None:
        example = ",".join([*map(str, known), *there])
        yield warning(
            f"KV names {len(known)} of {len(facts[MEMBERS])} members: the others are of no use to this project",
            f"name all hosts in KV, such as {example}, or add ?sync=60",
        )
    yield ok(f"{len(known)} named, {len(facts[MEMBERS])} members")


@check(
    "etcd.lag",
    "how far members lag behind",
    of=EtcdCluster,
    needs=(STATUSES,),
    why=gettext_noop(
        "A member that applies late answers late, and shows old data to reads that do not ask the leader."
    ),
)
def lag(facts: Facts) -> Iterator[Verdict]:
    most, seen = 0, answering(facts[STATUSES])
    newest = max((status.raft_index for status in seen.values()), default=0)
    for endpoint, status in seen.items():
        behind = newest - status.raft_applied_index
        most = max(most, behind)
        if behind > BEHIND:
            yield warning(
                f"{endpoint} has {behind} entries of the log still to apply",
                "look at its disk and CPU; one that does not catch up is better replaced",
            )
    yield ok(f"at most {most} entries")
