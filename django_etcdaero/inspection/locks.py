"""Locks, semaphores, read/write locks and elections: who holds each, who waits, what is left of the lease.

A key is taken for a contender if its last part is the id of the lease that it is on, as all clients write it, or if it
has introduced itself in a second key (:mod:`django_etcdaero.keyvalue.queue.layout`); so a user's key on a lease is none
only because it is called ``workers/7``. The other contenders for a name that has one are those that the queue has.

An election is told from a lock by the second keys of its candidates, or, with candidates of other clients, by a value
that is no introduction. Semaphores and read/write locks are told by :mod:`.shared_locks`.

However many there are, reading all takes a call for each 10,000 keys of the alias (:mod:`.leased_keys`) and at most
:data:`MOST_RANGES` for what the contenders say, which stands in stretches of keys that follow each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from django_etcdaero.exceptions import VersionConflict
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.keys import prefix_end
from django_etcdaero.keyvalue.queue.holder import Holder
from django_etcdaero.keyvalue.queue.layout import LAST_PART, contenders, introductions, keys_of, label, second_key
from django_etcdaero.keyvalue.values import KeyValue, LeaseStatus
from django_etcdaero.system.clocks import monotonic

from .contended import Contended as Contended
from .contended import Kind as Kind
from .leased_keys import KeyAt, Looked, leased_keys
from .shared_locks import belongs_to, contest, joined, one_joined, with_limits

FINDING = 0.6
"""Part of the time that is for finding contenders; the rest is for reading what they say."""
MOST_RANGES = 50
"""Stretches of keys that are read for what contenders say; where they are more, keys between them are read as well."""
MOST_LEASES = 100
"""Leases of which it is asked how much time they have left, one a call."""

_PAGE = 1000
_CONTENDER = re.compile(rb"(?s:(?P<name>.+))/%s" % LAST_PART)
_SECOND = re.compile(rb"(?s:(?P<name>.+)):contenders/(?P<last>%s)" % LAST_PART)


class _Line(NamedTuple):
    name: bytes
    keys: list[bytes]
    """Of the contenders, in the order of their turns."""


def all_contended(kv: KV, *, seconds: float = math.inf) -> Looked[Contended]:
    """Find all locks of any kind and elections under the prefix of ``kv``, in the order of their names.

    After about ``seconds`` what was not read by then is left out; each that is told is told whole. Raises what the
    store raises.
    """
    until = monotonic() + seconds
    found = leased_keys(kv, seconds=seconds * FINDING)
    lines = list(_lines([each.kv for each in found.keys]))
    there = {each.kv.key for each in found.keys}
    # The keys of a queue stand beside each other: one that ends before the last key that was looked at is all there.
    known = [line for line in lines if not found.left_out or prefix_end(introductions(line.name)) <= found.last]
    wanted = {line.name: there.intersection(_keys(line)) for line in known}
    all_wanted = set[bytes]().union(*wanted.values())
    stretches = _stretches([each for each in found.keys if each.kv.key in all_wanted], MOST_RANGES)
    told = {each.key: each for each in _told(kv, stretches, found.revision, until)}
    read = {line.name for line in known if wanted[line.name] <= told.keys()}
    in_part = {belongs_to(line.name) for line in lines if line.name not in read}
    whole = [line for line in known if belongs_to(line.name) not in in_part]
    left_out = sum(len(line.keys) for line in lines) - sum(len(line.keys) for line in whole)
    queues = [each for each in (_contended(line, told) for line in whole) if each is not None]
    both = joined(queues, [each.kv for each in found.keys])
    return Looked(with_limits(kv, both, until=until), found.left_out + left_out)


def contended(kv: KV, name: bytes) -> Contended | None:
    """Return the lock or the election of a name; ``None``: nobody contends for it. Raises what the store raises."""
    found = kv.range(keys_of(name), prefix=True)
    seconds = kv.range(introductions(name), prefix=True, revision=found.revision)
    line = _in_turn(name, found.kvs)
    if not line.keys:
        return one_joined(name, found.kvs)
    queue = _contended(line, {each.key: each for each in (*found.kvs, *seconds.kvs)})
    return None if queue is None else with_limits(kv, [queue])[0]


def lease_statuses(kv: KV, leases: Iterable[int]) -> dict[int, LeaseStatus]:
    """Ask what is left of the first :data:`MOST_LEASES` leases. Raises what the store raises."""
    return {lease: kv.lease_status(lease) for lease in list(dict.fromkeys(leases))[:MOST_LEASES]}


def release(kv: KV, name: bytes, *, token: int) -> Holder:
    """Take the lock, or the lead, from the holder with ``token``; return who it was.

    Raises ``VersionConflict``, and changes nothing, if another one holds it or nobody does; and what the store raises.
    """
    removed = contest(kv, contended(kv, name), name).force_release(token=token)
    if removed is None:
        raise VersionConflict(
            f"nothing was released: {label(name)!r} is not held with the token {token} any more; look who has it now"
        )
    return removed


def remove_waiter(kv: KV, name: bytes, *, token: int) -> Holder:
    """Take the one with ``token`` out of the queue; return who it was.

    Raises ``VersionConflict``, and changes nothing, if it does not wait any more; and what the store raises.
    """
    removed = contest(kv, contended(kv, name), name).remove_waiter(token)
    if removed is None:
        raise VersionConflict(
            f"nobody was removed: the one with the token {token} does not wait for {label(name)!r} any more"
        )
    return removed


# --- finding the queues ----------------------------------------------------------------------------------------------


def _lines(leased: Sequence[KeyValue]) -> Iterator[_Line]:
    """Find the queues among keys on leases."""
    introduced = {
        keys_of(match["name"]) + match["last"]: each.lease
        for each in leased
        if (match := _SECOND.fullmatch(each.key)) is not None
    }
    by_name: dict[bytes, list[KeyValue]] = {}
    sure = set()
    for each in leased:
        match = _CONTENDER.fullmatch(each.key)
        if match is not None and not match["name"].endswith(b":contenders"):
            by_name.setdefault(match["name"], []).append(each)
            if int(match["lease"], 16) == each.lease or introduced.get(each.key) == each.lease:
                sure.add(match["name"])
    for name in sorted(sure):
        yield _in_turn(name, by_name[name])


def _in_turn(name: bytes, kvs: Iterable[KeyValue]) -> _Line:
    in_turn = sorted(contenders(name, kvs), key=lambda each: each.create_revision)
    return _Line(name, [each.key for each in in_turn])


def _keys(line: _Line) -> Iterator[bytes]:
    for key in line.keys:
        yield key
        yield second_key(line.name, key)


def _contended(line: _Line, told: dict[bytes, KeyValue]) -> Contended | None:
    """Make sense of a queue; ``None``: it is gone since its keys were read."""
    queue, kind = [], Kind.LOCK
    for key in line.keys:
        own, second = told.get(key), told.get(second_key(line.name, key))
        if own is None:
            continue
        if second is not None and second.lease == own.lease:
            kind = Kind.ELECTION
            queue.append(Holder.read(own, second.value))
        else:
            queue.append(Holder.read(own, own.value))
            if own.value and not (queue[-1].host and queue[-1].pid):
                kind = Kind.ELECTION
            elif queue[-1].role == Kind.SEMAPHORE.value:
                kind = Kind.SEMAPHORE
    return Contended(line.name, kind, tuple(queue)) if queue else None


# --- reading what they say -------------------------------------------------------------------------------------------


def _stretches(keys: Sequence[KeyAt], most: int) -> list[tuple[bytes, bytes]]:
    """Return first and last keys of stretches that have all of ``keys`` (in their order), and few others.

    Keys that follow each other in the store are in one. Where that makes more than ``most``, those that have the fewest
    other keys between them are joined.
    """
    between = ((later.place - earlier.place, index) for index, (earlier, later) in enumerate(pairwise(keys), start=1))
    gaps = sorted((gap for gap in between if gap[0] > 1), reverse=True)
    cuts = sorted(index for _, index in gaps[: most - 1])
    if not keys:
        return []
    ends = zip([0, *cuts], [*cuts, len(keys)], strict=True)
    return [(keys[start].kv.key, keys[end - 1].kv.key) for start, end in ends]


def _told(kv: KV, stretches: Iterable[tuple[bytes, bytes]], revision: int, until: float) -> Iterator[KeyValue]:
    """Read all stretches, or what is read until the time is over."""
    for first, last in stretches:
        start, more = first, True
        while more:
            page = kv.range(start, last + b"\0", limit=_PAGE, revision=revision)
            yield from page.kvs
            if monotonic() >= until:
                return
            if more := page.more:
                start = page.kvs[-1].key + b"\0"
