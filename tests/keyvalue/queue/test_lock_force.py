"""What operators do to locks: take them from their holders, and waiters out of the queue."""

from __future__ import annotations

import pytest

from django_etcdaero.exceptions import LockLost
from django_etcdaero.keyvalue import KV
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Waiter, keys
from tests.waiting import wait_until


@pytest.mark.parametrize("by_token", [False, True])
def test_a_lock_can_be_taken_from_its_holder(kv: KV, caplog: pytest.LogCaptureFixture, by_token: bool) -> None:
    lock = kv.lock("L")
    lock.acquire()
    holder = lock.holder()
    waiter = Waiter(kv.lock("L"))
    operator = kv.lock("L")
    token = lock.token
    caplog.clear()
    assert operator.force_release(token=token if by_token else None) == holder
    warning = next(record for record in caplog.records if "removed as holder" in record.message)
    assert warning.levelname == "WARNING"
    assert f"{holder} was removed as holder of 'L' (token {token})" in warning.message
    wait_until(lambda: lock.lost, what="the loss")
    assert waiter.wait() == "acquired"
    with pytest.raises(LockLost):
        lock.release()
    assert waiter.lock.held
    waiter.lock.release()


def test_only_the_holder_that_was_meant_is_removed(kv: KV) -> None:
    operator = kv.lock("L")
    assert operator.force_release() is None
    lock = kv.lock("L")
    lock.acquire()
    waiter = Waiter(kv.lock("L"))
    assert operator.force_release(token=lock.token + 1) is None
    assert operator.force_release(token=lock.queue()[1].token) is None
    assert lock.held
    lock.release()
    waiter.wait()
    waiter.lock.release()


def test_a_holder_that_went_by_itself_is_not_mistaken_for_the_next(kv: KV, store: InterposedEngine) -> None:
    lock = kv.lock("L")
    lock.acquire()
    waiter = Waiter(kv.lock("L"))
    wait_until(lambda: len(store.running) == 3, what="the holder's watch and the waiter's")

    def release_between_look_and_deletion() -> None:
        del store.before["txn"]
        lock.release()
        waiter.wait()

    store.before["txn"] = release_between_look_and_deletion
    assert kv.lock("L").force_release() is None
    assert waiter.lock.held
    waiter.lock.release()


def test_a_waiter_can_be_taken_out_of_the_queue(kv: KV, caplog: pytest.LogCaptureFixture) -> None:
    lock = kv.lock("L")
    lock.acquire()
    removed, last = Waiter(kv.lock("L")), Waiter(kv.lock("L"))
    holder, second, third = lock.queue()
    operator = kv.lock("L")
    assert operator.remove_waiter(second.token) == second
    assert any("removed from the queue" in record.message for record in caplog.records)
    assert isinstance(removed.wait(), LockLost)
    assert operator.remove_waiter(second.token) is None
    assert operator.remove_waiter(holder.token) is None
    assert lock.queue() == (holder, third)
    lock.release()
    assert last.wait() == "acquired"
    last.lock.release()
    assert keys(kv) == []
