"""What every engine does with leases."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from django_etcdaero.exceptions import InvalidRequest, LeaseExists, LeaseNotFound
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.values import DeleteRequest, LeaseStatus, PutRequest, RangeRequest, TxnRequest
from tests.waiting import wait_until

pytestmark = pytest.mark.engine_contract

At = Callable[[str], bytes]


def fresh_id() -> int:
    return random.randrange(1, 1 << 62)


def test_a_lease_tells_what_it_was_granted_and_what_is_left(engine: Engine) -> None:
    granted = engine.lease_grant(60)
    assert granted == LeaseStatus(granted.id, 60, 60, ())
    assert granted.id in engine.lease_list()
    status = engine.lease_time_to_live(granted.id)
    assert status.granted_ttl == 60
    assert 50 <= status.ttl <= 60
    assert engine.lease_keep_alive(granted.id) == 60


@pytest.mark.parametrize("ttl", [1, 0, -1])
def test_the_shortest_time_to_live_is_two_seconds(engine: Engine, ttl: int) -> None:
    lease = engine.lease_grant(ttl).id
    assert engine.lease_time_to_live(lease).granted_ttl == 2


def test_too_long_a_lease_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="too large lease TTL"):
        engine.lease_grant(9_000_000_001)


def test_an_id_may_be_chosen_once(engine: Engine) -> None:
    chosen = -fresh_id()
    assert engine.lease_grant(60, lease_id=chosen).id == chosen
    with pytest.raises(LeaseExists):
        engine.lease_grant(60, lease_id=chosen)


def test_an_unknown_lease_is_not_found(engine: Engine) -> None:
    unknown = fresh_id()
    with pytest.raises(LeaseNotFound):
        engine.lease_revoke(unknown)
    with pytest.raises(LeaseNotFound):
        engine.lease_keep_alive(unknown)
    assert engine.lease_time_to_live(unknown, keys=True) == LeaseStatus(unknown, -1, 0, ())


def test_revoking_deletes_the_keys_in_one_revision(engine: Engine, at: At) -> None:
    lease = engine.lease_grant(60).id
    engine.txn(TxnRequest(success=[PutRequest(at(name), lease=lease) for name in "abc"]))
    engine.put(PutRequest(at("b")))
    start = engine.delete_range(DeleteRequest(at("c"))).revision
    assert engine.lease_time_to_live(lease, keys=True).keys == (at("a"),)
    engine.put(PutRequest(at("c"), lease=lease))
    assert set(engine.lease_time_to_live(lease, keys=True).keys) == {at("a"), at("c")}
    engine.lease_revoke(lease)
    left = engine.range(RangeRequest(at("a"), at("z")))
    assert [kv.key for kv in left.kvs] == [at("b")]
    assert left.revision == start + 2
    assert lease not in engine.lease_list()


def test_revoking_a_lease_without_keys_is_no_revision(engine: Engine, at: At) -> None:
    start = engine.put(PutRequest(at("a"))).revision
    engine.lease_revoke(engine.lease_grant(60).id)
    assert engine.range(RangeRequest(at("a"))).revision == start


def test_a_lease_that_is_not_renewed_takes_its_keys_along(engine: Engine, at: At) -> None:
    lease = engine.lease_grant(2).id
    start = engine.txn(TxnRequest(success=[PutRequest(at(name), lease=lease) for name in "ab"])).revision
    wait_until(lambda: not engine.range(RangeRequest(at("a"), at("z"))).kvs, what="the expiry of the lease")
    assert engine.range(RangeRequest(at("a"))).revision == start + 1
    assert engine.lease_time_to_live(lease).ttl == -1
    with pytest.raises(LeaseNotFound):
        engine.lease_keep_alive(lease)
