"""``cancel()`` ends the wait of another thread or task, and a wait that ran out of time says who was in its way."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import UTC, datetime

import pytest

from django_etcdaero.exceptions import Cancelled, ClusterError, DeadlineExceeded, LockTimeout
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.queue.holder import Holder
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Candidate, Waiter, in_thread, keys
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("engine", ["mem"], indirect=True)


def test_a_wait_without_an_end_is_ended(kv: KV, other: KV) -> None:
    with other.lock("L") as held:
        waiter = Waiter(kv.lock("L"), timeout=None)
        assert waiter.lock.cancel()
        error = waiter.wait()
        assert isinstance(error, Cancelled)
        assert str(error) == "the wait for 'L' was cancelled"
        assert len(held.queue()) == 1
        assert not waiter.lock.cancel()
    with waiter.lock:  # it can be taken as if nothing had been
        assert not waiter.lock.cancel()
        assert waiter.lock.held
    assert keys(kv) == []


def test_a_lock_that_nobody_waits_for_has_no_wait_to_end(kv: KV, other: KV) -> None:
    lock = kv.lock("L")
    assert not lock.cancel()
    lock.acquire()
    assert not lock.cancel()
    other.lock("L").force_release()
    wait_until(lambda: lock.lost, what="the loss")
    assert not lock.cancel()


def test_a_campaign_is_ended(kv: KV, other: KV) -> None:
    leader = other.election("E")
    leader.campaign()
    waiter = Candidate(kv.election("E"), timeout=None)
    assert waiter.election.cancel()
    assert isinstance(waiter.wait(), Cancelled)
    assert len(leader.queue()) == 1
    leader.resign()


def test_a_waiting_task_is_ended(kv: KV, other: KV) -> None:
    async def main() -> None:
        lock = kv.lock("L")
        waiting = asyncio.create_task(lock.aacquire())
        while len(await lock.aqueue()) < 2:
            await asyncio.sleep(0)
        assert lock.cancel()
        with pytest.raises(Cancelled):
            await waiting
        assert len(await lock.aqueue()) == 1

    with other.lock("L"):
        asyncio.run(main())


@pytest.mark.parametrize("call", ["lease_grant", "txn"])
def test_a_wait_that_is_cancelled_before_it_has_a_place_ends_without_the_lock(
    kv: KV, store: InterposedEngine, call: str
) -> None:
    in_call, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        in_call.set()
        go_on.wait(10)

    if call == "txn":
        kv.session(10)
    store.before[call] = hold_up
    lock = kv.lock("L")
    errors: list[Exception] = []

    def acquire() -> None:
        try:
            lock.acquire()
        except Cancelled as error:
            errors.append(error)

    thread = in_thread(acquire)
    assert in_call.wait(10)
    assert lock.cancel()
    del store.before[call]
    go_on.set()
    thread.join(20)
    assert errors
    assert not lock.held
    assert keys(kv) == []


# --- who is in the way -----------------------------------------------------------------------------------------------


def test_a_timeout_names_who_has_the_lock_without_a_further_call(kv: KV, other: KV, store: InterposedEngine) -> None:
    with kv.lock("L") as held:
        about = held.holder()
        assert isinstance(about, Holder)
        waiting = KV(store, prefix=kv.prefix)
        waiting.session(10)
        store.calls.clear()
        with pytest.raises(LockTimeout, match=r"not free in time; .*/\d+ since .* UTC has it$") as caught:
            waiting.lock("L").acquire(timeout=0.3)
        assert (store.calls["txn"], store.calls["range"]) == (2, 1), "entering, looking, leaving"
        assert caught.value.holder == about
        assert about.pid == os.getpid()
        assert about.since is not None
        assert abs((datetime.now(UTC) - about.since).total_seconds()) < 600
        store.calls.clear()
        with pytest.raises(LockTimeout, match=r"is not free; .* has it") as caught:
            waiting.lock("L").acquire(timeout=0)
        assert caught.value.holder == about
        assert (store.calls["txn"], store.calls["range"]) == (1, 0)
        assert not waiting.lock("L").try_acquire()
        waiting.close()


def test_a_release_looks_at_nobody(kv: KV, store: InterposedEngine) -> None:
    requests: list[object] = []
    inner = store.inner.txn
    lock = kv.lock("L")
    lock.acquire()
    try:
        store.inner.txn = lambda request, **options: (requests.append(request), inner(request, **options))[1]  # type: ignore[method-assign]
        lock.release()
    finally:
        del store.inner.txn  # type: ignore[method-assign]
    (request,) = requests
    assert len(request.success) == 1  # type: ignore[attr-defined]


def test_without_an_answer_nobody_is_named(kv: KV, other: KV, store: InterposedEngine) -> None:
    with other.lock("L"):
        kv.session(10)
        store.before["txn"] = lambda: threading.Event().wait(0.05)
        store.fail("txn", ClusterError("away"))
        with pytest.raises(LockTimeout, match=r"away$") as caught:
            kv.lock("L").acquire(timeout=0.01)
        assert caught.value.holder is None


def test_the_value_of_a_leader_is_not_read_for_a_message(kv: KV, other: KV) -> None:
    leader = other.election("E", value="x" * 1000)
    leader.campaign()
    with pytest.raises(DeadlineExceeded, match=r"was not won in time$"):
        kv.election("E").campaign(timeout=0.1)
    leader.resign()
