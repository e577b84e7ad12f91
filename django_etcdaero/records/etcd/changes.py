"""Transactions that change records, on the condition that these are still what they were when they were looked at.

When they are not, the same transaction reads what they are now: a writer that was too late tries again with that, and
has lost one round trip. etcd takes 128 comparisons and operations in a transaction, and 1.5 MiB; what is more goes in
several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    PutRequest,
    RangeRequest,
    TxnRequest,
)

from .stored import HEADER_BYTES, HEADERS, VALUES, Header, Stored

TRANSACTION_HEADERS = 128
"""Headers that are read by one transaction."""
TRANSACTION_RECORDS = 64
"""Records that are written by one transaction, with two operations each, and values that are read by one."""
TRANSACTION_BYTES = 1_510_000
"""Of 1,572,864 that etcd takes, which counts otherwise: here by :func:`size_of`."""

FIRST_VALUES = 16
"""Values that are read together before it is known how large they are."""
READ_BYTES = 4_000_000
"""About so many bytes of values are read together."""

_OPERATION_BYTES = 48
"""Upper estimate of what an operation or a comparison adds to its keys and values."""


class Write(NamedTuple):
    """What a record is to become."""

    header: Header
    payload: bytes


def changing(
    room: bytes,
    seen: Mapping[bytes, Stored],
    writes: Mapping[bytes, Write] | None,
    *,
    lease: int | None,
    values: bool,
) -> TxnRequest:
    """Return the transaction that writes records, or deletes them (``None``), if all are as they were ``seen``.

    ``lease`` is what the records hang on afterwards, 0 for none; ``None``: what they hang on now. Otherwise their
    headers are read, or with ``values`` all of them.
    """
    headers = room + HEADERS
    read = room + VALUES if values else headers
    success: list[PutRequest | DeleteRequest] = []
    for key in seen:
        if writes is None:
            success += DeleteRequest(headers + key), DeleteRequest(room + VALUES + key)
            continue
        header, payload = writes[key]
        encoded = header.encode()
        for name, value in ((headers + key, encoded), (room + VALUES + key, encoded + payload)):
            success.append(PutRequest(name, value, lease=lease or 0, ignore_lease=lease is None))
    return TxnRequest(
        compares=[
            Compare(headers + key, CompareTarget.MOD, CompareOp.EQUAL, stored.revision) for key, stored in seen.items()
        ],
        success=success,
        failure=[RangeRequest(read + key) for key in seen],
    )


def removing(room: bytes, keys: list[bytes]) -> TxnRequest:
    """Return the transaction that deletes records whatever they are; every other answer has the header before."""
    operations: list[DeleteRequest] = []
    for key in keys:
        operations += DeleteRequest(room + HEADERS + key, prev_kv=True), DeleteRequest(room + VALUES + key)
    return TxnRequest(success=operations)


def reading(start: bytes, keys: list[bytes]) -> TxnRequest:
    """Return the transaction that reads the headers or the values of ``keys``."""
    return TxnRequest(success=[RangeRequest(start + key) for key in keys])


def size_of(room: bytes, key: bytes, payload: bytes) -> int:
    """Return how many bytes the change of one record takes in a transaction, at most."""
    return len(payload) + 4 * (len(room) + len(HEADERS) + len(key) + _OPERATION_BYTES) + 2 * HEADER_BYTES


def paced(keys: Iterable[bytes], look: Callable[[list[bytes]], dict[bytes, Stored]]) -> Iterator[dict[bytes, Stored]]:
    """Yield what ``look`` finds of one part of ``keys`` after the other.

    Every member makes the answer to a transaction that reads, so one should not have very much in it. How large values
    are is known of those that were read before.
    """
    left, size = list(keys), FIRST_VALUES
    while left:
        part, left = left[:size], left[size:]
        found = look(part)
        yield found
        read = sum(len(stored.payload) for stored in found.values())
        size = min(TRANSACTION_RECORDS, max(1, READ_BYTES * len(part) // max(1, read)))


def in_parts(sizes: Mapping[bytes, int]) -> Iterator[list[bytes]]:
    """Cut the keys of ``sizes`` into lists of what one transaction takes, given how much each record takes of it."""
    part: list[bytes] = []
    total = 0
    for key, size in sizes.items():
        if part and (len(part) == TRANSACTION_RECORDS or total + size > TRANSACTION_BYTES):
            yield part
            part, total = [], 0
        part.append(key)
        total += size
    if part:
        yield part
