"""Leases that keys of an alias are on: what hangs on each, what is left, and ending one with all its keys.

A store may be shared: a lease can have keys of other prefixes, too. Those are not shown, only counted, and a lease that
has some is not revoked from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from django_etcdaero.exceptions import InvalidRequest, LeaseNotFound, VersionConflict
from django_etcdaero.keyvalue.facade import KV

from .leased_keys import Looked, leased_keys


@dataclass(frozen=True, slots=True)
class LeasedKeys:
    """A lease and its keys under the prefix, the records of the alias left out."""

    id: int
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """What a store says about a lease."""

    id: int
    granted: int
    """Seconds."""
    left: int
    """Seconds."""
    keys: tuple[bytes, ...]
    """Under the prefix, without it, in their order."""
    others: int
    """How many keys under other prefixes are on it."""


def all_leases(kv: KV, *, seconds: float = math.inf) -> Looked[LeasedKeys]:
    """Find the leases with keys under the prefix of ``kv``, those with the first keys first.

    A call for each 10,000 keys of the alias, for about ``seconds``: after that leases and keys of them may be left out.
    Raises what the store raises.
    """
    looked = leased_keys(kv, seconds=seconds)
    found: dict[int, list[bytes]] = {}
    for each in looked.keys:
        found.setdefault(each.kv.lease, []).append(each.kv.key)
    return Looked([LeasedKeys(lease, tuple(keys)) for lease, keys in found.items()], looked.left_out)


def lease(kv: KV, id: int) -> Lease | None:  # noqa: A002
    """Ask about one lease; ``None``: it is over, or has no key under the prefix. Raises what the store raises."""
    status = kv.open_engine().lease_time_to_live(id, keys=True)
    keys = kv.keyspace.own_keys(status.keys)
    if status.ttl < 0 or not keys:
        return None
    return Lease(id, status.granted_ttl, status.ttl, tuple(sorted(keys)), len(status.keys) - len(keys))


def revoke(kv: KV, id: int, *, keys: int) -> Lease:  # noqa: A002
    """End a lease and delete its keys, which are ``keys`` as far as the caller knows; return what it was.

    Raises ``LeaseNotFound`` if it is over, ``VersionConflict`` if it has another number of keys by now, and
    ``InvalidRequest`` if some are under other prefixes: then nothing is done. Raises what the store raises. Between the
    look and the end another key may still be put on the lease; no store can rule that out.
    """
    found = lease(kv, id)
    if found is None:
        raise LeaseNotFound(f"lease {id:x} is over")
    if found.others:
        raise InvalidRequest(f"lease {id:x} has {found.others} keys under other prefixes, and is not revoked from here")
    if len(found.keys) != keys:
        raise VersionConflict(f"nothing was revoked: lease {id:x} has {len(found.keys)} keys now, not {keys}")
    kv.revoke_lease(id)
    return found
