"""Requests and answers of the waist, as etcd's messages and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from operator import attrgetter
from typing import Any

from django_etcdaero.exceptions import InvalidRequest, LeaseNotFound, ResponseError
from django_etcdaero.keyvalue import values
from django_etcdaero.keyvalue.arguments import check_int
from django_etcdaero.keyvalue.duplicates import has_open_deletion, refuse_duplicates
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareTarget,
    DeleteRequest,
    DeleteResult,
    Event,
    EventType,
    KeyValue,
    LeaseStatus,
    PutRequest,
    PutResult,
    RangeRequest,
    RangeResult,
    SortOrder,
    SortTarget,
    TxnRequest,
    TxnResult,
    WatchRequest,
)

from .arguments import check_compare, check_sorting, check_watch, explain
from .classes import rpc

_Range, _Put, _Delete, _Txn = rpc.RangeRequest, rpc.PutRequest, rpc.DeleteRangeRequest, rpc.TxnRequest
_Operation, _Compare = rpc.RequestOp, rpc.Compare
_WRONG_TYPES = (TypeError, ValueError)
_new: Callable[[type[KeyValue], Any], KeyValue] = tuple.__new__
_fields = attrgetter(*KeyValue._fields)  # they have the names of the message's fields

_EVENT_TYPES = tuple(EventType)

_OPERANDS = {
    CompareTarget.VERSION: "version",
    CompareTarget.CREATE: "create_revision",
    CompareTarget.MOD: "mod_revision",
    CompareTarget.VALUE: "value",
    CompareTarget.LEASE: "lease",
}


# requests ------------------------------------------------------------------------------------------------------------


def range_message(request: RangeRequest) -> Any:
    """Raises ``InvalidRequest`` naming the argument that is wrong, as all of these do."""
    if request.sort_order is not SortOrder.NONE or request.sort_target is not SortTarget.KEY:
        check_sorting(request)
    try:
        message = _Range(key=request.key, range_end=request.range_end, limit=request.limit, revision=request.revision)
        if request.revision < 0:  # which the server would take for a compacted one in a transaction
            message.revision = 0
        if request.sort_order or request.sort_target:
            # Without an order the server sorts by a target other than the key, but only after the limit was applied.
            message.sort_order = request.sort_order or SortOrder.ASCEND
            message.sort_target = request.sort_target
        if request.serializable:
            message.serializable = True
        if request.keys_only:
            message.keys_only = True
        if request.count_only:
            message.count_only = True
        if request.min_mod_revision:
            message.min_mod_revision = request.min_mod_revision
        if request.max_mod_revision:
            message.max_mod_revision = request.max_mod_revision
        if request.min_create_revision:
            message.min_create_revision = request.min_create_revision
        if request.max_create_revision:
            message.max_create_revision = request.max_create_revision
    except _WRONG_TYPES:
        raise explain(request) from None
    return message


def put_message(request: PutRequest) -> Any:
    """Return the message for a put."""
    try:
        return _Put(
            key=request.key,
            value=request.value,
            lease=request.lease,
            prev_kv=request.prev_kv,
            ignore_value=request.ignore_value,
            ignore_lease=request.ignore_lease,
        )
    except _WRONG_TYPES:
        raise explain(request) from None


def delete_message(request: DeleteRequest) -> Any:
    """Return the message for a deletion."""
    try:
        return _Delete(key=request.key, range_end=request.range_end, prev_kv=request.prev_kv)
    except _WRONG_TYPES:
        raise explain(request) from None


def txn_message(request: TxnRequest) -> Any:
    """Return the message for a transaction with everything in it.

    Servers look for keys that are written twice, but not in deletions without an end. That is not left to them: a key
    deleted so and then put with ``ignore_value`` or ``ignore_lease`` ends the server's process (3.5.1), those of all
    members and again after each restart, because the transaction is in their log.
    """
    if has_open_deletion(request):
        refuse_duplicates(request)
    return _txn(request)


def _txn(request: TxnRequest) -> Any:
    return _Txn(
        compare=[_compare(compare) for compare in request.compares],
        success=[_operation(operation) for operation in request.success],
        failure=[_operation(operation) for operation in request.failure],
    )


def _compare(compare: Compare) -> Any:
    check_compare(compare)
    try:
        message = _Compare(key=compare.key, range_end=compare.range_end, target=compare.target, result=compare.op)
        setattr(message, _OPERANDS[compare.target], compare.operand)
    except _WRONG_TYPES:
        raise explain(compare) from None
    return message


def _operation(operation: values.Operation) -> Any:
    if isinstance(operation, PutRequest):
        return _Operation(request_put=put_message(operation))
    if isinstance(operation, RangeRequest):
        return _Operation(request_range=range_message(operation))
    if isinstance(operation, DeleteRequest):
        return _Operation(request_delete_range=delete_message(operation))
    if isinstance(operation, TxnRequest):
        return _Operation(request_txn=_txn(operation))
    raise InvalidRequest(f"a transaction cannot contain {type(operation).__name__}")


def watch_message(request: WatchRequest, start_revision: int, watch_id: int = 0) -> Any:
    """Return the message that creates a watch.

    Marks of progress are asked for always: they keep the place to go on from young, so that a watch of keys that never
    change does not ask for history that was compacted long ago.
    """
    check_watch(request)
    filters = [number for number, left_out in enumerate((request.no_put, request.no_delete)) if left_out]
    try:
        create = rpc.WatchCreateRequest(
            key=request.key,
            range_end=request.range_end,
            start_revision=start_revision,
            watch_id=watch_id,
            prev_kv=request.prev_kv,
            filters=filters,
            progress_notify=True,
            fragment=True,
        )
    except _WRONG_TYPES:
        raise explain(request) from None
    return rpc.WatchRequest(create_request=create)


def cancel_message(watch_id: int) -> Any:
    """Return the message that ends a watch."""
    return rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=watch_id))


def compaction_message(revision: int, physical: bool) -> Any:
    """Return the message for a compaction."""
    check_int("revision", revision)
    return rpc.CompactionRequest(revision=revision, physical=physical)


def grant_message(ttl: int, lease_id: int) -> Any:
    """Return the message that grants a lease."""
    check_int("ttl", ttl)
    check_int("lease_id", lease_id)
    return rpc.LeaseGrantRequest(TTL=ttl, ID=lease_id)


def revoke_message(lease_id: int) -> Any:
    """Return the message that ends a lease."""
    check_int("lease_id", lease_id)
    return rpc.LeaseRevokeRequest(ID=lease_id)


def keep_alive_message(lease_id: int) -> Any:
    """Return the message that renews a lease."""
    check_int("lease_id", lease_id)
    return rpc.LeaseKeepAliveRequest(ID=lease_id)


def time_to_live_message(lease_id: int, keys: bool) -> Any:
    """Return the message that asks for the state of a lease."""
    check_int("lease_id", lease_id)
    return rpc.LeaseTimeToLiveRequest(ID=lease_id, keys=keys)


# answers -------------------------------------------------------------------------------------------------------------


def key_values(kvs: Iterable[Any]) -> tuple[KeyValue, ...]:
    """Return the keys of an answer."""
    # Without a Python frame for each key: a third faster where a range has many.
    return tuple(map(_new, repeat(KeyValue), map(_fields, kvs)))


def _previous(answer: Any) -> KeyValue | None:
    return _new(KeyValue, _fields(answer.prev_kv)) if answer.HasField("prev_kv") else None


def range_result(answer: Any) -> RangeResult:
    """Return the answer to a range."""
    kvs = answer.kvs
    # Most ranges are of one key, for which the machinery that makes many in little time takes longer than the work.
    found = (_new(KeyValue, _fields(kvs[0])),) if len(kvs) == 1 else key_values(kvs)
    return RangeResult(found, answer.more, answer.count, answer.header.revision)


def put_result(answer: Any) -> PutResult:
    """Return the answer to a put."""
    return PutResult(_previous(answer), answer.header.revision)


def delete_result(answer: Any) -> DeleteResult:
    """Return the answer to a deletion."""
    return DeleteResult(answer.deleted, key_values(answer.prev_kvs), answer.header.revision)


def grant_result(answer: Any) -> LeaseStatus:
    """Return the answer to a grant. Raises ``InvalidRequest`` for a refusal that came as an answer."""
    if answer.error:
        raise InvalidRequest(str(answer.error))
    return LeaseStatus(answer.ID, answer.TTL, answer.TTL, ())


def keep_alive_result(lease_id: int, answer: Any) -> int:
    """Return the answer to a renewal. Raises ``LeaseNotFound``, which comes as a time to live of 0.

    ``ResponseError``: the server has ended the stream without an answer, for which gRPC returns ``None``.
    """
    if answer is None:
        raise ResponseError(f"the renewal of lease {lease_id:x} was not answered")
    if answer.TTL <= 0:
        raise LeaseNotFound(f"there is no lease {lease_id:x}")
    return int(answer.TTL)


def time_to_live_result(lease_id: int, answer: Any) -> LeaseStatus:
    """Return the state of a lease."""
    return LeaseStatus(lease_id, answer.TTL, answer.grantedTTL, tuple(answer.keys))


def leases_result(answer: Any) -> tuple[int, ...]:
    """Return the ids of all leases."""
    return tuple([lease.ID for lease in answer.leases])


def txn_result(answer: Any) -> TxnResult:
    """Return the answer to a transaction with everything in it."""
    return _txn_result(answer, answer.header.revision)


def _txn_result(answer: Any, revision: int) -> TxnResult:
    """``revision`` is the one of the whole transaction: answers to nested ones do not have it."""
    return TxnResult(answer.succeeded, tuple([_response(part, revision) for part in answer.responses]), revision)


def _response(part: Any, revision: int) -> values.Response:
    kind = part.WhichOneof("response")
    if kind == "response_put":
        return put_result(part.response_put)
    if kind == "response_range":
        return range_result(part.response_range)
    if kind == "response_delete_range":
        return delete_result(part.response_delete_range)
    if kind == "response_txn":
        return _txn_result(part.response_txn, revision)
    raise ResponseError("a part of the answer to a transaction is of no known kind")


def events(messages: Iterable[Any]) -> list[Event]:
    """Return the changes in an answer of a watch."""
    return [Event(_EVENT_TYPES[event.type], _new(KeyValue, _fields(event.kv)), _previous(event)) for event in messages]
