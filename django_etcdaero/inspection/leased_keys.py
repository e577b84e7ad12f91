"""All keys on leases under the prefix of an alias, without their values: locks, elections, registrations, sessions.

They are found by going through the keys of the alias, page by page and as of one revision, so what it costs depends on
how many keys there are and not on how many leases. (A store tells the keys of a lease one lease a call.) The records of
the alias, which may be in the same store and are many, are left out.

A page costs etcd some 70 ms on a busy machine, however little of it is told. So whoever waits for the answer says for
how long, and is told how many keys were not looked through by then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.keys import FROM_KEY, prefix_end
from django_etcdaero.keyvalue.values import KeyValue, RangeRequest
from django_etcdaero.stores.address import RECORDS_ROOM
from django_etcdaero.system.clocks import monotonic

T = TypeVar("T")

PAGE = 10_000
"""Keys that are read at once; without values a page has about 1 MB."""
TRIES = 3
"""How often all is read when its revision vanishes meanwhile: the store was compacted, or replaced by another."""

_ROOM = RECORDS_ROOM.encode()
_RANGES = ((b"", _ROOM), (prefix_end(_ROOM), FROM_KEY))


class KeyAt(NamedTuple):
    """A key and where it stands among all keys of the alias."""

    place: int
    kv: KeyValue
    """Without its value."""


@dataclass(frozen=True, slots=True)
class Looked(Generic[T]):
    """What was found in the time that there was."""

    found: list[T]
    left_out: int = 0
    """Keys that were not looked through; 0: ``found`` is all that there is."""


class LeasedKeys(NamedTuple):
    """The keys on leases, as of one revision."""

    keys: list[KeyAt]
    """In their order."""
    revision: int
    left_out: int
    """Keys that were not looked through."""
    last: bytes
    """The last one that was, if some were not."""


def leased_keys(kv: KV, *, seconds: float = math.inf) -> LeasedKeys:
    """Find all keys on leases, or those that are found within about ``seconds``. Raises what the store raises."""
    until = monotonic() + seconds
    for _ in range(TRIES - 1):
        try:
            return _read(kv, lambda: monotonic() >= until)
        except (Compacted, FutureRevision):
            continue
    return _read(kv, lambda: monotonic() >= until)


def _read(kv: KV, is_over: Callable[[], bool]) -> LeasedKeys:
    found: list[KeyAt] = []
    place = revision = left_out = 0
    last = b""
    for start, end in _RANGES:
        request = kv.keyspace.outward(RangeRequest(start, end, limit=PAGE, keys_only=True))
        if left_out:
            left_out += kv.open_engine().range(replace(request, count_only=True, revision=revision)).count
            continue
        while True:
            # Of the engine, and the prefix taken off those on leases only: most keys are on none, and they may be many.
            page = kv.open_engine().range(replace(request, revision=revision))
            revision = revision or page.revision
            leased = ((index, each) for index, each in enumerate(page.kvs, start=place) if each.lease)
            found += (KeyAt(index, kv.keyspace.inward_kv(each)) for index, each in leased)
            place += len(page.kvs)
            if not page.more:
                break
            if is_over():
                left_out, last = page.count - len(page.kvs), kv.keyspace.inward_kv(page.kvs[-1]).key
                break
            request = replace(request, key=page.kvs[-1].key + b"\0")
    return LeasedKeys(found, revision, left_out, last)
