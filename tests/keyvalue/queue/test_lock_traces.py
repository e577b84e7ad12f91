"""A lock that is waited for, refused or given up leaves nothing behind."""

from __future__ import annotations

import signal
import threading
from contextlib import closing

import pytest

from django_etcdaero.exceptions import Cancelled, ClusterError, LockTimeout, OutcomeUnknown
from django_etcdaero.keyvalue import KV
from django_etcdaero.system.clocks import monotonic
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Waiter, in_thread, keys, store_release
from tests.waiting import wait_until

# --- nothing is left behind ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 0.01, 0.3])
def test_a_wait_that_times_out_leaves_nothing_behind(kv: KV, timeout: float) -> None:
    first = kv.lock("L")
    first.acquire()
    for _ in range(3):
        with pytest.raises(LockTimeout):
            kv.lock("L").acquire(timeout)
    # Of an entry that was not answered in time it is not known whether it is there: it is removed a moment later.
    wait_until(lambda: len(keys(kv)) == 1, what="the end of all other places")
    first.release()
    assert keys(kv) == []


def test_a_lock_has_a_default_timeout(kv: KV) -> None:
    with kv.lock("L"), pytest.raises(LockTimeout), kv.lock("L", timeout=0.05):
        pytest.fail("the lock was taken twice")
    # A key may stay for a moment: of an entry that was not answered in time it is not known.
    wait_until(lambda: keys(kv) == [], what="the end of all places")


def test_trying_a_held_lock_writes_nothing(kv: KV) -> None:
    with kv.lock("L"):
        before = kv.range("x").revision
        assert not kv.lock("L").try_acquire()
        assert kv.range("x").revision == before


def test_an_interrupted_wait_leaves_nothing_behind(kv: KV, store: InterposedEngine) -> None:
    first = kv.lock("L")
    first.acquire()
    wait_until(lambda: len(store.running) == 1, what="the holder's watch of its own key")

    def interrupt() -> None:
        wait_until(lambda: len(store.running) == 3, what="the waiter's watches")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    interrupter = in_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        kv.lock("L").acquire()
    interrupter.join(10)
    first.release()
    wait_until(lambda: keys(kv) == [], what="an empty line")
    assert kv.lock("L").try_acquire()


def test_closing_the_client_ends_its_waits_and_leaves_nothing_behind(kv: KV, store: InterposedEngine) -> None:
    with closing(KV(store, prefix=kv.prefix)) as other, other.lock("L"):
        waiter = Waiter(kv.lock("L"))
        kv.close()
        assert isinstance(waiter.wait(), Cancelled)
        assert len(keys(other)) == 1


def test_a_client_closed_while_a_waiter_looks_is_named_as_the_reason(kv: KV, store: InterposedEngine) -> None:
    with closing(KV(store.inner, prefix=kv.prefix)) as other:
        first = other.lock("L")
        first.acquire()
        waiter = Waiter(kv.lock("L"))
        wait_until(lambda: store.calls["watch"] == 2, what="the waiter's watches")
        store.before["range"] = kv.close
        first.release()
        assert isinstance(waiter.wait(), Cancelled)
        assert keys(other) == []


def test_an_entry_of_unknown_outcome_that_was_applied_is_found_again(kv: KV, store: InterposedEngine) -> None:
    kv.session(10)
    store.fail("txn", OutcomeUnknown("answer lost"), applied=True)
    with kv.lock("L") as lock:
        assert [found.create_revision for found in kv.range("L/", prefix=True).kvs] == [lock.token]
    assert keys(kv) == []


@pytest.mark.parametrize("timeout", [0, 5])
def test_an_entry_that_stays_unknown_is_taken_back(kv: KV, store: InterposedEngine, timeout: int) -> None:
    kv.session(10)
    store.fail("txn", OutcomeUnknown("answer lost"), times=3 if timeout else 1, applied=True)
    with pytest.raises(OutcomeUnknown):
        kv.lock("L").acquire(timeout)
    assert keys(kv) == []


def test_an_entry_that_arrives_after_it_was_given_up_is_taken_back(kv: KV, store: InterposedEngine) -> None:
    session = kv.session(10)
    store.fail("txn", OutcomeUnknown("answer lost"), times=3)
    with pytest.raises(OutcomeUnknown):
        kv.lock("L").acquire(5)
    kv.put(f"L/{session.lease.id:x}", "late", lease=session.lease)
    wait_until(lambda: keys(kv) == [], what="the end of the late key")
    assert session.alive


def test_an_entry_that_arrives_when_a_time_to_live_has_passed_is_taken_back(kv: KV, store: InterposedEngine) -> None:
    session = kv.session(2)
    store.break_("txn", OutcomeUnknown("answer lost"))
    for _ in range(2):  # the key of the first would be found again by the next one of this session
        with pytest.raises(OutcomeUnknown):
            kv.lock("L", ttl=2).acquire(5)
    store.mend()
    given_up = monotonic()
    wait_until(lambda: monotonic() > given_up + 3, what="more than the time to live")
    kv.put(f"L/{session.lease.id:x}-1", "late", lease=session.lease)
    with kv.lock("L", ttl=2, timeout=10):
        assert len(keys(kv)) == 1
    assert keys(kv) == []
    assert session.alive


def test_a_release_that_fails_is_carried_on_in_the_background(kv: KV, store: InterposedEngine) -> None:
    lock = kv.lock("L")
    lock.acquire()
    store.fail("txn", ClusterError("away"), times=4)
    lock.release()
    wait_until(lambda: keys(kv) == [], what="the end of the key")
    assert kv.session(10).alive


def test_a_key_that_cannot_be_deleted_goes_with_its_abandoned_session(kv: KV, store: InterposedEngine) -> None:
    lock = kv.lock("L", ttl=2)
    lock.acquire()
    session = kv.session(2)
    store.break_("txn", ClusterError("away"))
    lock.release()
    wait_until(lambda: not session.alive, what="the end of the session")
    wait_until(lambda: keys(kv) == [], what="the end of the key")
    store.mend()
    assert kv.lock("L", ttl=2).try_acquire()


def test_a_definite_refusal_leaves_nothing_to_tidy_up(kv: KV, store: InterposedEngine) -> None:
    kv.session(10)
    store.fail("txn", ClusterError("away"))
    with pytest.raises(ClusterError):
        kv.lock("L").acquire(5)
    assert store.calls["txn"] == 1


def test_a_wait_survives_errors_of_the_store(kv: KV, store: InterposedEngine) -> None:
    first = kv.lock("L")
    first.acquire()
    waiter = Waiter(kv.lock("L"))
    wait_until(lambda: store.calls["watch"] == 3, what="the holder's watch and the waiter's")
    store.inner.txn(store_release(kv, first))
    store.fail("range", ClusterError("away"), times=3)
    assert waiter.wait() == "acquired"
    waiter.lock.release()


# --- for operators ---------------------------------------------------------------------------------------------------


def test_two_that_give_up_at_once_do_not_take_each_others_places(kv: KV) -> None:
    wrong: list[object] = []
    with kv.lock("L"):

        def try_often() -> None:
            lock = kv.lock("L")
            for _ in range(50):
                if lock.try_acquire():
                    wrong.append(lock)
                with pytest.raises(LockTimeout):
                    lock.acquire(0.001)

        threads = [in_thread(try_often) for _ in range(4)]
        for thread in threads:
            thread.join(60)
        # A key may stay for a moment: of an entry that was not answered within the millisecond it is not known.
        wait_until(lambda: len(keys(kv)) == 1, what="the end of all places but the holder's")
    assert wrong == []
