"""The queue of contenders for a name: its layout in the store.

The layout is that of etcd's own Go client (``client/v3/concurrency``), so that its tools take part in the same queue:

* a contender is the key ``<name>/<lease id in lower-case hex>``, put on that lease; further contenders of one session
  append ``-1``, ``-2``, …;
* the contender with the lowest create revision is first in the queue, and its create revision is its fencing token:
  tokens of successive firsts only grow.

Other keys under the name are no contenders, and left out: keys deeper than one level below it (``<name>/x/…``), which
belong to other names; and data, which are on no lease or have another last part. Nobody waits for them here, and they
are neither shown as holders nor removed. etcd's own client and ``etcdctl`` take every key there for a contender and
wait until it is deleted, so the space below a name is best kept free. Where it is not, each look reads all keys there.

Where the value of the key is not free to tell who the contender is, that stands in a second key,
``<name>:contenders/<the same last part>``, on the same lease, put and deleted in the same transactions. It is outside
the queue, where nobody who knows only the queue looks.

A semaphore has the same queue, of which the first ``limit`` hold it. The limit, a decimal number, stands beside the
queue, in the key ``<name>:limit`` on no lease.

A read/write lock has a queue of two sides, laid out as that of the ``RWMutex`` of etcd's Go client
(``client/v3/experimental/recipes``): readers are keys ``<name>/read/…``, writers ``<name>/write/…``, each on the lease
of its session, and their order is that of their revisions on both sides together. The last part is here what a lock
has, in the Go client the time in nanoseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.ops import get
from django_etcdaero.keyvalue.recipes.contention import check_positive
from django_etcdaero.keyvalue.rooms import LAST_PART as LAST_PART
from django_etcdaero.keyvalue.values import KeyValue, RangeRequest, SortOrder, SortTarget, WatchRequest

_LAST_PART = re.compile(LAST_PART)

READ, WRITE = "read", "write"
"""What a contender for a read/write lock wants."""
GO_LAST_PART = rb"[0-9]{17,20}"
"""Of the key of a reader or a writer of the Go client, as a regular expression: nanoseconds since 1970."""
_SIDE_AND_LAST_PART = re.compile(rb"(?:read|write)/(?:%s|%s)" % (LAST_PART, GO_LAST_PART))


LARGEST_LIMIT = 10**18 - 1
"""Of a semaphore: what fits into the numbers of etcd, and into those digits that are read as one."""


def label(name: bytes) -> str:
    """Return a name as text, for messages."""
    return name.decode(errors="backslashreplace")


def keys_of(name: bytes) -> bytes:
    """Return what the keys of all contenders for ``name`` start with."""
    return name + b"/"


def introductions(name: bytes) -> bytes:
    """Return what the second keys of all contenders for ``name`` start with."""
    return name + b":contenders/"


def second_key(name: bytes, key: bytes) -> bytes:
    """Return the second key of the contender ``key``."""
    return introductions(name) + key[len(keys_of(name)) :]


def contenders(name: bytes, kvs: Iterable[KeyValue]) -> list[KeyValue]:
    """Return those of ``kvs`` (keys under ``keys_of(name)``) that contend for ``name`` itself, in the given order."""
    start = len(keys_of(name))
    return [kv for kv in kvs if kv.lease and _LAST_PART.fullmatch(kv.key, start)]


def check_limit(limit: int) -> None:
    """Refuse what cannot be the limit of a semaphore."""
    check_positive("limit", limit)
    if limit > LARGEST_LIMIT:
        raise InvalidRequest(f"limit must be at most {LARGEST_LIMIT}, not {limit}")


def limit_key(name: bytes) -> bytes:
    """Return the key that has the limit of the semaphore ``name``."""
    return name + b":limit"


def read_limit(kvs: Iterable[KeyValue]) -> int | None:
    """Return the limit that the limit key, if it is there, has; ``None``: there is none, or it is no limit."""
    for kv in kvs:
        if re.fullmatch(rb"[1-9][0-9]{0,17}", kv.value):
            return int(kv.value)
    return None


def side(name: bytes, role: str) -> bytes:
    """Return the name under which those queue up who want to read, or to write, under the read/write lock ``name``."""
    return keys_of(name) + role.encode()


def sides(name: bytes, kvs: Iterable[KeyValue]) -> list[KeyValue]:
    """Return those of ``kvs`` (keys under ``keys_of(name)``) that contend for the read/write lock ``name``."""
    start = len(keys_of(name))
    return [kv for kv in kvs if kv.lease and _SIDE_AND_LAST_PART.fullmatch(kv.key, start)]


def side_of(name: bytes, key: bytes) -> str:
    """Return what the contender ``key`` wants of the read/write lock ``name``: :data:`READ` or :data:`WRITE`."""
    return READ if key.startswith(keys_of(side(name, READ))) else WRITE


def oldest(name: bytes, *, limit: int = 1, keys_only: bool = True) -> RangeRequest:
    """Return the request for the oldest key (``limit`` 0: all keys, oldest first) under ``keys_of(name)``."""
    return get(
        keys_of(name),
        prefix=True,
        limit=limit,
        keys_only=keys_only,
        sort_target=SortTarget.CREATE,
        sort_order=SortOrder.ASCEND,
    )


def up_to(name: bytes, token: int, *, limit: int) -> RangeRequest:
    """Return the request for the key created at revision ``token`` and those before it, that one first."""
    return get(
        keys_of(name),
        prefix=True,
        limit=limit,
        keys_only=True,
        sort_target=SortTarget.CREATE,
        sort_order=SortOrder.DESCEND,
        max_create_revision=token,
    )


def departure(key: bytes, revision: int) -> WatchRequest:
    """Return the watch that tells when the contender ``key``, which was there at ``revision``, leaves."""
    return WatchRequest(key, start_revision=revision + 1, no_put=True)
