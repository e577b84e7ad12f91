"""The line of contenders for a name: its layout in the store, reading it, and taking somebody out of it.

The layout is that of etcd's own Go client (``client/v3/concurrency``), so that its tools take part in the same line:

* a contender is the key ``<name>/<lease id in lower-case hex>``, put on that lease; further contenders of one session
  append ``-1``, ``-2``, …;
* the contender with the lowest create revision is first in line, and its create revision is its fencing token: tokens
  of successive firsts only grow.

Other keys under the name are no contenders, and left out: keys deeper than one level below it (``<name>/x/…``), which
belong to other names; and data, which are on no lease or have another last part. Nobody waits for them here, and they
are neither shown as holders nor removed. etcd's own client and ``etcdctl`` take every key there for a contender and
wait until it is deleted, so the space below a name is best kept free. Where it is not, each look reads all keys there.

Where the value of the key is not free to tell who the contender is, that stands in a second key,
``<name>:contenders/<the same last part>``, on the same lease, put and deleted in the same transactions. It is outside
the line, where nobody who knows only the line looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.limit import seconds_left
from django_etcdaero.keyvalue.client.steps import Commit, Read
from django_etcdaero.keyvalue.txn import create_revision, delete, get, lease_of
from django_etcdaero.keyvalue.values import KeyValue, RangeRequest, SortOrder, SortTarget

from .holder import Holder

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.client.client import Client

_READ_TRIES = 3
"""How often two ranges that belong together are read, if the revision of the first is compacted before the second."""

_LAST_PART = re.compile(rb"-?[0-9a-f]{1,16}(-[0-9]+)?")


def label(name: bytes) -> str:
    """Return a name as text, for messages."""
    return name.decode(errors="backslashreplace")


def line(name: bytes) -> bytes:
    """Return what the keys of all contenders for ``name`` start with."""
    return name + b"/"


def introductions(name: bytes) -> bytes:
    """Return what the second keys of all contenders for ``name`` start with."""
    return name + b":contenders/"


def second_key(name: bytes, key: bytes) -> bytes:
    """Return the second key of the contender ``key``."""
    return introductions(name) + key[len(line(name)) :]


def contenders(name: bytes, kvs: Iterable[KeyValue]) -> list[KeyValue]:
    """Return those of ``kvs`` (keys under ``line(name)``) that contend for ``name`` itself, in the given order."""
    start = len(line(name))
    return [kv for kv in kvs if kv.lease and _LAST_PART.fullmatch(kv.key, start)]


def first_in_line(name: bytes, *, limit: int = 1, keys_only: bool = True) -> RangeRequest:
    """Return the request for the oldest key (``limit`` 0: all keys, oldest first) under ``line(name)``."""
    return get(
        line(name),
        prefix=True,
        limit=limit,
        keys_only=keys_only,
        sort_target=SortTarget.CREATE,
        sort_order=SortOrder.ASCEND,
    )


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
            read = await Read(client, first_in_line(name, limit=many, keys_only=False), left())
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
    """Return who is in the line for ``name``, in order; with ``limit`` at least one of them, if there is one.

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
    """Return who is first in the line for ``name``, ``None`` if nobody is."""
    return next(iter(await queue(client, name, second=second, limit=1, timeout=timeout)), None)


async def remove_holder(client: Client, name: bytes, token: int | None, *, timeout: float | None) -> Holder | None:
    """Delete the key of the first in line if its token is ``token`` (``None``: whoever it is). Return who it was.

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
    """Delete the key of ``removed`` if it is still there and ``holder`` still the first in line.

    A key that has left its lease meanwhile is no contender any more, but somebody's data.
    """
    conditions = []
    for each in {holder.key: holder, removed.key: removed}.values():
        conditions += [create_revision(each.key) == each.token, lease_of(each.key) == each.lease]
    return (await Commit(client.txn().when(*conditions).then(delete(removed.key)), timeout)).succeeded
