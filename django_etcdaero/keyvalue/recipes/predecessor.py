"""A process that is started again takes over the temporary key that its predecessor left.

The key of a process that was killed stays until its time to live is over, and a service that is started again at once
would find it taken. So whoever puts a temporary key tells in a second key, on the same lease and in the same
transactions, which process it is. Whoever finds the key taken looks there, and takes it over if that process ran on
this host and runs no more for certain (:mod:`django_etcdaero.system.processes`), on the condition that nothing has
changed since. A key of another host, of a process that may live, and what is not on the lease of a temporary key is
left alone.

The second key is ``:holders/<the key>``: away from the keys beside the first one, which others list to see who is
there.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.steps import Commit
from django_etcdaero.keyvalue.ops import found, get, lease_of, mod_revision
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, TxnResult
from django_etcdaero.system.processes import is_dead, this_process

_PLACE = b":holders/"


def second_key(key: bytes) -> bytes:
    """Return where it stands which process holds ``key``."""
    return _PLACE + key


def this_holder() -> bytes | None:
    """Return what this process tells about itself; ``None`` where it could not be told dead."""
    mark = this_process()
    return None if mark is None else json.dumps(mark).encode()


async def succeed(
    client: Client, key: bytes, taken: TxnResult, puts: list[PutRequest], left: Callable[[], float]
) -> int:
    """Take ``key`` over by ``puts`` if a dead process of this host left it; return the revision, 0 if it was not done.

    ``taken`` is a transaction whose answers are the key and the second key; ``left()``: the seconds for a call.
    """
    there, told = (found(each) for each in taken.responses[:2])
    if not there or not told or not there[0].lease or told[0].lease != there[0].lease or not _of_dead(told[0].value):
        return 0
    first = there[0]
    unchanged = client.txn().when(mod_revision(key) == first.mod_revision, lease_of(key) == first.lease)
    result = await Commit(unchanged.then(*puts), left())
    if not result.succeeded:
        return 0
    logger.info("the temporary key %r of a predecessor that is dead was taken over", key)
    return result.revision


def reads(key: bytes) -> tuple[RangeRequest, RangeRequest]:
    """Return the reads that :func:`succeed` wants the answers of."""
    return get(key), get(second_key(key))


def _of_dead(told: bytes) -> bool:
    try:
        return is_dead(json.loads(told))
    except (ValueError, RecursionError):
        return False
