"""Random requests (hypothesis strategies), made to meet each other: few keys, few values, revisions near to now.

Strategies are slow to make and quick to use. So there is one of each kind for all stores, which draws revisions
relative to :data:`NEWEST` and :data:`COMPACTED` and leases by number from :data:`LEASE` on; what is drawn is then put
into the terms of the store that it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    Operation,
    PutRequest,
    RangeRequest,
    SortOrder,
    SortTarget,
    TxnRequest,
    WatchRequest,
)

T = TypeVar("T")

KEYS = [b"a", b"b", b"bb", b"c", b"\x00", b"\xff"]
ENDS = [b"", b"", b"\0", *KEYS]
VALUES = [b"", b"1", b"2", b"\xff\x00"]

NEWEST, COMPACTED, LEASE, ORDERED_LEASE = (number << 40 for number in range(1, 5))
_BETWEEN = 1 << 39
_NUMBERS = frozenset(
    ["revision", "start_revision", "lease", "operand"]
    + [f"{end}_{kind}_revision" for end in ("min", "max") for kind in ("mod", "create")]
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a store is like when a request is made for it."""

    newest: int
    """Its revision."""
    compacted: int
    leases: Sequence[int]
    """Ids of leases that exist, do not exist any more, or never did."""
    ordered_leases: Sequence[int]
    """Those of them which it makes sense to call greater or less than others."""

    def number(self, drawn: int) -> int:
        """Return a number that was drawn in the terms of this store."""
        mark = (drawn + _BETWEEN) >> 40 << 40
        if mark == NEWEST:
            return self.newest + drawn - NEWEST
        if mark == COMPACTED:
            return self.compacted + drawn - COMPACTED
        if mark in (LEASE, ORDERED_LEASE):
            leases = self.leases if mark == LEASE else self.ordered_leases
            return leases[(drawn - mark) % len(leases)]
        return drawn

    def own(self, request: Any) -> Any:
        """Return a request that was drawn in the terms of this store."""
        if isinstance(request, TxnRequest):
            parts = (request.compares, request.success, request.failure)
            return TxnRequest(*[tuple(map(self.own, part)) for part in parts])
        numbers = {
            name: self.number(value)
            for name in request.__slots__
            if name in _NUMBERS and isinstance(value := getattr(request, name), int)
        }
        return replace(request, **numbers)


def _now_and_then(often: st.SearchStrategy[T], seldom: st.SearchStrategy[T], one_in: int) -> st.SearchStrategy[T]:
    return st.integers(0, one_in - 1).flatmap(lambda drawn: seldom if drawn == one_in - 1 else often)


_flags = st.booleans()
_seldom = st.sampled_from([False] * 4 + [True])
_ends = st.sampled_from(ENDS)
_values = st.sampled_from(VALUES)
_keys = _now_and_then(st.sampled_from(KEYS), st.just(b""), 100)
_revisions = st.sampled_from(
    [
        *(0, 0, 0, -1, -5, 1),
        *(NEWEST, NEWEST - 1, NEWEST - 3, NEWEST - 10, NEWEST + 1, NEWEST + 1000),
        *(COMPACTED, COMPACTED - 1, COMPACTED + 1),
    ]
)
_bounds = _now_and_then(st.just(0), st.sampled_from([NEWEST - 2, NEWEST, NEWEST - 6, 1, -1]), 5)
_some_lease = st.integers(LEASE, LEASE + 19)
_leases = st.just(0) | _some_lease
_ranges = st.builds(
    RangeRequest,
    key=_keys,
    range_end=_ends,
    limit=st.sampled_from([0, 0, 0, 1, 2, 100, -1]),
    revision=_revisions,
    sort_order=st.sampled_from(SortOrder),
    sort_target=st.sampled_from(SortTarget),
    serializable=_flags,
    keys_only=_seldom,
    count_only=_seldom,
    min_mod_revision=_bounds,
    max_mod_revision=_bounds,
    min_create_revision=_bounds,
    max_create_revision=_bounds,
)
_plain_puts = st.builds(PutRequest, key=_keys, value=_values, lease=_leases, prev_kv=_flags)
_puts = st.one_of(
    _plain_puts,
    _plain_puts,
    _plain_puts,
    st.builds(
        PutRequest,
        key=_keys,
        value=_now_and_then(st.just(b""), st.just(b"1"), 10),
        lease=_leases,
        ignore_value=st.just(True),
        ignore_lease=_seldom,
        prev_kv=_flags,
    ),
    st.builds(
        PutRequest,
        key=_keys,
        value=_values,
        lease=_now_and_then(st.just(0), _some_lease, 20),
        ignore_lease=st.just(True),
        prev_kv=_flags,
    ),
)
_deletes = st.builds(DeleteRequest, key=_keys, range_end=_ends, prev_kv=_flags)
_revision_targets = st.sampled_from([CompareTarget.CREATE, CompareTarget.MOD])
_ops = st.sampled_from(CompareOp)
_equality = st.sampled_from([CompareOp.EQUAL, CompareOp.NOT_EQUAL])
_compares = st.one_of(
    st.builds(Compare, _keys, st.just(CompareTarget.VALUE), _ops, _values, _ends),
    st.builds(Compare, _keys, st.just(CompareTarget.VERSION), _ops, st.integers(-1, 5), _ends),
    st.builds(Compare, _keys, _revision_targets, _ops, st.integers(-1, 1), _ends),
    st.builds(Compare, _keys, _revision_targets, _ops, st.integers(NEWEST - 5, NEWEST + 1), _ends),
    st.builds(Compare, _keys, st.just(CompareTarget.LEASE), _equality, _leases, _ends),
    st.builds(
        Compare,
        _keys,
        st.just(CompareTarget.LEASE),
        _ops,
        st.just(0) | st.integers(ORDERED_LEASE, ORDERED_LEASE + 9),
        _ends,
    ),
)


def _nesting(depth: int) -> st.SearchStrategy[TxnRequest]:
    kinds: list[st.SearchStrategy[Operation]] = [_puts, _deletes, _ranges]
    if depth:
        kinds.append(_nesting(depth - 1))
    branch = st.lists(st.one_of(kinds), max_size=3).map(tuple)
    return st.builds(TxnRequest, st.lists(_compares, max_size=2).map(tuple), branch, branch)


# etcd lets a key be put and deleted in one transaction in this form alone.
_put_and_deleted = st.builds(
    lambda key, value, end: TxnRequest(
        success=(
            TxnRequest(success=(PutRequest(key, value),)),
            TxnRequest(success=(DeleteRequest(key, end, prev_kv=True),)),
        )
    ),
    st.sampled_from(KEYS),
    _values,
    st.sampled_from([b"", b"\0"]),
)
_txns = _now_and_then(_nesting(2), _put_and_deleted, 10)
_watches = st.builds(
    WatchRequest,
    key=_keys,
    range_end=_ends,
    start_revision=st.sampled_from([0, 0, 0, NEWEST + 1, NEWEST + 3, 1]) | _revisions,
    prev_kv=_flags,
    no_put=_seldom,
    no_delete=_seldom,
).filter(lambda request: not (request.no_put and request.no_delete))


def puts(store: Surroundings) -> st.SearchStrategy[PutRequest]:
    """Writes, most of them valid."""
    return _puts.map(store.own)


def deletes(store: Surroundings) -> st.SearchStrategy[DeleteRequest]:
    """Deletions of a key, a range, an inverted range, everything from a key on."""
    return _deletes.map(store.own)


def ranges(store: Surroundings) -> st.SearchStrategy[RangeRequest]:
    """Reads with every option."""
    return _ranges.map(store.own)


def txns(store: Surroundings) -> st.SearchStrategy[TxnRequest]:
    """Transactions, some of them nested; a good part of them write a key twice, which etcd refuses."""
    return _txns.map(store.own)


def watches(store: Surroundings) -> st.SearchStrategy[WatchRequest]:
    """Watches from the past, from now on, and from the future."""
    return _watches.map(store.own)
