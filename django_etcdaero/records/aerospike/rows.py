"""What came of each row of a batch. The native client raises for none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aerospike_helpers.batch.records import BatchRecords

from . import errors
from .errors import NativeError


def sort_rows(
    batch: BatchRecords,
    keys: Sequence[bytes],
    *,
    expected: tuple[int, ...],
    write: bool,
) -> tuple[dict[bytes, Any], dict[bytes, int]]:
    """Return the rows of a batch that were answered as ``expected``, and the results of those that were refused.

    Raises for any other row. The rows mean nothing when the batch as a whole failed: of an empty cluster they all say
    0, or there are none. An exception is a batch for which there was no connection to a node: the rows of that node
    stay without an answer, those of others were answered.
    """
    rows = batch.batch_records or []
    unsent = batch.result in errors.REFUSED
    if not unsent and batch.result not in (errors.OK, errors.NOT_FOUND, errors.FILTERED_OUT, errors.SOME_FAILED):
        raise NativeError(batch.result, "the batch failed", in_doubt=write and any(row.in_doubt for row in rows))
    if len(rows) != len(keys):
        raise NativeError(errors.CLUSTER_EMPTY, f"{len(rows)} of {len(keys)} rows were answered", in_doubt=write)
    answered: dict[bytes, Any] = {key: row for key, row in zip(keys, rows, strict=True) if row.result in expected}
    refused: dict[bytes, int] = {}
    if len(answered) == len(keys) and not unsent:
        return answered, refused
    failed = []
    for key, row in zip(keys, rows, strict=True):
        result = batch.result if unsent and row.result == errors.NO_ANSWER else row.result
        if result in expected:
            continue
        if result in errors.REFUSED and not (write and row.in_doubt):
            refused[key] = result
        else:
            failed.append(row)
    if failed:
        in_doubt = write and any(row.in_doubt or row.result in errors.UNCERTAIN for row in failed)
        raise NativeError(
            failed[0].result,
            failed[0].message or f"{len(failed)} of {len(keys)} rows of a batch failed",
            in_doubt=in_doubt,
        )
    if unsent and not refused:
        raise NativeError(batch.result, "the batch failed", in_doubt=False)
    return answered, refused


def present(rows: Mapping[bytes, Any]) -> Iterator[tuple[bytes, Any]]:
    """Yield the rows of records that there are."""
    return ((key, row) for key, row in rows.items() if row.result == errors.OK)
