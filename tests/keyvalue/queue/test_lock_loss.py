"""A lock that is lost is told everywhere, and its loss harms nobody else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from django_etcdaero.exceptions import ClusterError, LockLost
from django_etcdaero.keyvalue import KV, Lock, ops
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Waiter, keys
from tests.waiting import wait_until


def take_key_away(kv: KV, lock: Lock) -> None:
    kv.delete_range("L/", prefix=True)


def revoke_lease(kv: KV, lock: Lock) -> None:
    kv.engine.lease_revoke(kv.session(lock.ttl).lease.id)


@pytest.mark.parametrize("lose", [take_key_away, revoke_lease])
def test_a_lost_lock_is_reported_everywhere(kv: KV, lose: Callable[[KV, Lock], None]) -> None:
    lock = kv.lock("L")
    told: list[Lock] = []
    lock.on_lost(told.append)
    lock.acquire()
    compare = lock.compare()
    assert kv.txn().when(compare).then(ops.put("x", "1")).commit().succeeded
    lose(kv, lock)
    wait_until(lambda: told == [lock], what="the callback")
    assert lock.lost
    assert not lock.held
    with pytest.raises(LockLost):
        lock.check()
    assert not kv.txn().when(lock.compare()).then(ops.put("x", "2")).commit().succeeded
    with pytest.raises(LockLost, match="lost before"):
        lock.release()
    assert not lock.lost
    lock.acquire(10)
    assert lock.held
    lock.release()
    assert told == [lock]


def test_a_callback_may_take_nothing_as_the_set_method_of_an_event(kv: KV) -> None:
    lock, told = kv.lock("L"), [threading.Event() for _ in range(3)]
    lock.acquire()
    lock.on_lost(told[0].set)
    kv.session(10).on_lost(told[1].set)
    lease = kv.lease(10)
    lease.on_lost(told[2].set)
    kv.revoke_lease(lease)
    kv.revoke_lease(kv.session(10).lease)
    assert [event.wait(10) for event in told] == [True] * 3


def test_a_callback_given_after_the_loss_is_called_too_and_errors_stop_no_other(kv: KV) -> None:
    lock = kv.lock("L")
    lock.on_lost(lambda lost: 1 / 0)
    lock.acquire()
    kv.delete_range("L/", prefix=True)
    wait_until(lambda: lock.lost, what="the loss")
    told = threading.Event()
    lock.on_lost(lambda lost: told.set())
    assert told.wait(10)


def test_a_callback_of_a_watch_that_blocks_does_not_delay_the_news_of_a_loss(kv: KV) -> None:
    entered, go_on, told = threading.Event(), threading.Event(), threading.Event()

    def block(event: object) -> None:
        entered.set()
        go_on.wait(30)

    try:
        kv.watch("x", callback=block)
        lock = kv.lock("L")
        lock.on_lost(lambda lost: told.set())
        lock.acquire()
        kv.put("x", "1")
        assert entered.wait(10)
        kv.lock("L").force_release()
        assert told.wait(10)
    finally:
        go_on.set()


def test_a_lock_whose_lease_could_not_be_renewed_is_lost_before_others_can_have_it(
    kv: KV, store: InterposedEngine
) -> None:
    lock = kv.lock("L", ttl=2)
    lock.acquire()
    store.break_("lease_keep_alive", ClusterError("away"))
    with closing(KV(store.inner, prefix=kv.prefix)) as other, other.lock("L", timeout=20) as successor:
        assert lock.lost
        assert successor.token > lock.token


def test_a_body_that_finished_without_the_lock_gets_an_error(kv: KV) -> None:
    with pytest.raises(LockLost), kv.lock("L"):
        kv.delete_range("L/", prefix=True)


def test_an_error_of_the_body_is_not_hidden_by_the_loss(kv: KV) -> None:
    def body() -> None:
        kv.delete_range("L/", prefix=True)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), kv.lock("L"):
        body()


def test_a_waiter_whose_key_is_removed_is_told(kv: KV) -> None:
    first = kv.lock("L")
    first.acquire()
    waiter = Waiter(kv.lock("L"))
    kv.delete(first.queue()[1].key)
    first.release()
    assert isinstance(waiter.wait(), LockLost)


def test_a_waiter_whose_session_ends_is_told(kv: KV, store: InterposedEngine) -> None:
    with closing(KV(store.inner, prefix=kv.prefix)) as other, other.lock("L"):
        waiter = Waiter(kv.lock("L", ttl=7))
        kv.session(7).lease.end(lost=True)
        assert isinstance(waiter.wait(), LockLost)


def test_a_session_that_the_store_forgot_is_replaced_by_the_next_lock(kv: KV) -> None:
    session = kv.session(10)
    kv.engine.lease_revoke(session.lease.id)
    with kv.lock("L") as lock:
        assert lock.held
    assert session.lost


def test_releasing_never_deletes_the_key_of_somebody_else(kv: KV) -> None:
    lock = kv.lock("L")
    lock.acquire()
    key = lock.queue()[0].key
    kv.delete(key)
    kv.put(key, "somebody else's")
    with pytest.raises(LockLost):
        lock.release()
    assert keys(kv) == [key]


def test_compaction_does_not_blind_the_guard_of_a_held_lock(kv: KV, store: InterposedEngine) -> None:
    started = threading.Event()
    store.before["watch"] = lambda: started.wait(10)
    lock = kv.lock("L")
    lock.acquire()
    for number in range(3):
        revision = kv.put("x", str(number)).revision
    kv.compact(revision)
    started.set()
    kv.delete_range("L/", prefix=True)
    wait_until(lambda: lock.lost, what="the loss")


def test_a_key_that_is_moved_to_another_lease_is_a_lost_lock(kv: KV) -> None:
    lock = kv.lock("L")
    lock.acquire()
    kv.put(lock.queue()[0].key, "overwritten")
    wait_until(lambda: lock.lost, what="the loss")
    with pytest.raises(LockLost):
        lock.release()


@pytest.mark.parametrize("closed", [False, True])
def test_a_lost_lock_is_worth_a_warning_unless_its_own_client_is_closed(
    kv: KV, store: InterposedEngine, caplog: pytest.LogCaptureFixture, closed: bool
) -> None:
    caplog.set_level(logging.DEBUG, "django_etcdaero.kv")
    client = KV(store.inner, prefix=kv.prefix)
    lock = client.lock("L")
    lock.acquire()
    if closed:
        client.close()
    else:
        kv.delete_range("L/", prefix=True)

    def levels() -> list[int]:
        return [record.levelno for record in caplog.records if "is lost" in record.message]

    wait_until(levels, what="the news")
    client.close()
    assert lock.lost
    assert levels() == [logging.DEBUG if closed else logging.WARNING]
