"""Requests and answers of the waist, as etcd's messages and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from itertools import repeat
from operator import attrgetter
from typing import Any, TypeAlias

from django_etcdaero.exceptions import InvalidRequest, ResponseError
from django_etcdaero.keyvalue import values
from django_etcdaero.keyvalue.arguments import INT64, check_choice, check_compare, check_int, check_watch
from django_etcdaero.keyvalue.duplicates import has_open_deletion, refuse_duplicates
from django_etcdaero.keyvalue.values import CompareTarget, Event, EventType, KeyValue, SortOrder, SortTarget, new_kv
from django_etcdaero.system.interruption import interrupts

from .classes import rpc

_Encoded: TypeAlias = (
    values.RangeRequest | values.PutRequest | values.DeleteRequest | values.Compare | values.WatchRequest
)

_Range, _Put, _Delete, _Txn = rpc.RangeRequest, rpc.PutRequest, rpc.DeleteRangeRequest, rpc.TxnRequest
_Operation, _Compare = rpc.RequestOp, rpc.Compare
_WRONG_TYPES = (TypeError, ValueError)
_fields = attrgetter(*KeyValue._fields)  # they have the names of the message's fields

_EVENT_TYPES = tuple(EventType)

_FLAGS = ("serializable", "keys_only", "count_only")
_BOUNDS = ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision")
_RARE_OPTIONS = (*_FLAGS, *_BOUNDS)

_OPERANDS = {
    CompareTarget.VERSION: "version",
    CompareTarget.CREATE: "create_revision",
    CompareTarget.MOD: "mod_revision",
    CompareTarget.VALUE: "value",
    CompareTarget.LEASE: "lease",
}


# requests ------------------------------------------------------------------------------------------------------------


def range_message(request: values.RangeRequest) -> Any:
    """Raises ``InvalidRequest`` naming the argument that is wrong, as all of these do.

    The server checks most of it and its word counts: it may have been started with other limits than the defaults. What
    must be caught here are values that cannot be encoded, and enums: a ``sort_target`` that does not exist crashes an
    etcd server before 3.6, the whole process.
    """
    if type(request.sort_order) is not SortOrder:
        check_choice("sort_order", request.sort_order, SortOrder)
    if type(request.sort_target) is not SortTarget:
        check_choice("sort_target", request.sort_target, SortTarget)
    try:
        message = _Range(key=request.key, range_end=request.range_end, limit=request.limit, revision=request.revision)
        if request.revision < 0:  # which the server would take for a compacted one in a transaction
            message.revision = 0
        if request.sort_order or request.sort_target:
            # Without an order the server sorts by a target other than the key, but only after the limit was applied.
            message.sort_order = request.sort_order or SortOrder.ASCEND
            message.sort_target = request.sort_target
        for name in _RARE_OPTIONS:
            if given := getattr(request, name):
                setattr(message, name, given)
    except _WRONG_TYPES as error:
        raise _explain(request, error) from None
    return message


def put_message(request: values.PutRequest) -> Any:
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
    except _WRONG_TYPES as error:
        raise _explain(request, error) from None


def delete_message(request: values.DeleteRequest) -> Any:
    """Return the message for a deletion."""
    try:
        return _Delete(key=request.key, range_end=request.range_end, prev_kv=request.prev_kv)
    except _WRONG_TYPES as error:
        raise _explain(request, error) from None


def txn_message(request: values.TxnRequest) -> Any:
    """Return the message for a transaction with everything in it.

    Servers look for keys that are written twice, but not in deletions without an end. That is not left to them: a key
    deleted so and then put with ``ignore_value`` or ``ignore_lease`` ends the server's process (3.5.1), those of all
    members and again after each restart, because the transaction is in their log.
    """
    if has_open_deletion(request):
        refuse_duplicates(request)
    return _txn(request)


def _txn(request: values.TxnRequest) -> Any:
    return _Txn(
        compare=[_compare(compare) for compare in request.compares],
        success=[_operation(operation) for operation in request.success],
        failure=[_operation(operation) for operation in request.failure],
    )


def _compare(compare: values.Compare) -> Any:
    check_compare(compare)
    try:
        message = _Compare(key=compare.key, range_end=compare.range_end, target=compare.target, result=compare.op)
        setattr(message, _OPERANDS[compare.target], compare.operand)
    except _WRONG_TYPES as error:
        raise _explain(compare, error) from None
    return message


def _operation(operation: values.Operation) -> Any:
    if isinstance(operation, values.PutRequest):
        return _Operation(request_put=put_message(operation))
    if isinstance(operation, values.RangeRequest):
        return _Operation(request_range=range_message(operation))
    if isinstance(operation, values.DeleteRequest):
        return _Operation(request_delete_range=delete_message(operation))
    if isinstance(operation, values.TxnRequest):
        return _Operation(request_txn=_txn(operation))
    raise InvalidRequest(f"a transaction cannot contain {type(operation).__name__}")


def watch_message(request: values.WatchRequest, start_revision: int, watch_id: int = 0) -> Any:
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
    except _WRONG_TYPES as error:
        raise _explain(request, error) from None
    return rpc.WatchRequest(create_request=create)


def lease_message(kind: Any, lease_id: int, **options: Any) -> Any:
    """Return a message of the class ``kind`` about a lease."""
    check_int("lease_id", lease_id)
    return kind(ID=lease_id, **options)


def _explain(request: _Encoded, error: Exception) -> Exception:
    """Return the error for a request that could not be encoded, naming the argument that is wrong.

    ``error`` is what was raised, which is returned if it came from a signal handler.
    """
    if interrupts(error):
        return error
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in ("key", "range_end", "value"):
            if type(value) is not bytes:
                return InvalidRequest(f"{field.name} must be bytes, not {type(value).__name__}")
        elif not isinstance(value, int | bytes) or (isinstance(value, int) and int(value) not in INT64):
            return InvalidRequest(f"{field.name} must be an int of 64 bits, not {value!r}")
    return InvalidRequest(f"{type(request).__name__} cannot be encoded")


# answers -------------------------------------------------------------------------------------------------------------


def key_values(kvs: Iterable[Any]) -> tuple[KeyValue, ...]:
    """Return the keys of an answer."""
    # Without a Python frame for each key: a third faster where a range has many.
    return tuple(map(new_kv, repeat(KeyValue), map(_fields, kvs)))


def _previous(answer: Any) -> KeyValue | None:
    return new_kv(KeyValue, _fields(answer.prev_kv)) if answer.HasField("prev_kv") else None


def range_result(answer: Any) -> values.RangeResult:
    """Return the answer to a range."""
    kvs = answer.kvs
    # Most ranges are of one key, for which the machinery that makes many in little time takes longer than the work.
    found = (new_kv(KeyValue, _fields(kvs[0])),) if len(kvs) == 1 else key_values(kvs)
    return values.RangeResult(found, answer.more, answer.count, answer.header.revision)


def put_result(answer: Any) -> values.PutResult:
    """Return the answer to a put."""
    return values.PutResult(_previous(answer), answer.header.revision)


def delete_result(answer: Any) -> values.DeleteResult:
    """Return the answer to a deletion."""
    return values.DeleteResult(answer.deleted, key_values(answer.prev_kvs), answer.header.revision)


def txn_result(answer: Any) -> values.TxnResult:
    """Return the answer to a transaction with everything in it."""
    return _txn_result(answer, answer.header.revision)


def _txn_result(answer: Any, revision: int) -> values.TxnResult:
    """``revision`` is the one of the whole transaction: answers to nested ones do not have it."""
    return values.TxnResult(answer.succeeded, tuple([_response(part, revision) for part in answer.responses]), revision)


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
    return [Event(_EVENT_TYPES[each.type], new_kv(KeyValue, _fields(each.kv)), _previous(each)) for each in messages]
