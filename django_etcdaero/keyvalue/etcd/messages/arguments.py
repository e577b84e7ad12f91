"""Checks of requests before they are sent.

The server checks most of it and its word counts: it may have been started with other limits than the defaults. What
must be caught here are values that cannot be encoded, and enums: a ``sort_target`` that does not exist crashes an etcd
server before 3.6, the whole process.
"""

from __future__ import annotations

from dataclasses import fields

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import values
from django_etcdaero.keyvalue.arguments import INT64, check_int

_MAX_WATCH_BYTES = 3 * 512 * 1024 - 64
"""A little less than etcd's default ``--max-request-bytes``."""
_SORT_ORDERS = frozenset(values.SortOrder)
_SORT_TARGETS = frozenset(values.SortTarget)
_COMPARE_TARGETS = frozenset(values.CompareTarget)
_VALUE = values.CompareTarget.VALUE
_COMPARE_OPS = frozenset(values.CompareOp)

Message = values.RangeRequest | values.PutRequest | values.DeleteRequest | values.Compare | values.WatchRequest


def check_sorting(request: values.RangeRequest) -> None:
    """Refuse sort orders and targets that etcd does not have."""
    if request.sort_order not in _SORT_ORDERS:
        raise InvalidRequest(f"sort_order has no meaning {request.sort_order!r}")
    if request.sort_target not in _SORT_TARGETS:
        raise InvalidRequest(f"sort_target has no meaning {request.sort_target!r}")


def check_compare(compare: values.Compare) -> None:
    """Refuse targets and operators that etcd does not have, and an operand that is not of the target's type."""
    if compare.target not in _COMPARE_TARGETS:
        raise InvalidRequest(f"target has no meaning {compare.target!r}")
    if compare.op not in _COMPARE_OPS:
        raise InvalidRequest(f"op has no meaning {compare.op!r}")
    if compare.target == _VALUE:
        if type(compare.operand) is not bytes:
            raise InvalidRequest(f"operand must be bytes for VALUE, not {type(compare.operand).__name__}")
    else:
        check_int("operand", compare.operand)


def check_watch(request: values.WatchRequest) -> None:
    """Refuse a watch that is not of bytes, which ``None`` would pass for, or that would break its stream by its size.

    The stream is that of all watches.
    """
    if type(request.key) is not bytes or type(request.range_end) is not bytes:
        raise explain(request)
    if len(request.key) + len(request.range_end) > _MAX_WATCH_BYTES:
        raise InvalidRequest("request is too large")


def explain(request: Message) -> InvalidRequest:
    """Return the error for a request that could not be encoded, naming the argument that is wrong."""
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in ("key", "range_end", "value"):
            if type(value) is not bytes:
                return InvalidRequest(f"{field.name} must be bytes, not {type(value).__name__}")
        elif not isinstance(value, int | bytes) or (isinstance(value, int) and value not in INT64):
            return InvalidRequest(f"{field.name} must be an int of 64 bits, not {value!r}")
    return InvalidRequest(f"{type(request).__name__} cannot be encoded")
