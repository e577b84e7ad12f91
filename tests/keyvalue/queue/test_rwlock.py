"""Readers hold a read/write lock together, writers alone, in the order in which they came."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest

from django_etcdaero.exceptions import LockLost, LockTimeout, OutcomeUnknown
from django_etcdaero.keyvalue import KV, Lease, Lock, RWLock, SortOrder, SortTarget, ops
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.contests import contest
from tests.keyvalue.queue.queueing import Waiter, in_thread, keys
from tests.waiting import wait_until

in_memory = pytest.mark.parametrize("engine", ["mem"], indirect=True)

_times = itertools.count(1_700_000_000_000_000_000)


@pytest.fixture
def rwlock(kv: KV) -> RWLock:
    return kv.rwlock("R", timeout=30)


def held(lock: Lock) -> Lock:
    lock.acquire(10)
    return lock


class GoMutex:
    """A contender of etcd's Go client (``RWMutex``), as the calls that it makes."""

    def __init__(self, kv: KV, role: str, lease: Lease) -> None:
        self._kv = kv
        self.key = f"R/{role}/{next(_times)}"
        self._waits_for = "R/" if role == "write" else "R/write"
        self.revision = kv.put(self.key, "", lease=lease).revision
        self.acquired = threading.Event()
        in_thread(self._acquire)

    def _acquire(self) -> None:
        while last := self._last_before():
            with self._kv.watch(last, start_revision=self.revision, no_put=True) as watch:
                watch.next(timeout=30)
        self.acquired.set()

    def _last_before(self) -> bytes | None:
        order = {"sort_target": SortTarget.MOD, "sort_order": SortOrder.DESCEND}
        kvs = self._kv.range(self._waits_for, prefix=True, max_mod_revision=self.revision - 1, limit=1, **order).kvs
        return kvs[0].key if kvs else None

    def unlock(self) -> None:
        self._kv.delete(self.key)


# --- readers together, writers alone ---------------------------------------------------------------------------------


def test_nobody_is_beside_a_writer_and_all_have_their_turn(kv: KV, other: KV) -> None:
    locks = [client.rwlock("R", timeout=60) for client in (kv, other)]
    sides = [("reader", lock.read) for lock in locks * 2] + [("writer", lock.write) for lock in locks]
    inside = contest(sides, rounds=5)
    assert inside.most["writer"] == 1
    assert inside.mixed == []
    assert len(set(inside.order)) == 30
    assert keys(kv) == []


def test_they_are_served_in_the_order_in_which_they_came(rwlock: RWLock) -> None:
    first, second = held(rwlock.read()), held(rwlock.read())
    writer = Waiter(rwlock.write())
    readers = [Waiter(rwlock.read()) for _ in range(2)]
    last = Waiter(rwlock.write())
    in_line = rwlock.queue()
    assert [each.role for each in in_line] == ["read", "read", "write", "read", "read", "write"]
    assert sorted(each.token for each in in_line) == [each.token for each in in_line]
    assert [each.token for each in rwlock.holders()] == [first.token, second.token]
    first.release()
    assert writer.result is None
    second.release()
    assert writer.wait() == "acquired"
    assert [each.role for each in rwlock.holders()] == ["write"]
    assert [each.result for each in (*readers, last)] == [None] * 3
    writer.lock.release()
    assert [each.wait() for each in readers] == ["acquired"] * 2
    assert last.result is None
    for each in readers:
        each.lock.release()
    assert last.wait() == "acquired"
    assert last.lock.token == in_line[-1].token
    last.lock.release()


def test_a_writer_whose_session_ends_loses_its_place_and_learns_it(kv: KV, other: KV) -> None:
    writer, lost = kv.rwlock("R").write(), threading.Event()
    writer.on_lost(lost.set)
    writer.acquire()
    waiter = Waiter(other.rwlock("R").read())
    kv.revoke_lease(kv.session(10).lease)
    assert waiter.wait() == "acquired"
    assert lost.wait(10)
    assert not kv.txn().when(writer.compare()).then(ops.put("x")).commit().succeeded
    assert other.txn().when(waiter.lock.compare()).then(ops.put("x")).commit().succeeded
    with pytest.raises(LockLost):
        writer.release()
    waiter.lock.release()


@in_memory
@pytest.mark.parametrize("role", ["read", "write"])
def test_a_free_lock_is_taken_in_one_transaction_and_given_back_in_one(
    kv: KV, rwlock: RWLock, store: InterposedEngine, role: str
) -> None:
    kv.session(10)
    for take in (lambda lock: lock.acquire(5), lambda lock: lock.try_acquire()):
        store.calls.clear()
        lock = getattr(rwlock, role)()
        take(lock)
        assert (store.calls["txn"], store.calls["range"]) == (1, 0)
        lock.release()
        assert (store.calls["txn"], store.calls["range"]) == (2, 0)


@in_memory
def test_trying_gets_what_nobody_who_is_there_excludes(rwlock: RWLock) -> None:
    first = held(rwlock.read())
    second = rwlock.read()
    assert second.try_acquire()
    assert not rwlock.write().try_acquire()
    waiter = Waiter(rwlock.write())
    assert not rwlock.read().try_acquire()
    first.release()
    second.release()
    assert waiter.wait() == "acquired"
    assert not rwlock.read().try_acquire()
    assert not rwlock.write().try_acquire()
    waiter.lock.release()
    assert rwlock.write().try_acquire()


@in_memory
@pytest.mark.parametrize("role", ["read", "write"])
def test_one_who_gives_up_leaves_nothing_and_holds_nobody_up(kv: KV, rwlock: RWLock, role: str) -> None:
    holder = held(rwlock.write())
    impatient, patient = Waiter(getattr(rwlock, role)(), timeout=0.3), Waiter(rwlock.write())
    assert isinstance(impatient.wait(), LockTimeout)
    assert len(rwlock.queue()) == 2
    holder.release()
    assert patient.wait() == "acquired"
    patient.lock.release()
    assert keys(kv) == []


@in_memory
@pytest.mark.parametrize("timeout", [0, 0.05])
def test_a_reader_behind_a_writer_who_waits_is_told_who_holds_the_lock(rwlock: RWLock, timeout: float) -> None:
    reader = held(rwlock.read())
    Waiter(rwlock.write())
    with pytest.raises(LockTimeout) as told:
        rwlock.read().acquire(timeout)
    assert (told.value.holder.role, told.value.holder.token) == ("read", reader.token)


@in_memory
@pytest.mark.parametrize("role", ["read", "write"])
def test_a_waiter_whose_key_is_taken_away_does_not_go_on_as_if_it_held(kv: KV, rwlock: RWLock, role: str) -> None:
    holder = held(rwlock.write())
    waiter = Waiter(getattr(rwlock, role)())
    kv.delete(rwlock.queue()[1].key)
    holder.release()
    result = waiter.wait()
    assert isinstance(result, LockLost)
    assert rwlock.queue() == ()


@in_memory
@pytest.mark.parametrize("role", ["read", "write"])
def test_a_lost_answer_makes_no_second_place(rwlock: RWLock, store: InterposedEngine, role: str) -> None:
    store.fail("txn", OutcomeUnknown("lost"), applied=True)
    lock = held(getattr(rwlock, role)())
    assert [each.token for each in rwlock.holders()] == [lock.token]
    lock.release()
    assert rwlock.queue() == ()


@in_memory
def test_async_with(rwlock: RWLock) -> None:
    async def use() -> None:
        async with rwlock.read(), rwlock.read():
            assert [each.role for each in await rwlock.aholders()] == ["read", "read"]
            with pytest.raises(LockTimeout):
                await rwlock.write().aacquire(0.1)
        async with rwlock.write() as writer:
            assert [each.token for each in await rwlock.aqueue()] == [writer.token]

    asyncio.run(use())


@in_memory
def test_as_decorators(rwlock: RWLock) -> None:
    @rwlock.write()
    def rewrite() -> list[str]:
        return [each.role for each in rwlock.holders()]

    @rwlock.read()
    def look() -> list[str]:
        return [each.role for each in rwlock.holders()]

    assert rewrite() == ["write"]
    with rwlock.read():
        assert look() == ["read", "read"]
    assert rwlock.queue() == ()


@in_memory
def test_other_keys_in_its_room_are_in_nobodys_way(kv: KV, rwlock: RWLock) -> None:
    kv.put("R/write/data", "1")
    kv.put("R/latest", "1", lease=kv.lease(60))
    assert rwlock.read().try_acquire()
    assert not rwlock.write().try_acquire()
    waiter = Waiter(rwlock.write())
    assert rwlock.force_release() is not None
    assert waiter.wait() == "acquired"
    assert keys(kv)[0] == b"R/latest"


@in_memory
def test_an_operator_takes_it_from_one_holder_and_lets_one_wait_no_more(rwlock: RWLock) -> None:
    readers = [held(rwlock.read()) for _ in range(2)]
    writer, last = Waiter(rwlock.write()), Waiter(rwlock.read())
    in_line = rwlock.queue()
    assert rwlock.force_release(token=in_line[2].token) is None
    assert rwlock.remove_waiter(in_line[1].token) is None
    assert rwlock.remove_waiter(in_line[2].token) == in_line[2]
    assert isinstance(writer.wait(), LockLost)
    assert last.wait() == "acquired"
    assert rwlock.force_release(token=in_line[1].token) == in_line[1]
    wait_until(lambda: readers[1].lost, what="the loss to be noticed")
    assert readers[0].held


# --- together with etcd's Go client ----------------------------------------------------------------------------------


@in_memory
def test_the_layout_is_that_of_etcds_go_client(kv: KV, rwlock: RWLock) -> None:
    lease = kv.session(10).lease.id
    with rwlock.read(), rwlock.read():
        assert keys(kv) == [f"R/read/{lease:x}".encode(), f"R/read/{lease:x}-1".encode()]
    with rwlock.write():
        assert keys(kv) == [f"R/write/{lease:x}".encode()]


@in_memory
def test_a_go_writer_and_ours_exclude_each_other(kv: KV, rwlock: RWLock) -> None:
    ours = held(rwlock.read())
    lease = kv.lease(60)
    theirs = GoMutex(kv, "write", lease)
    assert not theirs.acquired.is_set()
    reader = Waiter(rwlock.read())
    ours.release()
    assert theirs.acquired.wait(10)
    assert reader.result is None
    assert [(each.role, each.token) for each in rwlock.holders()] == [("write", theirs.revision)]
    theirs.unlock()
    assert reader.wait() == "acquired"
    reader.lock.release()


@in_memory
def test_go_readers_and_ours_read_together_and_hold_writers_off(kv: KV, rwlock: RWLock) -> None:
    ours = held(rwlock.read())
    theirs = GoMutex(kv, "read", kv.lease(60))
    assert theirs.acquired.wait(10)
    writer = Waiter(rwlock.write())
    late = GoMutex(kv, "read", kv.lease(60))
    ours.release()
    assert (writer.result, late.acquired.is_set()) == (None, False)
    theirs.unlock()
    assert writer.wait() == "acquired"
    assert not late.acquired.is_set()
    writer.lock.release()
    assert late.acquired.wait(10)
