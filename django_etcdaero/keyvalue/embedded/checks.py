"""What makes a request invalid before anything is looked up: the rules and the texts are etcd's own.

``etcdserver/api/v3rpc/key.go`` and ``etcdserver/v3_server.go`` of etcd 3.5 are the source of the order of checks, the
budget of nested transactions and the request size.
"""

from __future__ import annotations

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.arguments import LARGEST_REQUEST, check_bytes, check_choice, check_compare, check_int
from django_etcdaero.keyvalue.duplicates import refuse_duplicates
from django_etcdaero.keyvalue.values import DeleteRequest, PutRequest, RangeRequest, SortOrder, SortTarget, TxnRequest

LARGEST_READ = LARGEST_REQUEST + 512 * 1024
"""The same for a request that does not write: what etcd lets gRPC receive."""

MAX_OPERATIONS = 128
"""etcd's default ``--max-txn-ops``."""

_OPERATION_BYTES = 40
"""Upper estimate of what the encoding adds to one operation or comparison of a transaction."""
_RANGE_NUMBERS = (
    "limit",
    "revision",
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
)


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
    if len(request.key) + len(request.range_end) > LARGEST_READ:
        raise InvalidRequest("request is too large")
    if type(request.sort_order) is not SortOrder:
        check_choice("sort_order", request.sort_order, SortOrder)
    if type(request.sort_target) is not SortTarget:
        check_choice("sort_target", request.sort_target, SortTarget)
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
    if len(value) + len(request.key) > LARGEST_REQUEST:
        raise InvalidRequest("request is too large")


def check_delete(request: DeleteRequest) -> None:
    """Check a :class:`DeleteRequest`."""
    check_key(request.key, request.range_end)
    if len(request.key) + len(request.range_end) > LARGEST_REQUEST:
        raise InvalidRequest("request is too large")


def check_txn(request: TxnRequest) -> None:
    """Check a :class:`TxnRequest` with everything inside it."""
    _check_operations(request, MAX_OPERATIONS)
    refuse_duplicates(request)
    if _size(request) > LARGEST_REQUEST:
        raise InvalidRequest("request is too large")


def _check_operations(request: TxnRequest, budget: int) -> None:
    count = max(len(request.compares), len(request.success), len(request.failure))
    if count > budget:
        raise InvalidRequest("too many operations in txn request")
    for compare in request.compares:
        check_key(compare.key, compare.range_end)
        check_compare(compare)
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
