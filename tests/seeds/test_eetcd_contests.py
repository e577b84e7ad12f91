"""What eetcd's suites lock and election assert, on every engine. Each test begins with the name of the case there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from django_etcdaero.exceptions import DeadlineExceeded, InvalidRequest, LockTimeout, NotLeader
from django_etcdaero.keyvalue import KV, Changed, Elected, Lost, Proclaimed
from tests.keyvalue.queue.queueing import in_thread
from tests.waiting import wait_until

Connect = Callable[[], KV]


# --- locks -----------------------------------------------------------------------------------------------------------


def test_acquire_lock_and_release_it(kv: KV) -> None:
    with kv.lock("L") as lock:
        holder = lock.holder()
        assert holder is not None
        found = kv.get(holder.key)
        assert found is not None
        assert found.create_revision == lock.token
    assert kv.range("", prefix=True).count == 0


def test_acquire_lock_and_reacquire_after_expiration_of_the_lease_of_a_dead_holder(kv: KV, connect: Connect) -> None:
    dead = connect()
    dead.lock("L", ttl=2).acquire()
    dead.session(2).abandon()
    with kv.lock("L", timeout=60) as lock:
        assert lock.held


def test_acquire_lock_and_attempt_to_reacquire_that_times_out_leaves_no_ghost(kv: KV, connect: Connect) -> None:
    first = kv.lock("L")
    first.acquire()
    with pytest.raises(LockTimeout):
        connect().lock("L").acquire(0.3)
    assert len(first.queue()) == 1
    first.release()
    assert kv.lock("L").try_acquire()


def test_acquire_lock_by_several_objects_of_one_client_is_no_way_around_it(kv: KV) -> None:
    with kv.lock("L"):
        assert not kv.lock("L").try_acquire()


# --- elections -------------------------------------------------------------------------------------------------------


def test_campaign_is_won_by_the_first_and_by_the_next_after_it_resigned(kv: KV, connect: Connect) -> None:
    first, second = kv.election("E"), connect().election("E")
    first.campaign("one", timeout=30)
    assert first.is_leader
    waiter = in_thread(lambda: second.campaign("two", timeout=60))
    wait_until(lambda: len(first.queue()) == 2, what="the second candidate in line")
    assert not second.is_leader
    first.resign()
    waiter.join(60)
    assert second.is_leader
    leader = kv.election("E").leader()
    assert leader is not None
    assert leader.value == b"two"
    second.resign()


def test_campaign_that_is_not_won_in_time_leaves_no_ghost(kv: KV, connect: Connect) -> None:
    first = kv.election("E")
    first.campaign("one", timeout=30)
    with pytest.raises(DeadlineExceeded):
        connect().election("E").campaign("two", timeout=0.3)
    assert len(first.queue()) == 1
    first.resign()
    assert kv.election("E").leader() is None


def test_campaign_async_returns_at_once_and_tells_when_it_is_won(kv: KV, connect: Connect) -> None:
    first, second = kv.election("E"), connect().election("E")

    async def contend() -> None:
        await first.acampaign("one", timeout=30)
        waiting = asyncio.create_task(second.acampaign("two", timeout=60))
        while len(await first.aqueue()) < 2:
            await asyncio.sleep(0)
        assert not waiting.done()
        await first.aresign()
        await waiting
        leader = await kv.election("E").aleader()
        assert leader is not None
        assert leader.value == b"two"
        await second.aresign()

    asyncio.run(asyncio.wait_for(contend(), 60))


def test_proclaim_announces_another_value_and_is_for_the_leader_only(kv: KV, connect: Connect) -> None:
    election = kv.election("E")
    election.campaign("one", timeout=30)
    election.proclaim("changed")
    leader = connect().election("E").leader()
    assert leader is not None
    assert (leader.value, leader.token) == (b"changed", election.token)
    with pytest.raises(NotLeader):
        connect().election("E").proclaim("mine")
    election.resign()
    with pytest.raises(NotLeader):
        election.proclaim("late")


def test_leader_is_whoever_leads_and_none_if_nobody_does(kv: KV) -> None:
    election = kv.election("E")
    assert election.leader() is None
    election.campaign("one", timeout=30)
    leader = kv.election("E").leader()
    assert leader is not None
    assert leader.value == b"one"
    assert kv.election("other").leader() is None
    election.resign()
    assert election.leader() is None


def test_resign_lets_others_lead_at_once_and_may_be_repeated(kv: KV, connect: Connect) -> None:
    election = kv.election("E", ttl=60)
    for _ in range(2):
        election.campaign("one", timeout=30)
        election.resign()
        election.resign()
        assert not election.is_leader
    other = connect().election("E")
    other.campaign("two", timeout=0)
    other.resign()


def test_resign_no_leader_is_no_error(kv: KV) -> None:
    kv.election("E").resign()
    assert kv.range("", prefix=True).count == 0


def test_observe_with_leader_gives_him_then_his_values_and_the_next_one(kv: KV, connect: Connect) -> None:
    first, second = kv.election("E"), connect().election("E")
    first.campaign("one", timeout=30)
    with connect().election("E").observe() as changes:
        item = changes.next(timeout=20)
        assert isinstance(item, Changed)
        assert item.leader is not None
        assert item.leader.value == b"one"
        first.proclaim("again")
        item = changes.next(timeout=20)
        assert isinstance(item, Proclaimed)
        assert item.leader.value == b"again"
        first.resign()
        second.campaign("two", timeout=30)
        values = []
        while not values or values[-1] != b"two":
            item = changes.next(timeout=20)
            assert isinstance(item, Changed)
            values.append(item.leader and item.leader.value)
        assert set(values) <= {None, b"two"}
    second.resign()


def test_observe_before_there_is_a_leader_says_so_and_then_goes_on(kv: KV, connect: Connect) -> None:
    with connect().election("E").observe() as changes:
        assert changes.next(timeout=20) == Changed(None)
        with pytest.raises(DeadlineExceeded):
            changes.next(timeout=0.05)
        election = kv.election("E")
        election.campaign("one", timeout=30)
        item = changes.next(timeout=20)
        assert isinstance(item, Changed)
        assert item.leader is not None
        assert item.leader.value == b"one"
        election.resign()


def test_a_candidate_learns_of_its_own_victory_and_loss(kv: KV, connect: Connect) -> None:
    election = kv.election("E")
    with election.observe() as changes:
        assert changes.next(timeout=20) == Changed(None)
        election.campaign("one", timeout=30)
        assert isinstance(changes.next(timeout=20), Elected)
        leader = election.leader()
        assert leader is not None
        connect().revoke_lease(leader.lease)
        assert isinstance(changes.next(timeout=20), Lost)
    assert not election.is_leader


def test_an_election_without_a_name_is_refused(kv: KV) -> None:
    with pytest.raises(InvalidRequest, match="name is empty"):
        kv.election("")
