"""etcd's semantics in a few lines of plain Python: slow, obvious, and what the embedded engine is held against."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django_etcdaero.exceptions import (
    Compacted,
    FutureRevision,
    InvalidRequest,
    KeyNotFound,
    LeaseExists,
    LeaseNotFound,
)
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    DeleteResult,
    Event,
    EventType,
    KeyValue,
    Operation,
    PutRequest,
    PutResult,
    RangeRequest,
    RangeResult,
    Response,
    SortOrder,
    SortTarget,
    TxnRequest,
    TxnResult,
)

_SORT = {
    SortTarget.KEY: "key",
    SortTarget.VERSION: "version",
    SortTarget.CREATE: "create_revision",
    SortTarget.MOD: "mod_revision",
    SortTarget.VALUE: "value",
}
_COMPARED = {
    CompareTarget.VERSION: "version",
    CompareTarget.CREATE: "create_revision",
    CompareTarget.MOD: "mod_revision",
    CompareTarget.VALUE: "value",
    CompareTarget.LEASE: "lease",
}
_OPERATORS = {
    CompareOp.EQUAL: operator.eq,
    CompareOp.GREATER: operator.gt,
    CompareOp.LESS: operator.lt,
    CompareOp.NOT_EQUAL: operator.ne,
}


def inside(key: bytes, start: bytes, end: bytes) -> bool:
    """Tell whether ``key`` is in etcd's range from ``start`` to ``end``."""
    return key == start if not end else key >= start and (end == b"\0" or key < end)


def refuse_malformed(operation: Operation | Compare) -> None:
    """Refuse empty keys, and values and leases that are given and to be ignored."""
    if isinstance(operation, TxnRequest):
        for part in (*operation.compares, *operation.success, *operation.failure):
            refuse_malformed(part)
    elif not operation.key or (
        isinstance(operation, PutRequest)
        and ((operation.ignore_value and operation.value) or (operation.ignore_lease and operation.lease))
    ):
        raise InvalidRequest


def refuse_duplicates(operations: Sequence[Operation]) -> tuple[set[bytes], list[DeleteRequest]]:
    """Refuse a branch that may write a key twice; return what it puts and deletes.

    etcd forgets one case: a key that one nested transaction puts and a later one deletes.
    """
    puts: set[bytes] = set()
    deletes = [operation for operation in operations if isinstance(operation, DeleteRequest)]
    for operation in sorted(operations, key=lambda operation: isinstance(operation, PutRequest)):
        new: set[bytes] = set()
        later: list[DeleteRequest] = []
        if isinstance(operation, PutRequest):
            new = {operation.key}
        elif isinstance(operation, TxnRequest):
            for branch in (operation.success, operation.failure):
                branch_puts, branch_deletes = refuse_duplicates(branch)
                new |= branch_puts
                later += branch_deletes
        deleted = any(inside(key, delete.key, delete.range_end) for key in new for delete in deletes)
        if deleted or new & puts:
            raise InvalidRequest
        puts |= new
        deletes += later
    return puts, deletes


def taken(request: TxnRequest, decisions: Iterator[bool]) -> list[Operation]:
    """Return the operations of the branches that are taken, those of nested transactions in their places."""
    branch = request.success if next(decisions) else request.failure
    return [
        inner
        for operation in branch
        for inner in (taken(operation, decisions) if isinstance(operation, TxnRequest) else [operation])
    ]


def dated(answer: Response, revision: int) -> Response:
    """Return the answer to a transaction with its revision in those to nested ones."""
    if not isinstance(answer, TxnResult):
        return answer
    return TxnResult(answer.succeeded, tuple([dated(each, revision) for each in answer.responses]), revision)


@dataclass
class Model:
    """A store: the keys at each revision, and the events that led from one to the next."""

    revision: int = 1
    compacted: int = -1
    states: dict[int, dict[bytes, KeyValue]] = field(default_factory=lambda: {1: {}})
    events: dict[int, list[Event]] = field(default_factory=dict)
    leases: dict[int, tuple[int, float]] = field(default_factory=dict)

    # Changes are collected in a working copy of the newest state and become a revision together.

    def begin(self) -> None:
        self.working = dict(self.states[self.revision])
        self.changes: list[Event] = []

    def commit(self) -> None:
        if self.changes:
            self.revision += 1
            self.states[self.revision] = self.working
            self.events[self.revision] = self.changes

    @property
    def current(self) -> int:
        return self.revision + bool(self.changes)

    def expire(self, now: float) -> None:
        for lease in [
            id_ for _, id_ in sorted((end, id_) for id_, (_, end) in self.leases.items()) if self.due(id_, now)
        ]:
            self.revoke(lease)

    def due(self, lease: int, now: float) -> bool:
        return self.leases[lease][1] <= now

    def run(self, operation: Operation) -> Response:
        """Run one operation in a transaction of its own."""
        backup = copy.copy(self.__dict__)
        refuse_malformed(operation)
        self.begin()
        try:
            response = self.apply(operation, None)
            self.commit()
        except Exception:
            self.__dict__.update(backup)
            raise
        return response

    def apply(self, operation: Operation, decisions: list[bool] | None) -> Response:
        if isinstance(operation, RangeRequest):
            return self.range(operation)
        if isinstance(operation, PutRequest):
            return self.put(operation)
        if isinstance(operation, DeleteRequest):
            return self.delete(operation)
        if decisions is None:
            for outer in (operation.success, operation.failure):
                refuse_duplicates(outer)
            decisions = self.decide(operation)
            self.check(operation, decisions)
            return dated(self.apply(operation, decisions), self.current)
        succeeded = decisions.pop(0)
        branch = operation.success if succeeded else operation.failure
        responses = tuple([self.apply(inner, decisions) for inner in branch])
        return TxnResult(succeeded, responses, self.current)

    def decide(self, request: TxnRequest) -> list[bool]:
        decisions = [all(self.holds(compare) for compare in request.compares)]
        for operation in request.success if decisions[0] else request.failure:
            if isinstance(operation, TxnRequest):
                decisions += self.decide(operation)
        return decisions

    def check(self, request: TxnRequest, decisions: list[bool]) -> None:
        """Refuse what cannot be done: puts first, and they look for their key before their lease."""
        chosen = taken(request, iter(decisions))
        for operation in chosen:
            if isinstance(operation, PutRequest):
                if (operation.ignore_value or operation.ignore_lease) and operation.key not in self.working:
                    raise KeyNotFound
                if operation.lease and operation.lease not in self.leases:
                    raise LeaseNotFound
        for operation in chosen:
            if isinstance(operation, RangeRequest):
                self.range(operation)

    def holds(self, compare: Compare) -> bool:
        found = [kv for kv in self.working.values() if inside(kv.key, compare.key, compare.range_end)]
        if not found:
            if compare.target is CompareTarget.VALUE:
                return False
            found = [KeyValue(b"", b"", 0, 0, 0, 0)]
        compared: Any = _OPERATORS[compare.op]
        return all(compared(getattr(kv, _COMPARED[compare.target]), compare.operand) for kv in found)

    def range(self, request: RangeRequest) -> RangeResult:
        state = self.working
        if request.revision > 0:
            if request.revision > self.revision:
                raise FutureRevision
            if request.revision < self.compacted:
                raise Compacted("")
            state = self.states[request.revision]
        found = sorted(kv for kv in state.values() if inside(kv.key, request.key, request.range_end))
        count = len(found)
        if request.count_only:
            return RangeResult((), False, count, self.current)
        if request.min_mod_revision:
            found = [kv for kv in found if kv.mod_revision >= request.min_mod_revision]
        if request.max_mod_revision:
            found = [kv for kv in found if kv.mod_revision <= request.max_mod_revision]
        if request.min_create_revision:
            found = [kv for kv in found if kv.create_revision >= request.min_create_revision]
        if request.max_create_revision:
            found = [kv for kv in found if kv.create_revision <= request.max_create_revision]
        found.sort(key=operator.attrgetter(_SORT[request.sort_target]), reverse=request.sort_order is SortOrder.DESCEND)
        more = 0 < request.limit < len(found)
        if more:
            found = found[: request.limit]
        if request.keys_only:
            found = [kv._replace(value=b"") for kv in found]
        return RangeResult(tuple(found), more, count, self.current)

    def put(self, request: PutRequest) -> PutResult:
        before = self.working.get(request.key)
        if request.lease and request.lease not in self.leases:
            raise LeaseNotFound
        if before is None and (request.ignore_value or request.ignore_lease):
            raise KeyNotFound
        mod = self.revision + 1
        after = KeyValue(
            request.key,
            before.value if before and request.ignore_value else request.value,
            before.create_revision if before else mod,
            mod,
            before.version + 1 if before else 1,
            before.lease if before and request.ignore_lease else request.lease,
        )
        self.working[request.key] = after
        self.changes.append(Event(EventType.PUT, after, before))
        return PutResult(before if request.prev_kv else None, mod)

    def delete(self, request: DeleteRequest) -> DeleteResult:
        found = sorted(kv for kv in self.working.values() if inside(kv.key, request.key, request.range_end))
        self.remove(found)
        return DeleteResult(len(found), tuple(found) if request.prev_kv else (), self.current)

    def remove(self, doomed: list[KeyValue]) -> None:
        for kv in doomed:
            del self.working[kv.key]
            # A transaction may have put it before it deleted it; what counts is what was there before both.
            previous = self.states[self.revision].get(kv.key)
            self.changes.append(Event(EventType.DELETE, KeyValue(kv.key, b"", 0, self.revision + 1, 0, 0), previous))

    def compact(self, revision: int) -> None:
        if revision <= self.compacted:
            raise Compacted("")
        if revision > self.revision:
            raise FutureRevision
        self.compacted = revision

    def grant(self, ttl: int, lease: int, now: float) -> int:
        if lease in self.leases:
            raise LeaseExists
        if ttl > 9_000_000_000:
            raise InvalidRequest
        self.leases[lease] = (max(ttl, 2), now + max(ttl, 2))
        return lease

    def keep_alive(self, lease: int, now: float) -> int:
        if lease not in self.leases:
            raise LeaseNotFound
        ttl = self.leases[lease][0]
        self.leases[lease] = (ttl, now + ttl)
        return ttl

    def revoke(self, lease: int) -> None:
        if lease not in self.leases:
            raise LeaseNotFound
        del self.leases[lease]
        self.begin()
        self.remove(sorted(kv for kv in self.working.values() if kv.lease == lease))
        self.commit()

    def history(self, start: int) -> list[Event]:
        """Return the events from revision ``start`` on, as a watch with ``prev_kv`` gets them."""
        return [
            event if revision > self.compacted else event._replace(prev_kv=None)
            for revision in range(max(start, 2), self.revision + 1)
            for event in self.events[revision]
        ]
