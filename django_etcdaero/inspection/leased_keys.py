"""All keys on leases under the prefix of an alias, without their values: locks, elections, registrations, sessions.

They are found by going through the keys of the alias, page by page and as of one revision, so what it costs depends on
how many keys there are and not on how many leases. (A store tells the keys of a lease one lease a call.) The records of
the alias, which may be in the same store and are many, are left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.keys import FROM_KEY, prefix_end
from django_etcdaero.keyvalue.values import KeyValue, RangeRequest
from django_etcdaero.stores.address import RECORDS_ROOM

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


class LeasedKeys(NamedTuple):
    """The keys on leases, as of one revision."""

    keys: list[KeyAt]
    """In their order."""
    revision: int


def leased_keys(kv: KV) -> LeasedKeys:
    """Find all keys on leases. Raises what the store raises."""
    for _ in range(TRIES - 1):
        try:
            return _read(kv)
        except (Compacted, FutureRevision):
            continue
    return _read(kv)


def _read(kv: KV) -> LeasedKeys:
    found: list[KeyAt] = []
    place = revision = 0
    for start, end in _RANGES:
        request = kv.keyspace.outward(RangeRequest(start, end, limit=PAGE, keys_only=True))
        while True:
            # Of the engine, and the prefix taken off those on leases only: most keys are on none, and they may be many.
            page = kv.open_engine().range(replace(request, revision=revision))
            revision = revision or page.revision
            leased = ((index, each) for index, each in enumerate(page.kvs, start=place) if each.lease)
            found += (KeyAt(index, kv.keyspace.inward_kv(each)) for index, each in leased)
            place += len(page.kvs)
            if not page.more:
                break
            request = replace(request, key=page.kvs[-1].key + b"\0")
    return LeasedKeys(found, revision)
