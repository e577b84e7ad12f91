"""Leases of an alias, and ending one with its keys."""

from __future__ import annotations

import pytest

from django_etcdaero.exceptions import InvalidRequest, LeaseNotFound, VersionConflict
from django_etcdaero.inspection.leases import LeasedKeys, all_leases, lease, revoke
from django_etcdaero.keyvalue import KV
from tests.keyvalue.interposed import InterposedEngine


def test_leases_with_keys_under_the_prefix_are_found_in_one_pass(kv: KV, store: InterposedEngine) -> None:
    one, other, empty = kv.lease(60), kv.lease(30), kv.lease(60)
    foreign = KV(store, prefix="other/")
    for key in ("b", "a", "records/block"):
        kv.put(key, "", lease=one)
    kv.put("c", "", lease=other)
    kv.put("d", "")
    foreign.put("e", "", lease=empty)
    store.calls.clear()
    assert all_leases(kv).found == [LeasedKeys(one.id, (b"a", b"b")), LeasedKeys(other.id, (b"c",))]
    assert dict(store.calls) == {"range": 2}
    found = lease(kv, one.id)
    assert found is not None
    assert (found.granted, found.keys, found.others) == (60, (b"a", b"b", b"records/block"), 0)
    assert 0 < found.left <= 60
    assert lease(kv, empty.id) is None
    assert lease(kv, 77) is None


def test_a_lease_is_revoked_with_the_keys_that_were_seen(kv: KV) -> None:
    mine = kv.lease(60)
    kv.put("a", "", lease=mine)
    kv.put("b", "", lease=mine)
    with pytest.raises(VersionConflict, match="has 2 keys now, not 1"):
        revoke(kv, mine.id, keys=1)
    assert kv.range("", prefix=True).count == 2
    assert revoke(kv, mine.id, keys=2).keys == (b"a", b"b")
    assert kv.range("", prefix=True).count == 0
    with pytest.raises(LeaseNotFound):
        revoke(kv, mine.id, keys=2)


def test_a_lease_with_keys_of_another_prefix_is_left_alone(kv: KV, store: InterposedEngine) -> None:
    mine = kv.lease(60)
    kv.put("a", "", lease=mine)
    KV(store, prefix="other/").put("b", "", lease=mine.id)
    found = lease(kv, mine.id)
    assert found is not None
    assert (found.keys, found.others) == ((b"a",), 1)
    with pytest.raises(InvalidRequest, match="1 keys under other prefixes"):
        revoke(kv, mine.id, keys=1)
    assert kv.get("a") is not None
