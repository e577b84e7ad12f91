"""Looking into the queue of contenders for a name, and taking somebody out of it.

Plain ranges read it, the second one at the revision of the first. A transaction would do it in one call, but an etcd
before 3.5.5 does not survive the cancellation of one that only reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from django_etcdaero.exceptions import Compacted, EtcdAeroError, FutureRevision
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.client.background import backoff, logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.client.steps import Commit, Read, seconds_left
from django_etcdaero.keyvalue.ops import Txn, create_revision, delete, get, lease_of
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.clocks import monotonic

from .holder import Holder
from .layout import contenders, introductions, oldest, second_key

LEAVE_TIMEOUT = 2.0
"""Seconds that one try to delete the key may take."""

_READ_TRIES = 3
"""How often two ranges that belong together are read, if the revision of the first is compacted before the second."""


async def read_line(
    client: Client,
    name: bytes,
    limit: int,
    left: Callable[[], float | None],
    *,
    among: Callable[[bytes, Iterable[KeyValue]], list[KeyValue]] = contenders,
) -> tuple[list[KeyValue], int]:
    """Return the contenders for ``name``, in order, and the revision; with ``limit`` at least one, if there is one.

    ``left()`` returns the seconds for a call; ``among`` tells contenders from other keys.
    """
    read = await Read(client, oldest(name, limit=limit, keys_only=False), left())
    in_line = among(name, read.kvs)
    if limit and read.kvs and not in_line:  # the oldest key is no contender: all of them have to be looked through
        return await read_line(client, name, 0, left, among=among)
    return in_line, read.revision


async def read_queue(
    client: Client, name: bytes, *, second: bool, limit: int = 0, timeout: float | None
) -> list[tuple[KeyValue, bytes]]:
    """Return the contenders for ``name``, in order, each with its introduction, as of one revision.

    ``second`` tells whether they introduce themselves in second keys; of one that does not the introduction is empty.
    With ``limit`` at least one contender is returned, if there is one. ``timeout`` (seconds) is for all calls.
    """
    end = end_of(timeout)

    def left() -> float | None:
        return timeout if end is None else seconds_left(end)

    for attempt in itertools.count(1):
        in_line, revision = await read_line(client, name, limit, left)
        if not second or not in_line:
            break
        try:
            found = await Read(client, get(introductions(name), prefix=True, revision=revision), left())
        except (Compacted, FutureRevision):  # by a compaction just now, or of a store that was replaced just now
            if attempt == _READ_TRIES:
                raise
        else:
            told = {(each.key, each.lease): each.value for each in found.kvs}
            return [(each, told.get((second_key(name, each.key), each.lease), b"")) for each in in_line]
    return [(each, each.value) for each in in_line]


async def remove(
    client: Client, name: bytes, holders: Iterable[Holder], removed: Holder, timeout: float | None
) -> bool:
    """Delete the keys of ``removed`` if it is still there and ``holders`` still hold ``name``.

    A key that has left its lease meanwhile is no contender any more, but somebody's data.
    """
    conditions = []
    for each in {each.key: each for each in (*holders, removed)}.values():
        conditions += [create_revision(each.key) == each.token, lease_of(each.key) == each.lease]
    deletion = client.txn().when(*conditions).then(delete(removed.key), delete(second_key(name, removed.key)))
    return (await Commit(deletion, timeout)).succeeded


def delete_in_background(
    client: Client, session: Session, deletion: Txn, *, in_doubt: bool, then: Callable[[], object]
) -> None:
    """Run ``deletion`` again and again until it has deleted the key, then call ``then()``.

    A deletion that finds no key is enough, unless ``in_doubt`` says that the put may still arrive. That may be late: a
    member of etcd that was stopped or cut off carries out what had reached it before, and the lease lives on through
    the others. So it is looked for as long as the lease lives, more and more rarely: what arrives stays for a quarter
    of the time it took, at most. When one time to live has passed without an answer the session is abandoned, so that
    its lease takes the key along.
    """
    lease = session.lease
    begun = answered = monotonic()
    attempt = 0

    def retry() -> float | None:
        nonlocal attempt, answered
        if not lease.alive:
            return None
        attempt += 1
        pause = backoff(attempt, limit=lease.ttl / 4)
        try:
            if deletion.commit(timeout=LEAVE_TIMEOUT).succeeded or not in_doubt:
                then()
                return None
        except EtcdAeroError as error:
            logger.debug("deleting the key of a contender: %s", error)
            if monotonic() < answered + lease.ttl:
                return pause
            logger.warning("the key of a contender could not be deleted; its session %x is abandoned", lease.id)
            session.abandon()
            return None
        answered = monotonic()
        return max(pause, (answered - begun) / 4)

    client.chores.submit(retry)
