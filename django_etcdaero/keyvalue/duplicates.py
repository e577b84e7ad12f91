"""etcd's rule that no transaction writes a key twice (``checkIntervals`` in ``etcdserver/api/v3rpc/key.go``).

Deleting twice is no conflict, and neither are the two branches of one nested transaction. etcd also lets a key be put
in one nested transaction and deleted in a later one.
"""

from __future__ import annotations

from collections.abc import Sequence

from django_etcdaero.exceptions import InvalidRequest

from .values import DeleteRequest, Operation, PutRequest, TxnRequest

_Spans = list[tuple[bytes, bytes]]


def refuse_duplicates(request: TxnRequest) -> None:
    """Raise ``InvalidRequest`` if a branch of ``request`` may write a key twice."""
    _written(request.success)
    _written(request.failure)


def has_open_deletion(request: TxnRequest) -> bool:
    """Tell whether ``request`` deletes everything from some key on."""
    return any(
        operation.range_end == b"\0" if isinstance(operation, DeleteRequest) else has_open_deletion(operation)
        for branch in (request.success, request.failure)
        for operation in branch
        if isinstance(operation, DeleteRequest | TxnRequest)
    )


def _written(operations: Sequence[Operation]) -> tuple[set[bytes], _Spans]:
    """Return the keys that ``operations`` put and the spans they delete; refuse a key that is written twice."""
    puts: set[bytes] = set()
    spans: _Spans = [_span(operation) for operation in operations if isinstance(operation, DeleteRequest)]
    for operation in operations:
        if isinstance(operation, TxnRequest):
            puts_then, spans_then = _written(operation.success)
            puts_else, spans_else = _written(operation.failure)
            for key in puts_then | puts_else:
                _refuse_if(key in puts or _covers(spans, key))
            puts |= puts_then | puts_else
            spans += spans_then + spans_else
    for operation in operations:
        if isinstance(operation, PutRequest):
            _refuse_if(operation.key in puts or _covers(spans, operation.key))
            puts.add(operation.key)
    return puts, spans


def _refuse_if(duplicate: bool) -> None:
    if duplicate:
        raise InvalidRequest("duplicate key given in txn request")


def _covers(spans: _Spans, key: bytes) -> bool:
    return any(start <= key and (end == b"\0" or key < end) for start, end in spans)


def _span(request: DeleteRequest) -> tuple[bytes, bytes]:
    return request.key, request.range_end or request.key + b"\0"
