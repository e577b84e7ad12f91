"""Two stores that are told the same things, and one way of speaking about both.

What a test says and hears is in the embedded engine's own revisions. The real server is older: each of its revisions is
that of the embedded engine plus a constant. Ids of leases that a store has chosen itself differ without any rule, so
they have names here, small numbers, the same for both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareTarget,
    DeleteRequest,
    DeleteResult,
    Event,
    KeyValue,
    PutRequest,
    PutResult,
    RangeRequest,
    RangeResult,
    TxnRequest,
    TxnResult,
    WatchRequest,
)


class Side:
    """One store with several clients."""

    def __init__(self, name: str, clients: Sequence[Engine], *, offset: int) -> None:
        self.name = name
        self.clients = clients
        self.offset = offset
        """Its revisions minus the common ones."""
        self._own_ids: dict[int, int] = {0: 0}
        self._names: dict[int, int] = {0: 0}

    def name_lease(self, name: int, own_id: int) -> None:
        """Call the lease ``own_id`` of this side ``name``."""
        self._own_ids[name] = own_id
        self._names[own_id] = name

    # on the way out --------------------------------------------------------------------------------------------------

    def revision_out(self, revision: int) -> int:
        return revision + self.offset if revision > 0 else revision

    def lease_out(self, lease: int) -> int:
        return self._own_ids.get(lease, lease)

    def outward(self, request: Any) -> Any:
        """Return a request of the waist in this side's revisions and lease ids."""
        if isinstance(request, TxnRequest):
            parts = (request.compares, request.success, request.failure)
            return TxnRequest(*[tuple(map(self.outward, part)) for part in parts])
        if isinstance(request, PutRequest):
            return replace(request, lease=self.lease_out(request.lease))
        if isinstance(request, RangeRequest):
            names = ("revision", *(f"{end}_{kind}_revision" for end in ("min", "max") for kind in ("mod", "create")))
            return replace(request, **{name: self.revision_out(getattr(request, name)) for name in names})
        if isinstance(request, WatchRequest):
            return replace(request, start_revision=self.revision_out(request.start_revision))
        if isinstance(request, Compare):
            return self._compare_out(request)
        assert isinstance(request, DeleteRequest)
        return request

    def _compare_out(self, compare: Compare) -> Compare:
        operand = compare.operand
        if isinstance(operand, bytes) or compare.target is CompareTarget.VERSION:
            return compare
        out = self.lease_out if compare.target is CompareTarget.LEASE else self.revision_out
        return replace(compare, operand=out(operand))

    # on the way back -------------------------------------------------------------------------------------------------

    def revision_in(self, revision: int) -> int:
        return revision - self.offset if revision > 0 else revision

    def lease_in(self, lease: int) -> int:
        return self._names[lease]

    def kv_in(self, kv: KeyValue) -> KeyValue:
        return kv._replace(
            create_revision=self.revision_in(kv.create_revision),
            mod_revision=self.revision_in(kv.mod_revision),
            lease=self.lease_in(kv.lease),
        )

    def event_in(self, event: Event) -> Event:
        return Event(event.type, self.kv_in(event.kv), None if event.prev_kv is None else self.kv_in(event.prev_kv))

    def inward(self, answer: Any) -> Any:
        """Return an answer of the waist in the common revisions and names of leases."""
        if isinstance(answer, RangeResult):
            answer = answer._replace(kvs=tuple(map(self.kv_in, answer.kvs)))
        elif isinstance(answer, PutResult):
            answer = answer._replace(prev_kv=None if answer.prev_kv is None else self.kv_in(answer.prev_kv))
        elif isinstance(answer, DeleteResult):
            answer = answer._replace(prev_kvs=tuple(map(self.kv_in, answer.prev_kvs)))
        elif isinstance(answer, TxnResult):
            answer = answer._replace(responses=tuple(map(self.inward, answer.responses)))
        else:
            return answer
        return answer._replace(revision=self.revision_in(answer.revision))
