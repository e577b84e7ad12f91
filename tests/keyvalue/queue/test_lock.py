"""Locks are taken in turn and given back."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from django_etcdaero.exceptions import InvalidRequest, LockLost, LockTimeout
from django_etcdaero.keyvalue import KV
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Waiter, in_thread, keys
from tests.waiting import wait_until

# --- taking and giving back ------------------------------------------------------------------------------------------


def test_a_free_lock_is_taken_in_one_transaction_and_given_back_in_one(kv: KV, store: InterposedEngine) -> None:
    kv.session(10)
    for take in (lambda lock: lock.acquire(5), lambda lock: lock.acquire(), lambda lock: lock.try_acquire()):
        store.calls.clear()
        lock = kv.lock("L")
        take(lock)
        assert (store.calls["txn"], store.calls["range"]) == (1, 0)
        lock.release()
        assert (store.calls["txn"], store.calls["range"]) == (2, 0)
    assert keys(kv) == []


def test_the_key_layout_is_that_of_etcds_own_clients(kv: KV) -> None:
    holder, other = kv.lock("L"), kv.lock("L")
    holder.acquire()
    waiter = Waiter(other)
    lease = kv.session(10).lease.id
    assert keys(kv) == [f"L/{lease:x}".encode(), f"L/{lease:x}-1".encode()]
    assert [found.lease for found in kv.range("", prefix=True).kvs] == [lease, lease]
    holder.release()
    assert waiter.wait() == "acquired"
    other.release()


def test_a_contender_of_another_client_is_waited_for_and_waits(kv: KV) -> None:
    lease = kv.lease(60)
    foreign = f"L/{lease.id:x}"
    token = kv.put(foreign, "", lease=lease).revision
    lock = kv.lock("L")
    assert not lock.try_acquire()
    holder = lock.holder()
    assert holder is not None
    assert (holder.key, holder.token, holder.lease) == (foreign.encode(), token, lease.id)
    assert (holder.host, holder.pid, holder.since, dict(holder.identity)) == ("", None, None, {})
    assert str(holder) == "unknown/?"
    waiter = Waiter(lock)
    lease.revoke()
    assert waiter.wait() == "acquired"
    lock.release()


@pytest.mark.parametrize("value", [b"\xff\xfe", b"null", b"[1]", b'{"host": 7, "pid": "x", "since": "yesterday"}'])
def test_a_foreign_value_is_tolerated(kv: KV, value: bytes) -> None:
    kv.put("L/abc", value, lease=kv.lease(60))
    (holder,) = kv.lock("L").queue()
    assert (holder.host, holder.pid, holder.since) == ("", None, None)


def test_holder_and_queue_tell_who_and_since_when(kv: KV) -> None:
    lock, other = kv.lock("L"), kv.lock("L")
    assert lock.holder() is None
    assert lock.queue() == ()
    lock.acquire()
    waiter = Waiter(other)
    first, second = lock.queue()
    assert first == other.holder()
    assert first.token == lock.token < second.token
    assert first.identity == {"service": "web"}
    assert first.pid is not None
    assert first.host
    assert first.since is not None
    assert abs(datetime.now(UTC) - first.since) < timedelta(minutes=1)
    lock.release()
    waiter.wait()
    other.release()


def test_first_come_first_served_and_tokens_grow(kv: KV) -> None:
    first = kv.lock("L")
    first.acquire()
    order: list[int] = []
    tokens = [first.token]

    def wait_for_turn(number: int) -> None:
        with kv.lock("L", timeout=60) as lock:
            order.append(number)
            tokens.append(lock.token)

    threads = []
    for number in range(50):
        threads.append(in_thread(lambda number=number: wait_for_turn(number)))
        wait_until(lambda number=number: len(first.queue()) == number + 2, what=f"waiter {number} in line")
    first.release()
    for thread in threads:
        thread.join(60)
    assert order == list(range(50))
    assert tokens == sorted(set(tokens))
    assert keys(kv) == []


def test_a_release_wakes_exactly_one_waiter(kv: KV, store: InterposedEngine) -> None:
    first = kv.lock("L")
    first.acquire()
    waiters = [Waiter(kv.lock("L")) for _ in range(10)]
    wait_until(lambda: len(store.running) == 21, what="watches of own keys, and of ten before")
    store.calls.clear()
    first.release()
    assert waiters[0].wait() == "acquired"
    assert store.calls == {"txn": 1, "range": 1}  # the release, and the look of the one who was woken
    assert store.delivered == 1
    assert [waiter.result for waiter in waiters[1:]] == [None] * 9
    for waiter in waiters:
        waiter.wait()
        waiter.lock.release()


def test_a_waiter_that_gives_up_is_skipped(kv: KV) -> None:
    first = kv.lock("L")
    first.acquire()
    impatient = Waiter(kv.lock("L"), timeout=0.5)
    patient = Waiter(kv.lock("L"))
    assert isinstance(impatient.wait(), LockTimeout)
    assert len(first.queue()) == 2
    assert patient.result is None
    first.release()
    assert patient.wait() == "acquired"
    patient.lock.release()


def test_threads_of_a_process_exclude_each_other(kv: KV) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(15):
            with kv.lock("L", timeout=60):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [in_thread(work) for _ in range(4)]
    for thread in threads:
        thread.join(60)
    assert most == [1] * 60


def test_names_that_nest_are_different_locks(kv: KV) -> None:
    names = ["a/b", "a", "a/b/c", "a/", "ab"]
    held = [kv.lock(name) for name in names]
    for lock in held:
        assert lock.try_acquire()
    for name, lock in zip(names, held, strict=True):
        holder = kv.lock(name).holder()
        assert holder is not None
        assert holder.token == lock.token
        assert len(kv.lock(name).queue()) == 1
        assert not kv.lock(name).try_acquire()
    waiter = Waiter(kv.lock("a"))
    assert waiter.result is None
    held[1].release()
    assert waiter.wait() == "acquired"
    waiter.lock.release()
    held[1].acquire(5)
    for lock in held:
        lock.release()
    assert keys(kv) == []


def test_clients_with_different_prefixes_have_different_locks(kv: KV, store: InterposedEngine) -> None:
    with closing(KV(store, prefix=kv.prefix + b"other/")) as other, kv.lock("L"):
        assert other.lock("L").try_acquire()


# --- data under the name of a lock -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "leased"), [("L/latest", False), ("L/7f", False), ("L/latest", True), ("L/7f-", True)])
def test_data_under_the_name_of_a_lock_is_in_nobodys_way_and_safe(kv: KV, key: str, leased: bool) -> None:
    token = kv.put(key, "precious", lease=kv.lease(60) if leased else 0).revision
    lock, operator = kv.lock("L"), kv.lock("L")
    assert (lock.holder(), lock.queue(), kv.election("L").leader()) == (None, (), None)
    assert operator.force_release() is None
    assert operator.force_release(token=token) is None
    assert lock.try_acquire()
    assert [holder.token for holder in lock.queue()] == [lock.token]
    kv.put("L/yet", "precious too")
    assert not kv.lock("L").try_acquire()
    waiter = Waiter(kv.lock("L"))
    assert operator.remove_waiter(token) is None
    lock.release()
    assert waiter.wait() == "acquired"
    waiter.lock.release()
    assert keys(kv) == [key.encode(), b"L/yet"]


def test_a_key_that_becomes_data_before_it_is_removed_is_left_alone(kv: KV, store: InterposedEngine) -> None:
    lock = kv.lock("L")
    lock.acquire()
    key = lock.queue()[0].key

    def overwrite_between_look_and_deletion() -> None:
        del store.before["txn"]
        kv.put(key, "somebody else's")

    store.before["txn"] = overwrite_between_look_and_deletion
    assert kv.lock("L").force_release() is None
    assert keys(kv) == [key]


# --- one object ------------------------------------------------------------------------------------------------------


def test_a_lock_object_can_be_used_again_but_not_twice(kv: KV) -> None:
    lock = kv.lock("L")
    tokens = []
    for _ in range(2):
        with lock:
            tokens.append(lock.token)
            with pytest.raises(InvalidRequest, match="already"):
                lock.acquire()
            assert lock.held
        assert not lock.held
    assert tokens[0] < tokens[1]


def test_what_needs_a_held_lock_says_so(kv: KV) -> None:
    lock = kv.lock("L")
    assert not lock.held
    assert not lock.lost
    for call in (lock.release, lock.compare, lambda: lock.token):
        with pytest.raises(InvalidRequest, match="'L' is not held"):
            call()
    with pytest.raises(LockLost):
        lock.check()


def test_a_lock_released_inside_its_with_block_is_released_once(kv: KV) -> None:
    with kv.lock("L") as lock:
        lock.release()
    assert keys(kv) == []


# --- for operators ---------------------------------------------------------------------------------------------------


def test_views_of_one_client_meet_in_one_lock(kv: KV) -> None:
    with kv.lock("sub/L"):
        view = kv.namespace("sub/")
        with pytest.raises(LockTimeout):
            view.lock("L").acquire(0.1)
        assert not view.lock("L").try_acquire()
