"""What makes a request invalid before anything is looked up: the rules and the texts are etcd's own.

``etcdserver/api/v3rpc/key.go`` and ``etcdserver/v3_server.go`` of etcd 3.5 are the source of the order of checks, the
budget of nested transactions and the request size.
"""

from __future__ import annotations

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.arguments import check_int
from django_etcdaero.keyvalue.duplicates import refuse_duplicates
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    PutRequest,
    RangeRequest,
    SortOrder,
    SortTarget,
    TxnRequest,
    WatchRequest,
)

MAX_REQUEST_BYTES = 3 * 512 * 1024
"""Largest request that writes: etcd's default ``--max-request-bytes``."""

MAX_MESSAGE_BYTES = MAX_REQUEST_BYTES + 512 * 1024
"""Largest request of any kind: what etcd lets gRPC receive."""

MAX_OPERATIONS = 128
"""etcd's default ``--max-txn-ops``."""

_FRAME_BYTES = 64
"""Upper estimate of what a request's encoding adds to its keys and values."""
_OPERATION_BYTES = 40
"""The same for one operation or comparison of a transaction."""
_RANGE_NUMBERS = (
    "limit",
    "revision",
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
)


def check_bytes(name: str, value: object) -> None:
    """Refuse anything but ``bytes``; ``name`` tells the caller which argument is wrong."""
    if type(value) is not bytes:
        raise InvalidRequest(f"{name} must be bytes, not {type(value).__name__}")


def check_key(key: object, range_end: object = b"") -> None:
    """Refuse keys that are no ``bytes`` and the empty key."""
    if type(key) is not bytes or type(range_end) is not bytes:
        check_bytes("key", key)
        check_bytes("range_end", range_end)
    if not key:
        raise InvalidRequest("key is not provided")


def check_range(request: RangeRequest) -> None:
    """Check a :class:`RangeRequest`."""
    check_key(request.key, request.range_end)
    if len(request.key) + len(request.range_end) > MAX_MESSAGE_BYTES - _FRAME_BYTES:
        raise InvalidRequest("request is too large")
    if type(request.sort_order) is not SortOrder and request.sort_order not in tuple(SortOrder):
        raise InvalidRequest(f"sort_order has no meaning {request.sort_order!r}")
    if type(request.sort_target) is not SortTarget and request.sort_target not in tuple(SortTarget):
        raise InvalidRequest(f"sort_target has no meaning {request.sort_target!r}")
    if (
        request.limit
        or request.revision
        or request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    ):
        for name in _RANGE_NUMBERS:
            check_int(name, getattr(request, name))


def check_put(request: PutRequest) -> None:
    """Check a :class:`PutRequest`."""
    check_key(request.key)
    value = request.value
    if type(value) is not bytes:
        check_bytes("value", value)
    if request.ignore_value and value:
        raise InvalidRequest("value is provided")
    if request.lease:
        check_int("lease", request.lease)
        if request.ignore_lease:
            raise InvalidRequest("lease is provided")
    if len(value) + len(request.key) > MAX_REQUEST_BYTES - _FRAME_BYTES:
        raise InvalidRequest("request is too large")


def check_delete(request: DeleteRequest) -> None:
    """Check a :class:`DeleteRequest`."""
    check_key(request.key, request.range_end)
    if len(request.key) + len(request.range_end) > MAX_REQUEST_BYTES - _FRAME_BYTES:
        raise InvalidRequest("request is too large")


def check_watch(request: WatchRequest) -> None:
    """Check a :class:`WatchRequest`: unlike elsewhere an empty key is allowed and stands for ``b"\\0"``."""
    check_bytes("key", request.key)
    check_bytes("range_end", request.range_end)
    check_int("start_revision", request.start_revision)
    if len(request.key) + len(request.range_end) > MAX_REQUEST_BYTES - _FRAME_BYTES:
        raise InvalidRequest("request is too large")


def check_txn(request: TxnRequest) -> None:
    """Check a :class:`TxnRequest` with everything inside it."""
    _check_operations(request, MAX_OPERATIONS)
    refuse_duplicates(request)
    if _size(request) > MAX_REQUEST_BYTES - _FRAME_BYTES:
        raise InvalidRequest("request is too large")


def _check_operations(request: TxnRequest, budget: int) -> None:
    count = max(len(request.compares), len(request.success), len(request.failure))
    if count > budget:
        raise InvalidRequest("too many operations in txn request")
    for compare in request.compares:
        _check_compare(compare)
    for branch in (request.success, request.failure):
        for operation in branch:
            if isinstance(operation, RangeRequest):
                check_range(operation)
            elif isinstance(operation, PutRequest):
                check_put(operation)
            elif isinstance(operation, DeleteRequest):
                check_delete(operation)
            elif isinstance(operation, TxnRequest):
                _check_operations(operation, budget - count)
            else:
                raise InvalidRequest(f"a transaction cannot contain {type(operation).__name__}")


def _check_compare(compare: Compare) -> None:
    check_key(compare.key, compare.range_end)
    if compare.target not in tuple(CompareTarget):
        raise InvalidRequest(f"target has no meaning {compare.target!r}")
    if compare.op not in tuple(CompareOp):
        raise InvalidRequest(f"op has no meaning {compare.op!r}")
    if compare.target == CompareTarget.VALUE:
        check_bytes("operand", compare.operand)
    else:
        check_int("operand", compare.operand)


def _size(request: TxnRequest) -> int:
    """Return an upper estimate of the bytes that ``request`` takes on the wire."""
    size = 0
    for compare in request.compares:
        operand = compare.operand
        size += _OPERATION_BYTES + len(compare.key) + len(compare.range_end)
        size += len(operand) if isinstance(operand, bytes) else 0
    for branch in (request.success, request.failure):
        for operation in branch:
            size += _OPERATION_BYTES
            if isinstance(operation, TxnRequest):
                size += _size(operation)
            elif isinstance(operation, PutRequest):
                size += len(operation.key) + len(operation.value)
            else:
                size += len(operation.key) + len(operation.range_end)
    return size
