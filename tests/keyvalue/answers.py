"""Comparing the answers of two stores to one request."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django_etcdaero.keyvalue.values import (
    Operation,
    RangeRequest,
    RangeResult,
    Response,
    SortTarget,
    TxnRequest,
    TxnResult,
)

_SORTED_BY = {
    SortTarget.VERSION: "version",
    SortTarget.CREATE: "create_revision",
    SortTarget.MOD: "mod_revision",
    SortTarget.VALUE: "value",
}


def comparable(request: Operation, answer: Response) -> Any:
    """Return what of an answer is promised: all of it, but for the order of keys that are equal in what they are
    sorted by (etcd's sort is not stable), and so for which of them a limit leaves out."""
    if isinstance(request, TxnRequest) and isinstance(answer, TxnResult):
        branch = request.success if answer.succeeded else request.failure
        return answer._replace(
            responses=tuple(comparable(*pair) for pair in zip(branch, answer.responses, strict=True))
        )
    if not isinstance(request, RangeRequest) or not isinstance(answer, RangeResult):
        return answer
    by = _SORTED_BY.get(SortTarget(request.sort_target))
    if by is None:
        return answer
    if by == "value" and request.keys_only:
        return answer._replace(kvs=len(answer.kvs) if answer.more else frozenset(answer.kvs))
    equals = [(value, list(kvs)) for value, kvs in groupby(answer.kvs, lambda kv: getattr(kv, by))]
    groups: list[Any] = [(value, frozenset(kvs)) for value, kvs in equals]
    if answer.more:
        groups[-1:] = [(value, len(kvs)) for value, kvs in equals[-1:]]
    return answer._replace(kvs=tuple(groups))
