"""Filter expressions, as far as they compare an integer bin with a number."""

from __future__ import annotations

import operator

import msgpack

from tests.records.aerospike.standin.records import Record

COMPARISONS = {1: operator.eq, 2: operator.ne, 3: operator.gt, 4: operator.ge, 5: operator.lt, 6: operator.le}
BIN, INTEGER_RESULT, INTEGER = 0x51, 2, 1


def holds(expression: bytes | None, record: Record) -> bool:
    """Tell whether ``record`` passes; what cannot be compared does not."""
    if not expression:
        return True
    comparison, (kind, result, name), number = msgpack.unpackb(expression, raw=True)
    assert (kind, result) == (BIN, INTEGER_RESULT), "the stand-in compares integer bins only"
    particle, value = record.bins.get(name, (0, b""))
    return particle == INTEGER and COMPARISONS[comparison](int.from_bytes(value, "big", signed=True), number)
