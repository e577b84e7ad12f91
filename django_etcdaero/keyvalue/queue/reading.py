"""Looking into the queue of contenders for a name, and taking somebody out of it.

Plain ranges read it, the second one at the revision of the first. A transaction would do it in one call, but an etcd
before 3.5.5 does not survive the cancellation of one that only reads.
"""

from __future__ import annotations

from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.limit import seconds_left
from django_etcdaero.keyvalue.client.steps import Commit, Read
from django_etcdaero.keyvalue.txn import create_revision, delete, get, lease_of
from django_etcdaero.keyvalue.values import KeyValue

from .holder import Holder
from .layout import contenders, introductions, label, oldest, second_key

_READ_TRIES = 3
"""How often two ranges that belong together are read, if the revision of the first is compacted before the second."""


async def read_queue(
    client: Client, name: bytes, *, limit: int = 0, introduced: bool, timeout: float | None
) -> tuple[list[KeyValue], dict[bytes, KeyValue]]:
    """Return the contenders for ``name``, in order, and the second keys if they are ``introduced``, by their keys.

    Both are as of one revision. With ``limit`` at least one contender is returned, if there is one. ``timeout``
    (seconds) is for both.
    """
    end = end_of(timeout)

    def left() -> float | None:
        return timeout if end is None else seconds_left(end)

    for attempt in range(1, _READ_TRIES + 1):
        for many in (limit, 0) if limit else (0,):  # the oldest key may be no contender: then all are read
            read = await Read(client, oldest(name, limit=many, keys_only=False), left())
            in_line = contenders(name, read.kvs)
            if in_line or not read.kvs:
                break
        if not introduced or not in_line:
            return in_line, {}
        try:
            second = await Read(client, get(introductions(name), prefix=True, revision=read.revision), left())
        except (Compacted, FutureRevision):  # by a compaction just now, or of a store that was replaced just now
            if attempt == _READ_TRIES:
                raise
        else:
            return in_line, {each.key: each for each in second.kvs}
    raise AssertionError


async def queue(
    client: Client, name: bytes, *, second: bool = False, limit: int = 0, timeout: float | None
) -> tuple[Holder, ...]:
    """Return who is in the queue for ``name``, in order; with ``limit`` at least one of them, if there is one.

    ``second`` tells whether contenders introduce themselves in second keys.
    """
    in_line, told = await read_queue(client, name, limit=limit, introduced=second, timeout=timeout)
    if not second:
        return tuple(Holder.read(each, each.value) for each in in_line)
    holders = []
    for each in in_line:
        introduction = told.get(second_key(name, each.key))
        fits = introduction is not None and introduction.lease == each.lease
        holders.append(Holder.read(each, introduction.value if introduction is not None and fits else b""))
    return tuple(holders)


async def first(client: Client, name: bytes, *, second: bool = False, timeout: float | None) -> Holder | None:
    """Return who is first in the queue for ``name``, ``None`` if nobody is."""
    return next(iter(await queue(client, name, second=second, limit=1, timeout=timeout)), None)


async def remove_holder(client: Client, name: bytes, token: int | None, *, timeout: float | None) -> Holder | None:
    """Delete the key of the first in the queue if its token is ``token`` (``None``: whoever it is). Return who it was.

    ``None``: nobody holds the name, or somebody else, or the holder left at the same moment.
    """
    holder = await first(client, name, timeout=timeout)
    if holder is None or token not in (None, holder.token) or not await _delete(client, holder, holder, timeout):
        return None
    logger.warning("%s was removed as holder of %r (token %d)", holder, label(name), holder.token)
    return holder


async def remove_waiter(client: Client, name: bytes, token: int, *, timeout: float | None) -> Holder | None:
    """Delete the key of the contender with ``token`` if it waits. Return who it was, ``None`` if there was none."""
    in_line = await queue(client, name, timeout=timeout)
    for waiter in in_line[1:]:
        if waiter.token == token and await _delete(client, in_line[0], waiter, timeout):
            logger.warning("%s was removed from the queue for %r (token %d)", waiter, label(name), token)
            return waiter
    return None


async def _delete(client: Client, holder: Holder, removed: Holder, timeout: float | None) -> bool:
    """Delete the key of ``removed`` if it is still there and ``holder`` still the first in the queue.

    A key that has left its lease meanwhile is no contender any more, but somebody's data.
    """
    conditions = []
    for each in {holder.key: holder, removed.key: removed}.values():
        conditions += [create_revision(each.key) == each.token, lease_of(each.key) == each.lease]
    return (await Commit(client.txn().when(*conditions).then(delete(removed.key)), timeout)).succeeded
