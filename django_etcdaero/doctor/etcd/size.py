"""How much room a cluster has left, and what takes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Verdict, check, error, info, not_visible, ok, verdict_on, warning
from django_etcdaero.doctor.subjects import EtcdCluster
from django_etcdaero.doctor.words import percent, size
from django_etcdaero.keyvalue.administration import AlarmType

from .facts import ALARMS, METRICS, STATUSES, answering

WARN, FULL = 0.85, 0.95
"""Parts of the quota that are used."""
LARGE: Final = 64 << 20
"""Bytes below which a file is not worth a defragmentation."""
FRAGMENTED: Final = 0.5
"""Part of a file in use below which most of it is holes."""
MOST_QUOTA: Final = 8 << 30
"""Bytes beyond which etcd's makers advise against."""

_MAKE_ROOM: Final = (
    'etcdctl --endpoints={0} compact "$(etcdctl --endpoints={0} endpoint status -w json | grep -o \'"revision":[0-9]*\''
    ' | head -1 | cut -d: -f2)" && etcdctl --endpoints={0} defrag'
)


@check(
    "etcd.quota",
    "size of the database against its quota",
    of=EtcdCluster,
    needs=(STATUSES, METRICS),
    why=gettext_noop(
        "When a member's file reaches the quota the whole cluster takes deletes and nothing else: no refresh is "
        "announced, no lock taken, no lease granted."
    ),
)
def quota(facts: Facts) -> Iterator[Verdict]:
    metrics, seen, found = facts.get(METRICS) or {}, answering(facts[STATUSES]), []
    for endpoint, status in seen.items():
        told = metrics.get(endpoint)
        limit = status.db_size_quota or (told.value("etcd_server_quota_backend_bytes") if told else None)
        if not limit or limit <= 0:
            continue
        part = status.db_size / limit
        said = f"{endpoint}: {size(status.db_size)} of {size(limit)} ({percent(part)})"
        found.append(said)
        if part >= WARN:
            say = error if part >= FULL else warning
            yield say(f"{said} are used", _MAKE_ROOM.format(endpoint))
        elif limit > MOST_QUOTA:
            yield info(f"{said}: a quota above 8 GiB is more than etcd's makers advise", "--quota-backend-bytes")
    if not found:
        sizes = ", ".join(f"{endpoint}: {size(status.db_size)}" for endpoint, status in seen.items())
        reason = facts.failure(METRICS)
        why = f" ({verdict_on(reason).seen})" if reason else ""
        yield not_visible(f"{sizes}; the quota is not visible{why}: etcd tells it from 3.6 on, or in /metrics")
    yield ok("; ".join(found))


@check(
    "etcd.alarms",
    "alarms that are raised",
    of=EtcdCluster,
    needs=(ALARMS, STATUSES),
    why=gettext_noop(
        "With the alarm NOSPACE the cluster takes no writes until it is disarmed, even after room was made; "
        "with CORRUPT "
        "members disagree about their data."
    ),
)
def alarms(facts: Facts) -> Iterator[Verdict]:
    names = {status.member_id: endpoint for endpoint, status in answering(facts.get(STATUSES) or ()).items()}
    for each in facts[ALARMS]:
        where = names.get(each.member_id, f"member {each.member_id:x}")
        endpoint = names.get(each.member_id, "MEMBER:2379")
        if each.type is AlarmType.NOSPACE:
            remedy = f"{_MAKE_ROOM.format(endpoint)} && etcdctl --endpoints={endpoint} alarm disarm"
            yield error(f"{where} has raised NOSPACE: the cluster takes no writes", remedy)
        else:
            remedy = (
                f"stop {where}, remove it (etcdctl member remove {each.member_id:x}), and add it again with an empty "
                "data directory; if members cannot agree, restore a snapshot of before"
            )
            yield error(f"{where} has raised {each.type.name}: its data differs from that of the others", remedy)
    yield ok("none")


@check(
    "etcd.fragmentation",
    "holes in the file of the database",
    of=EtcdCluster,
    needs=(STATUSES,),
    why=gettext_noop(
        "What compaction frees stays in the file as holes and counts against the quota until the member is "
        "defragmented."
    ),
)
def fragmentation(facts: Facts) -> Iterator[Verdict]:
    seen = answering(facts[STATUSES])
    for endpoint, status in sorted(seen.items(), key=lambda each: each[1].is_leader):
        if not status.db_size_in_use:  # etcd before 3.4 does not tell
            continue
        part = status.db_size_in_use / max(1, status.db_size)
        if part < FRAGMENTED and status.db_size >= LARGE:
            last = " (last: it is the leader)" if status.is_leader and len(seen) > 1 else ""
            yield warning(
                f"{endpoint}: only {size(status.db_size_in_use)} of {size(status.db_size)} are in use",
                f"etcdctl --endpoints={endpoint} defrag{last}; one member at a time, it serves nobody meanwhile",
            )
    yield ok(", ".join(f"{endpoint}: {size(status.db_size_in_use)} in use" for endpoint, status in seen.items()))
