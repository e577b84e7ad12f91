"""A semaphore is held by as many as its limit allows, in turn."""

from __future__ import annotations

import asyncio
import threading

import pytest

from django_etcdaero.exceptions import InvalidRequest, LockLost, LockTimeout, OutcomeUnknown
from django_etcdaero.keyvalue import KV, Semaphore, ops
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.contests import contest
from tests.keyvalue.queue.queueing import Waiter, keys
from tests.waiting import wait_until

in_memory = pytest.mark.parametrize("engine", ["mem"], indirect=True)


def acquired(kv: KV, limit: int, count: int) -> list[Semaphore]:
    made = [kv.semaphore("S", limit) for _ in range(count)]
    for each in made:
        each.acquire(10)
    return made


# --- as many as the limit --------------------------------------------------------------------------------------------


def test_never_more_than_the_limit_hold_it_and_all_have_their_turn(kv: KV, other: KV) -> None:
    clients = [(kv, other)[number % 2] for number in range(6)]
    inside = contest([("in", lambda kv=kv: kv.semaphore("S", 2, timeout=60)) for kv in clients], rounds=5)
    assert inside.most["in"] <= 2
    assert len(set(inside.order)) == 30
    assert keys(kv) == [b"S:limit"]


def test_who_waits_is_served_in_turn_whoever_leaves(kv: KV) -> None:
    first, second, third = acquired(kv, 3, 3)
    waiters = [Waiter(kv.semaphore("S", 3)) for _ in range(3)]
    tokens = [each.token for each in first.queue()]
    assert tokens == sorted(tokens)
    for leaving, entering in zip((second, third, first), waiters, strict=True):
        assert entering.result is None
        leaving.release()
        assert entering.wait() == "acquired"
    assert [each.lock.token for each in waiters] == tokens[3:]
    for each in waiters:
        each.lock.release()


def test_a_holder_whose_session_ends_loses_its_place_and_learns_it(kv: KV, other: KV) -> None:
    told: list[Semaphore] = []
    lost, kept = kv.semaphore("S", 2), other.semaphore("S", 2)
    lost.on_lost(told.append)
    lost.acquire()
    kept.acquire()
    waiter = Waiter(other.semaphore("S", 2))
    kv.revoke_lease(kv.session(10).lease)
    assert waiter.wait() == "acquired"
    wait_until(lambda: told == [lost], what="the callback")
    assert (lost.held, lost.lost, kept.held) == (False, True, True)
    assert not kv.txn().when(lost.compare()).then(ops.put("x")).commit().succeeded
    assert other.txn().when(kept.compare(), waiter.lock.compare()).then(ops.put("x")).commit().succeeded
    with pytest.raises(LockLost):
        lost.release()
    for each in (kept, waiter.lock):
        each.release()


@in_memory
def test_a_free_place_is_taken_in_one_transaction_once_the_limit_is_known(kv: KV, store: InterposedEngine) -> None:
    kv.semaphore("S", 2).acquire()
    store.calls.clear()
    second = kv.semaphore("S", 2)
    second.acquire()
    assert (store.calls["txn"], store.calls["range"]) == (1, 0)
    second.release()
    assert store.calls["txn"] == 2


@in_memory
def test_a_departure_lets_one_in_and_the_others_ask_nothing(kv: KV, store: InterposedEngine) -> None:
    holders = acquired(kv, 2, 2)
    waiters = [Waiter(kv.semaphore("S", 2)) for _ in range(8)]
    wait_until(lambda: len(store.running) == 26, what="watches of ten own keys, and two of each who waits")
    store.calls.clear()
    holders[0].release()
    assert waiters[0].wait() == "acquired"
    assert store.calls == {"txn": 1, "range": 2}
    assert [each.result for each in waiters[1:]] == [None] * 7
    holders[1].release()
    for each in waiters:
        assert each.wait() == "acquired"
        each.lock.release()


@in_memory
def test_trying_takes_a_free_place_and_writes_nothing_if_there_is_none(kv: KV, store: InterposedEngine) -> None:
    one, two, three = (kv.semaphore("S", 2) for _ in range(3))
    assert one.try_acquire()
    assert two.try_acquire()
    store.calls.clear()
    assert not three.try_acquire()
    store.calls.pop("watch", None)  # that of a place which is held begins in the background
    assert store.calls == {"range": 1}
    two.release()
    assert three.try_acquire()
    assert {each.token for each in one.holders()} == {one.token, three.token}


@in_memory
def test_one_who_gives_up_leaves_nothing_and_holds_nobody_up(kv: KV) -> None:
    (holder,) = acquired(kv, 1, 1)
    impatient, patient = Waiter(kv.semaphore("S", 1), timeout=0.3), Waiter(kv.semaphore("S", 1))
    assert isinstance(impatient.wait(), LockTimeout)
    assert len(holder.queue()) == 2
    holder.release()
    assert patient.wait() == "acquired"
    patient.lock.release()
    assert keys(kv) == [b"S:limit"]


@in_memory
def test_a_lost_answer_makes_no_second_place(kv: KV, store: InterposedEngine) -> None:
    (first,) = acquired(kv, 2, 1)
    store.fail("txn", OutcomeUnknown("lost"), applied=True)
    second = kv.semaphore("S", 2)
    second.acquire(10)
    assert [each.token for each in first.holders()] == [first.token, second.token]
    second.release()
    assert len(first.queue()) == 1


@in_memory
def test_with_and_async_with(kv: KV) -> None:
    async def use() -> None:
        async with kv.semaphore("S", 2) as one, kv.semaphore("S", 2) as two:
            assert [each.token for each in await one.aholders()] == [one.token, two.token]
            with pytest.raises(LockTimeout):
                await kv.semaphore("S", 2).aacquire(0.1)
            waiting = asyncio.ensure_future(kv.semaphore("S", 2).aacquire())
            while len(await one.aqueue()) < 3:
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(use())
    with kv.semaphore("S", 2) as semaphore:
        assert semaphore.held
    wait_until(lambda: keys(kv) == [b"S:limit"], what="the end of all places")


@in_memory
def test_as_a_decorator_each_call_has_a_place_of_its_own(kv: KV) -> None:
    @kv.semaphore("S", 2)
    def inside() -> list[str]:
        return [each.role for each in kv.semaphore("S").holders()]

    assert inside() == ["semaphore"]
    with kv.semaphore("S", 2):
        assert inside() == ["semaphore", "semaphore"]
    assert keys(kv) == [b"S:limit"]


@in_memory
def test_a_timeout_names_who_came_first(kv: KV) -> None:
    (holder,) = acquired(kv, 1, 1)
    for timeout in (0, 0.1):
        with pytest.raises(LockTimeout) as caught:
            kv.semaphore("S", 1).acquire(timeout)
        assert caught.value.holder == holder.holder()


@in_memory
def test_other_keys_in_its_room_take_no_place(kv: KV) -> None:
    kv.put("S/data", "1")
    kv.put("S/lea5ed", "1", lease=kv.lease(60))
    one, two = acquired(kv, 2, 2)
    assert not kv.semaphore("S", 2).try_acquire()
    waiter = Waiter(kv.semaphore("S", 2))
    two.release()
    assert waiter.wait() == "acquired"
    assert len(one.holders()) == 2


def test_etcds_own_clients_take_part_in_its_queue(kv: KV) -> None:
    lease = kv.lease(60)
    (first,) = acquired(kv, 2, 1)
    foreign = kv.put(f"S/{lease.id:x}", "", lease=lease).revision
    assert [each.token for each in first.holders()] == [first.token, foreign]
    waiter = Waiter(kv.semaphore("S", 2))
    kv.revoke_lease(lease)
    assert waiter.wait() == "acquired"
    waiter.lock.release()
    first.release()


# --- the limit -------------------------------------------------------------------------------------------------------


@in_memory
def test_another_limit_is_refused_as_long_as_somebody_is_in_the_queue(kv: KV) -> None:
    (holder,) = acquired(kv, 2, 1)
    other = kv.semaphore("S", 3)
    with pytest.raises(InvalidRequest, match=r"'S' has the limit 2 in the store, not 3.*set_limit"):
        other.acquire(1)
    with pytest.raises(InvalidRequest):
        other.try_acquire()
    assert len(holder.queue()) == 1
    holder.release()
    with other:
        assert other.stored_limit() == 3


@in_memory
def test_without_a_limit_that_of_the_store_counts(kv: KV) -> None:
    with pytest.raises(InvalidRequest, match="has no limit in the store yet"):
        kv.semaphore("S").acquire(1)
    acquired(kv, 2, 1)
    second = kv.semaphore("S")
    second.acquire(1)
    assert not kv.semaphore("S").try_acquire()
    assert (second.limit, second.stored_limit()) == (None, 2)


@in_memory
def test_a_greater_limit_lets_those_in_who_wait(kv: KV) -> None:
    (holder,) = acquired(kv, 1, 1)
    waiters = [Waiter(kv.semaphore("S", 1)) for _ in range(3)]
    kv.semaphore("S").set_limit(3)
    assert [each.wait() for each in waiters[:2]] == ["acquired"] * 2
    assert waiters[2].result is None
    assert len(holder.holders()) == 3
    holder.release()
    assert waiters[2].wait() == "acquired"


@in_memory
def test_a_smaller_limit_takes_from_nobody_and_is_kept_from_then_on(kv: KV) -> None:
    holders = acquired(kv, 3, 3)
    waiter = Waiter(kv.semaphore("S"))
    holders[0].set_limit(1)
    assert holders[0].limit == 1
    assert not kv.semaphore("S").try_acquire()
    for each in holders[:2]:
        assert each.held
        each.release()
        assert waiter.result is None
    assert holders[2].held
    holders[2].release()
    assert waiter.wait() == "acquired"


@in_memory
def test_a_limit_that_changes_while_somebody_enters_is_looked_at_again(kv: KV, store: InterposedEngine) -> None:
    (holder,) = acquired(kv, 1, 1)

    def change() -> None:
        del store.before["txn"]
        kv.put("S:limit", "2")

    entering = kv.semaphore("S")
    store.before["txn"] = change
    entering.acquire(5)
    assert [each.token for each in holder.holders()] == [holder.token, entering.token]


@in_memory
@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "2"])
def test_a_limit_is_a_positive_whole_number(kv: KV, limit: object) -> None:
    with pytest.raises(InvalidRequest, match="limit"):
        kv.semaphore("S", limit)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="limit"):
        kv.semaphore("S").set_limit(limit)  # type: ignore[arg-type]


# --- for operators ---------------------------------------------------------------------------------------------------


@in_memory
def test_an_operator_takes_it_from_one_holder_and_lets_one_wait_no_more(kv: KV) -> None:
    first, second = acquired(kv, 2, 2)
    waiter, other = Waiter(kv.semaphore("S")), Waiter(kv.semaphore("S"))
    operator = kv.semaphore("S")
    in_line = operator.queue()
    assert [each.role for each in in_line] == ["semaphore"] * 4
    assert operator.force_release(token=in_line[2].token) is None
    assert operator.remove_waiter(second.token) is None
    assert operator.remove_waiter(in_line[2].token) == in_line[2]
    assert isinstance(waiter.wait(), LockLost)
    lost = threading.Event()
    second.on_lost(lost.set)
    assert operator.force_release(token=second.token) == in_line[1]
    assert lost.wait(10)
    assert other.wait() == "acquired"
    assert first.held


def test_a_limit_that_nobody_could_read_is_refused(kv: KV) -> None:
    for limit in (10**18, 2**63):
        with pytest.raises(InvalidRequest, match="limit must be at most"):
            kv.semaphore("S", limit)
        with pytest.raises(InvalidRequest, match="limit must be at most"):
            kv.semaphore("S").set_limit(limit)
    kv.semaphore("S").set_limit(10**18 - 1)
    with kv.semaphore("S") as semaphore:
        assert semaphore.stored_limit() == 10**18 - 1
