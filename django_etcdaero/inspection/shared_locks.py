"""Semaphores and read/write locks among the queues that were found.

Contenders tell in their introduction that they want one of these. Of a read/write lock there are two queues, that of
the readers and that of the writers, which belong together; etcd's Go client tells nothing about itself there, but calls
its readers and writers by the time.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.queue.holder import Holder
from django_etcdaero.keyvalue.queue.layout import GO_LAST_PART, limit_key, read_limit, side_of, sides
from django_etcdaero.keyvalue.queue.lock import Lock
from django_etcdaero.keyvalue.queue.rwlock import RWLock, count_holders
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.clocks import monotonic

from .contended import Contended, Kind

MOST_LIMITS = 50
"""Semaphores of which the limit is read, one a call; of more than that only the first holder is known for one."""

_SIDE = re.compile(rb"(?s:(?P<name>.+))/(?P<role>read|write)")
_SIDE_IN_GO = re.compile(rb"(?s:(?P<name>.+))/(?:read|write)/%s" % GO_LAST_PART)


def joined(queues: Sequence[Contended], leased: Iterable[KeyValue]) -> list[Contended]:
    """Return ``queues`` with the two of each read/write lock made one; ``leased`` are all keys on leases."""
    both: dict[bytes, list[Holder]] = defaultdict(list)
    others = []
    for queue in queues:
        side = _SIDE.fullmatch(queue.name)
        if side is not None and all(each.role == side["role"].decode() for each in queue.queue):
            both[side["name"]].extend(queue.queue)
        else:
            others.append(queue)
    for each in leased:
        if each.lease and (found := _SIDE_IN_GO.fullmatch(each.key)) is not None:
            both[found["name"]].append(_holder(found["name"], each))
    return sorted([*others, *(_rwlock(name, queue) for name, queue in both.items())], key=lambda each: each.name)


def one_joined(name: bytes, kvs: Iterable[KeyValue]) -> Contended | None:
    """Return the read/write lock ``name``, of which ``kvs`` are the keys below its name; ``None``: it is none."""
    queue = [_holder(name, each) for each in sides(name, kvs) if _is_side(name, each)]
    return _rwlock(name, queue) if queue else None


def belongs_to(name: bytes) -> bytes:
    """Return the name of the read/write lock whose readers or writers queue up under ``name``, or else ``name``."""
    side = _SIDE.fullmatch(name)
    return name if side is None else side["name"]


def with_limits(kv: KV, queues: Sequence[Contended], *, until: float = math.inf) -> list[Contended]:
    """Return ``queues`` with the number of those who hold each semaphore, as far as there is time ``until`` then (by
    ``time.monotonic``). Raises what the store raises."""
    semaphores = [each.name for each in queues if each.kind is Kind.SEMAPHORE][:MOST_LIMITS]
    limits = {name: read_limit(kv.range(limit_key(name)).kvs) for name in semaphores if monotonic() < until}
    return [
        replace(each, held=min(limits[each.name] or 1, len(each.queue)), limit=limits[each.name])
        if each.name in limits
        else each
        for each in queues
    ]


def contest(kv: KV, seen: Contended | None, name: bytes) -> Lock | RWLock:
    """Return an object of the kind of what was ``seen`` under ``name``."""
    match seen and seen.kind:
        case Kind.SEMAPHORE:
            return kv.semaphore(name)
        case Kind.RWLOCK:
            return kv.rwlock(name)
        case _:
            return kv.lock(name)


def _is_side(name: bytes, kv: KeyValue) -> bool:
    return bool(_SIDE_IN_GO.fullmatch(kv.key)) or Holder.read(kv, kv.value).role == side_of(name, kv.key)


def _holder(name: bytes, kv: KeyValue) -> Holder:
    return replace(Holder.read(kv, kv.value), role=side_of(name, kv.key))


def _rwlock(name: bytes, queue: Sequence[Holder]) -> Contended:
    in_turn = tuple(sorted(queue, key=lambda each: each.token))
    return Contended(name, Kind.RWLOCK, in_turn, count_holders(in_turn))
