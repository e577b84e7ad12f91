"""Transactions that only read, sent in such a way that they end no server.

A transaction of ranges only is no entry of etcd's log: the server runs it for the caller, and gives up when the caller
does. etcd 3.5.0 to 3.5.4 panics if that happens half-way through a range (etcd issue 14110): the process ends because
a call ran into its deadline or was cancelled. So no such transaction is sent. There are two other ways to the same
answer:

* Ranges without comparisons are read one by one, at the revision that the first of them shows. One alone costs what the
  transaction would. For two to four the time is about that of a write on three members with disks, and nothing is
  written. Those that any one member may answer are read like that however many they are, because the other way needs a
  majority of the members.
* All else gets one more operation: an empty transaction, in the shorter branch. With a nested transaction in it etcd
  does not take a transaction for one that only reads, puts it into its log and runs it independently of the caller.

To put the whole transaction into another one would do that too. But servers do not check the permissions of nested
operations (3.4.23 and 3.5.1), and count them and those around them together against ``--max-txn-ops``. The empty one
counts as one operation, which matters only if both branches are as long as the server allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.etcd.messages import wire
from django_etcdaero.keyvalue.values import RangeRequest, TxnRequest, TxnResult


class Ask(Protocol):
    """Calls that have a deadline together and may be repeated."""

    async def __call__(self, method: str, message: Any, *, leader: bool = True) -> Any:
        """Return the answer; see :meth:`UnaryCalls.ask <django_etcdaero.keyvalue.etcd.calls.unary.UnaryCalls.ask>`."""


_FEW = 4
"""Ranges that are rather read one by one than through the log."""

_ROUNDS = 3
"""After so many compactions in between, all of them are read through the log."""


async def read(ask: Ask, request: TxnRequest) -> TxnResult:
    """Return the answer to a transaction without writes, nested ones included. A protocol.

    Raises what the transaction would raise.
    """
    operations = (*request.success, *request.failure)
    ranges = [operation for operation in request.success if isinstance(operation, RangeRequest)]
    if not operations or not all(isinstance(operation, RangeRequest) for operation in operations):
        return wire.txn_result(await ask("Txn", wire.txn_message(request)))  # nothing is read, or through the log
    unconditional = not request.compares and not request.failure
    if unconditional and (len(ranges) <= _FEW or all(each.serializable for each in ranges)):
        for _ in range(_ROUNDS):
            try:
                return await _read_one_by_one(ask, ranges)
            except (Compacted, FutureRevision):  # history went meanwhile, or a member that lags behind was asked
                continue
    return await _read_through_log(ask, request)


async def _read_one_by_one(ask: Ask, ranges: Sequence[RangeRequest]) -> TxnResult:
    first, *others = [wire.range_message(each) for each in ranges]
    leader = not all(each.serializable for each in ranges)
    first.serializable = not leader
    responses = [wire.range_result(await ask("Range", first, leader=leader))]
    revision = responses[0].revision
    for message in others:
        # What a key was at a revision is the same on all members that have got there: no majority is asked again.
        message.serializable = True
        message.revision = message.revision or revision
        responses.append(wire.range_result(await ask("Range", message, leader=False))._replace(revision=revision))
    return TxnResult(True, tuple(responses), revision)


async def _read_through_log(ask: Ask, request: TxnRequest) -> TxnResult:
    success, failure = tuple(request.success), tuple(request.failure)
    in_failure = len(failure) <= len(success)
    if in_failure:
        failure += (TxnRequest(),)
    else:
        success += (TxnRequest(),)
    message = wire.txn_message(TxnRequest(request.compares, success, failure))
    result = wire.txn_result(await ask("Txn", message))
    return result if result.succeeded is in_failure else result._replace(responses=result.responses[:-1])
