"""Whether data is safe: versions with known faults, members that differ, who may come in, clocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Verdict, check, error, info, ok, warning
from django_etcdaero.doctor.subjects import EtcdCluster
from django_etcdaero.doctor.words import against_here, some
from django_etcdaero.exceptions import PermissionDenied

from .facts import AUTH, HASHES, METRICS, STATUSES, answering

INCONSISTENT: Final = ((3, 5, 0), (3, 5, 2))
"""The first and the last version that may lose the agreement of its members
(https://github.com/etcd-io/etcd/blob/main/Documentation/postmortems/v3.5-data-inconsistency.md)."""
REPEATING: Final = ((3, 5, 0), (3, 5, 5))
"""The first and the last version that may do a write twice: a member that ends after a defragmentation, before the next
write, repeats its last entry when it starts (https://github.com/etcd-io/etcd/pull/14685; measured with 3.5.1)."""
OLDEST: Final = (3, 4)
SKEW: Final = 5.0
"""Seconds by which clocks may differ without a word."""


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; what has none is the least of all."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(each or 0) for each in match.groups()) if match else ()


@check(
    "etcd.version",
    "versions of the servers",
    of=EtcdCluster,
    needs=(STATUSES,),
    why=gettext_noop(
        "etcd 3.5.0 to 3.5.2 may lose data after a crash under load: a member then notes that it has applied entries "
        "which are not in its database, and its data differs from that of the others for good, without a word. Its "
        "makers advise against these versions in production; 3.5.3 mends it. Up to 3.5.5 a member that ends right "
        "after a defragmentation does its last write twice when it starts again, and is ahead of the others from then "
        "on: watches that move between members miss an event or get one twice. 3.5.6 mends that."
    ),
)
def version(facts: Facts) -> Iterator[Verdict]:
    found = {endpoint: status.version for endpoint, status in answering(facts[STATUSES]).items()}
    faulty = [name for name, said in found.items() if INCONSISTENT[0] <= numbers(said) <= INCONSISTENT[1]]
    if faulty:
        told = some([f"{name} runs {found[name]}" for name in faulty])
        yield error(
            f"{told}: 3.5.0 to 3.5.2 can leave members with different data after a crash",
            "upgrade to the newest 3.5 (3.5.6 or later), one member at a time; until then run with "
            "--experimental-initial-corrupt-check=true",
        )
    repeating = [name for name, said in found.items() if INCONSISTENT[1] < numbers(said) <= REPEATING[1]]
    if repeating:
        told = some([f"{name} runs {found[name]}" for name in repeating])
        yield warning(
            f"{told}: up to 3.5.5 a member that ends right after a defragmentation does its last write twice",
            "upgrade to the newest 3.5 (3.5.6 or later); until then write something after each defragmentation",
        )
    old = [name for name, said in found.items() if numbers(said)[:2] < OLDEST]
    if old:
        yield warning(f"{some(old)} runs {found[old[0]]}, which this package was never tried with", "upgrade to 3.5")
    if len(set(found.values())) > 1:
        told = ", ".join(f"{name} {said}" for name, said in sorted(found.items()))
        yield warning(f"members run different versions: {told}", "finish the upgrade")
    yield ok(", ".join(sorted(set(found.values()))))


@check(
    "etcd.divergence",
    "whether members have the same data",
    of=EtcdCluster,
    needs=(HASHES,),
    why=gettext_noop(
        "Members that differ give different answers, depending on which one is asked. etcd looks for that by itself "
        "only with --experimental-initial-corrupt-check and --experimental-compact-hash-check-enabled."
    ),
)
def divergence(facts: Facts) -> Iterator[Verdict]:
    found = facts[HASHES]
    comparable: dict[int, dict[int, list[str]]] = {}
    for each in found:
        comparable.setdefault(each.compact_revision, {}).setdefault(each.hash, []).append(each.endpoint)
    differing = [by_hash for by_hash in comparable.values() if len(by_hash) > 1]
    for by_hash in differing:
        told = " differs from ".join(some(names) for names in by_hash.values())
        yield error(
            f"at one and the same revision {told}",
            "find the member that is wrong (the minority), remove it, and add it again with an empty data directory",
        )
    if not differing and len(comparable) > 1:
        yield info("members have compacted to different revisions at this moment: nothing to compare", "repeat it")
    yield ok(f"{len(found)} members have the same checksum")


@check(
    "etcd.auth",
    "who may use the cluster",
    of=EtcdCluster,
    needs=(AUTH,),
    why=gettext_noop(
        "Without users everybody who reaches the port may read and delete everything, announcements and locks included."
    ),
)
def auth(facts: Facts) -> Iterator[Verdict]:
    address = facts.subject.address
    if isinstance(facts.failure(AUTH), PermissionDenied):
        yield ok("users are asked for, and this one may not see more")
    elif facts[AUTH].enabled:
        yield ok("users are asked for")
    elif address.on_this_host:
        yield info("no users are asked for; the cluster is reached by loopback addresses only")
    elif address.tls is not None and address.tls.cert is not None:
        yield info("no users are asked for; clients show a certificate", "etcdctl auth enable, for rights by prefix")
    else:
        yield warning(
            "no users are asked for, and the cluster is reached over the network",
            "etcdctl user add root && etcdctl user grant-role root root && etcdctl auth enable, a user for this "
            "project with a role for its PREFIX, and KV_USER and KV_PASSWORD; or a firewall",
        )


@check(
    "etcd.encryption",
    "whether connections are encrypted",
    of=EtcdCluster,
    needs=(),
    why=gettext_noop("What is not encrypted can be read and changed on the way, the password included."),
)
def encryption(facts: Facts) -> Iterator[Verdict]:
    address = facts.subject.address
    if address.tls is not None:
        yield ok("they are")
    elif address.on_this_host:
        yield ok("they are not, and do not leave this host")
    elif address.credentials is not None:
        yield warning("user and password are sent without encryption", "use etcds:// and servers with certificates")
    else:
        yield info("they are not", "use etcds:// and servers with certificates, where the network is not yours alone")


@check(
    "etcd.clock",
    "clocks of the members against that of here",
    of=EtcdCluster,
    needs=(METRICS,),
    why=gettext_noop(
        "Ages of datasets, and what expires in records on etcd, are times of hosts' clocks; logs cannot be compared "
        "either."
    ),
)
def clock(facts: Facts) -> Iterator[Verdict]:
    told = {name: each.skew for name, each in facts[METRICS].items() if each.skew is not None}
    wrong = {name: skew for name, skew in told.items() if abs(skew) >= SKEW}
    for name, skew in wrong.items():
        yield warning(f"the clock of {name} is at least {against_here(skew)}", "chronyc tracking, on both")
    yield ok(f"within {SKEW:g} s, {len(told)} of {len(facts[METRICS])} members tell theirs")
