"""Running a transaction (etcd's ``applyTxn``).

All comparisons, those of nested transactions included, look at the store as it was before the first operation; the
operations then run in order and see the changes of those before them. What can fail is looked at before: first all
puts, then all reads of the past.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from operator import eq, gt, lt, ne
from typing import Any

from django_etcdaero.keyvalue import values
from django_etcdaero.keyvalue.values import CompareOp, CompareTarget

from .ranges import bounds, check_revision, read_range
from .writing import Revision

_OPERATORS: dict[CompareOp, Callable[[Any, Any], bool]] = {
    CompareOp.EQUAL: eq,
    CompareOp.GREATER: gt,
    CompareOp.LESS: lt,
    CompareOp.NOT_EQUAL: ne,
}

_COLUMNS = {
    CompareTarget.VERSION: "l.version",
    CompareTarget.CREATE: "l.create_revision",
    CompareTarget.MOD: "l.id >> 24",
    CompareTarget.VALUE: "(SELECT h.value FROM history h WHERE h.id = l.id)",
    CompareTarget.LEASE: "l.lease",
}


def run(revision: Revision, request: values.TxnRequest) -> values.TxnResult:
    """Run ``request``; raises what its operations raise, and then the caller must undo what was done."""
    decisions = list(_decisions(revision.cursor, request))
    _check(revision, list(_fallible(request, iter(decisions))))
    return _dated(_apply(revision, request, revision.base, iter(decisions)), revision.current)


def _fallible(
    request: values.TxnRequest, decisions: Iterator[bool]
) -> Iterator[values.PutRequest | values.RangeRequest]:
    """Yield the operations that will be run and may fail, those of nested transactions in their places."""
    for operation in request.success if next(decisions) else request.failure:
        if isinstance(operation, values.TxnRequest):
            yield from _fallible(operation, decisions)
        elif isinstance(operation, values.PutRequest):
            if operation.lease or operation.ignore_value or operation.ignore_lease:
                yield operation
        elif isinstance(operation, values.RangeRequest) and operation.revision > 0:
            yield operation


def _check(revision: Revision, fallible: list[values.PutRequest | values.RangeRequest]) -> None:
    for operation in fallible:
        if isinstance(operation, values.PutRequest):
            revision.check_put(operation)
    for operation in fallible:
        if isinstance(operation, values.RangeRequest):
            check_revision(revision.cursor, operation.revision, revision.base)


def _dated(result: values.TxnResult, revision: int) -> values.TxnResult:
    """Return ``result`` with the revision of the whole transaction in all answers to nested ones."""
    if not any(isinstance(response, values.TxnResult) for response in result.responses):
        return result._replace(revision=revision)
    responses = [_dated(each, revision) if isinstance(each, values.TxnResult) else each for each in result.responses]
    return values.TxnResult(result.succeeded, tuple(responses), revision)


def _decisions(cursor: sqlite3.Cursor, request: values.TxnRequest) -> Iterator[bool]:
    """Yield the decision of ``request`` and then those of the transactions nested in the branch it takes."""
    succeeded = all(_holds(cursor, compare) for compare in request.compares)
    yield succeeded
    for operation in request.success if succeeded else request.failure:
        if isinstance(operation, values.TxnRequest):
            yield from _decisions(cursor, operation)


def _holds(cursor: sqlite3.Cursor, compare: values.Compare) -> bool:
    where, values = bounds(compare.key, compare.range_end)
    column = _COLUMNS[compare.target]
    rows = cursor.execute(f"SELECT {column} FROM latest l WHERE {where} AND l.version > 0", values).fetchall()  # noqa: S608
    if not rows:
        # A missing key has no value to compare, and everything else of it is 0.
        if compare.target == CompareTarget.VALUE:
            return False
        rows = [(0,)]
    operator = _OPERATORS[compare.op]
    return all(operator(stored, compare.operand) for (stored,) in rows)


def _apply(revision: Revision, request: values.TxnRequest, base: int, decisions: Iterator[bool]) -> values.TxnResult:
    succeeded = next(decisions)
    branch = request.success if succeeded else request.failure
    responses = tuple([_respond(revision, operation, base, decisions) for operation in branch])
    return values.TxnResult(succeeded, responses, revision.current)


def _respond(revision: Revision, operation: values.Operation, base: int, decisions: Iterator[bool]) -> values.Response:
    if isinstance(operation, values.RangeRequest):
        return read_range(revision.cursor, operation, base=base, current=revision.current)
    if isinstance(operation, values.PutRequest):
        return revision.put(operation)
    if isinstance(operation, values.DeleteRequest):
        return revision.delete_range(operation)
    return _apply(revision, operation, base, decisions)
