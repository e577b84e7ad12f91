"""Why a lease, a lock or a leadership was lost is told to callbacks, and can be read afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from django_etcdaero.exceptions import LockLost, NotLeader
from django_etcdaero.keyvalue import KV, Lock, LossReason
from django_etcdaero.keyvalue.client import lease as leases
from django_etcdaero.keyvalue.client.loss import required
from tests.keyvalue.queue.queueing import Waiter
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("engine", ["mem"], indirect=True)


def force_release(kv: KV, lock: Lock) -> None:
    kv.lock("L").force_release()


def take_to_another_lease(kv: KV, lock: Lock) -> None:
    kv.put(lock.queue()[0].key, "", lease=kv.lease(60))


def close(kv: KV, lock: Lock) -> None:
    kv.close()


def forget_the_lease(kv: KV, lock: Lock) -> None:
    kv.session(10).lease.end(lost=True)


@pytest.mark.parametrize(
    ("lose", "reason"),
    [
        (force_release, LossReason.REMOVED),
        (take_to_another_lease, LossReason.REMOVED),
        (close, LossReason.CLOSED),
        (forget_the_lease, LossReason.REVOKED),
    ],
)
def test_a_lock_tells_why_it_is_lost_until_it_is_taken_again(
    kv: KV, other: KV, lose: Callable[[KV, Lock], None], reason: LossReason
) -> None:
    lock = kv.lock("L")
    assert lock.lost_reason is None
    lock.acquire()
    assert lock.lost_reason is None
    lose(kv, lock)
    wait_until(lambda: lock.lost, what="the loss")
    assert lock.lost_reason is reason
    with pytest.raises(LockLost, match=rf"is not held \({reason.value}\)"):
        lock.check()
    with pytest.raises(LockLost, match=rf"lost before it was released \({reason.value}\)"):
        lock.release()
    assert not lock.lost
    assert lock.lost_reason is reason
    if lose is not close:
        with lock:
            assert lock.lost_reason is None
        assert lock.lost_reason is None


def test_a_release_that_finds_no_key_was_a_loss(kv: KV, other: KV) -> None:
    lock = kv.lock("L")
    lock.acquire()
    other.delete_range("L/", prefix=True)
    with pytest.raises(LockLost):
        lock.release()
    assert lock.lost_reason is LossReason.REMOVED


def test_who_was_taken_out_of_the_queue_can_read_it_too(kv: KV, other: KV) -> None:
    with other.lock("L"):
        waiter = Waiter(kv.lock("L"))
        other.lock("L").remove_waiter(waiter.lock.queue()[1].token)
        assert isinstance(waiter.wait(), LockLost)
        assert waiter.lock.lost_reason is LossReason.REMOVED


def test_a_lease_that_was_not_renewed_in_time_has_expired(kv: KV, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, LossReason]] = []
    lock, session = kv.lock("L"), kv.session(10)
    lock.on_lost(lambda lost, reason: told.append((lost, reason)))
    session.on_lost(lambda lost, reason: told.append((lost, reason)))
    lock.acquire()
    now = leases.clock()
    monkeypatch.setattr(leases, "clock", lambda: now + 60)
    assert (lock.lost_reason, session.lost_reason) == (LossReason.EXPIRED, LossReason.EXPIRED)
    wait_until(lambda: len(told) == 2, what="the callbacks")
    assert set(told) == {(lock, LossReason.EXPIRED), (session.lease, LossReason.EXPIRED)}


def test_in_the_child_of_a_fork_what_is_held_is_the_parents(kv: KV) -> None:
    lock, lease = kv.lock("L"), kv.session(10).lease
    lock.acquire()
    lease._pid -= 1
    assert (lock.lost_reason, lease.lost_reason) == (LossReason.FORKED, LossReason.FORKED)
    lease._pid += 1
    lock.release()


def test_a_lease_that_somebody_revoked(kv: KV, other: KV) -> None:
    told: list[LossReason] = []
    lease = kv.lease(10)
    lease.on_lost(lambda lost, reason: told.append(reason))
    other.revoke_lease(lease)
    with pytest.raises(Exception, match="lease"):
        lease.keep_alive()
    wait_until(lambda: told, what="the callback")
    assert told == [LossReason.REVOKED] == [lease.lost_reason]
    ended = kv.lease(10)
    ended.revoke()
    assert (ended.lost, ended.lost_reason) == (False, None)


def test_callbacks_get_what_they_require(kv: KV, other: KV) -> None:
    told: list[Any] = []
    nothing = threading.Event()
    lock = kv.lock("L")
    lock.on_lost(nothing.set)
    lock.on_lost(told.append)
    lock.on_lost(lambda lost, name="unchanged": told.append((lost, name)))
    lock.on_lost(lambda lost, reason: told.append((lost, reason)))
    lock.on_lost(lambda *both: told.append(both))
    lock.on_lost(partial(lambda first, lost: told.append((first, lost)), 1))
    lock.acquire()
    other.lock("L").force_release()
    wait_until(lambda: len(told) == 5, what="the callbacks")
    assert nothing.is_set()
    assert told == [lock, (lock, "unchanged"), *[(lock, LossReason.REMOVED)] * 2, (1, lock)]
    assert required(int) == 1


# --- elections have what locks have ----------------------------------------------------------------------------------


def test_operators_do_to_elections_what_they_do_to_locks(kv: KV, other: KV) -> None:
    told: list[LossReason] = []
    election, operator = kv.election("E", value="x"), other.election("E")
    election.on_lost(lambda lost, reason: told.append(reason))
    with pytest.raises(NotLeader, match="not held"):
        election.check()
    election.campaign()
    election.check()
    holder = operator.holder()
    assert holder is not None
    assert operator.remove_waiter(holder.token) is None
    assert operator.force_release(token=holder.token + 1) is None
    assert operator.force_release(token=holder.token) == holder
    wait_until(lambda: told, what="the callback")
    assert told == [LossReason.REMOVED]
    with pytest.raises(NotLeader, match=r"not held \(removed\)"):
        election.check()
    election.resign()
    assert other.range("E", prefix=True).kvs == ()


def test_a_candidate_that_waits_can_be_taken_out(kv: KV, other: KV) -> None:
    leader, candidate = other.election("E"), kv.election("E")
    leader.campaign()
    errors: list[Exception] = []

    def campaign() -> None:
        try:
            candidate.campaign(timeout=30)
        except NotLeader as error:
            errors.append(error)

    thread = threading.Thread(target=campaign)
    thread.start()
    wait_until(lambda: len(leader.queue()) == 2, what="a place in line")
    waiter = leader.queue()[1]
    assert leader.remove_waiter(waiter.token) == waiter
    thread.join(20)
    assert len(errors) == 1
    leader.resign()
