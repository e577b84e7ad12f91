"""A leadership that is lost or given up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from django_etcdaero.exceptions import ClusterError, NotLeader
from django_etcdaero.keyvalue import KV, ops
from django_etcdaero.keyvalue.queue.election import Election
from django_etcdaero.keyvalue.queue.holder import Elected, Lost
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Candidate, keys
from tests.waiting import wait_until


def take_key_away(kv: KV) -> None:
    kv.delete_range("E/", prefix=True)


def revoke_lease(kv: KV) -> None:
    kv.engine.lease_revoke(kv.session(10).lease.id)


def move_key_to_another_lease(kv: KV) -> None:
    (found,) = kv.range("E/", prefix=True).kvs
    kv.put(found.key, found.value, lease=kv.lease(60))


@pytest.mark.parametrize("lose", [take_key_away, revoke_lease, move_key_to_another_lease])
def test_a_lost_leadership_is_reported_everywhere(kv: KV, lose: Callable[[KV], None]) -> None:
    election = kv.election("E", value="x")
    told: list[Election] = []
    election.on_lost(told.append)
    election.campaign()
    with election.observe() as events:
        assert isinstance(events.next(timeout=10), Elected)
        lose(kv)
        wait_until(lambda: told == [election], what="the report of the loss")
        assert isinstance(events.next(timeout=10), Lost)
    assert not election.is_leader
    assert election.lost
    with pytest.raises(NotLeader):
        election.proclaim("y")
    election.resign()


def test_a_guarded_transaction_fails_after_the_loss(kv: KV) -> None:
    election = kv.election("E")
    election.campaign()
    guarded = kv.txn().when(election.compare()).then(ops.put("x", "1"))
    assert guarded.commit().succeeded
    take_key_away(kv)
    assert not guarded.commit().succeeded
    election.resign()


def test_a_candidate_whose_key_is_removed_is_told_at_once(kv: KV, other: KV) -> None:
    leader = other.election("E")
    leader.campaign()
    candidate = Candidate(kv.election("E"))
    kv.delete(leader.queue()[1].key)
    assert isinstance(candidate.wait(), NotLeader)
    leader.resign()


def test_closing_the_client_hands_over_at_once(kv: KV, other: KV) -> None:
    with closing(KV(kv.engine, prefix=kv.prefix)) as third:
        third.election("E").campaign()
        successor = Candidate(kv.election("E"))
    assert successor.wait() == "elected"
    successor.election.resign()
    assert keys(other) == []


def test_a_resignation_that_fails_is_carried_on_in_the_background(kv: KV, store: InterposedEngine) -> None:
    election = kv.election("E")
    election.campaign()
    store.fail("txn", ClusterError("away"), times=4)
    election.resign()
    wait_until(lambda: keys(kv) == [], what="the end of the keys")
