"""Transactions that change records, on the condition that these are still what they were when they were looked at.

When they are not, the same transaction reads what they are now: a writer that was too late tries again with that, and
has lost one round trip. etcd takes 128 comparisons and operations in a transaction, and 1.5 MiB; what is more goes in
several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

TRANSACTION_READS = 128
TRANSACTION_RECORDS = 64
"""Records that are written by one transaction: two operations each."""
TRANSACTION_BYTES = 1_510_000
"""Of 1,572,864 that etcd takes, which counts otherwise: here by :func:`size_of`."""

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
