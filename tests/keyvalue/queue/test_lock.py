from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    InvalidRequest,
    LockLost,
    LockTimeout,
    OutcomeUnknown,
)
from django_etcdaero.keyvalue import KV, Lock, txn
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Queued, in_thread, keys
from tests.waiting import wait_until


class Waiter(Queued):
    """Acquires a lock in a thread of its own; ``result`` is the error or ``"acquired"``."""

    def __init__(self, lock: Lock, timeout: float | None = 30) -> None:
        self.lock = lock
        super().__init__(lock, lambda: lock.acquire(timeout), "acquired")


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


def store_release(kv: KV, lock: Lock):  # type: ignore[no-untyped-def]  # the release, past the faults
    return kv.keyspace.outward(kv.txn().then(txn.delete("L/" + f"{kv.session(10).lease.id:x}")).request())


# --- a store that does not answer ------------------------------------------------------------------------------------


def test_an_error_that_comes_when_the_time_is_over_is_a_timeout(kv: KV, store: InterposedEngine) -> None:
    kv.session(10)
    away = ClusterError("away")
    store.before["txn"] = lambda: threading.Event().wait(0.2)
    store.fail("txn", away)
    with pytest.raises(LockTimeout, match=r"'L' could not be had in time: away") as caught:
        kv.lock("L").acquire(0.1)
    assert caught.value.__cause__ is away


def test_a_wait_that_times_out_while_the_store_is_away_says_so(kv: KV, store: InterposedEngine) -> None:
    first = kv.lock("L")
    first.acquire()
    waiter = Waiter(kv.lock("L"), timeout=1)
    wait_until(lambda: store.calls["watch"] == 3, what="the holder's watch and the waiter's")
    release = store_release(kv, first)
    away = ClusterError("away")
    store.break_("range", away)
    store.break_("txn", away)
    store.inner.txn(release)
    result = waiter.wait()
    assert isinstance(result, LockTimeout)
    assert result.__cause__ is away
    assert "away" in str(result)
    store.mend()
    wait_until(lambda: keys(kv) == [], what="the end of the waiter's key")


def test_an_error_that_comes_before_the_time_is_over_is_raised_as_it_is(kv: KV, store: InterposedEngine) -> None:
    store.fail("lease_grant", ClusterError("away"))
    with pytest.raises(ClusterError):
        kv.lock("L").acquire(30)
    store.fail("txn", ClusterError("away"))
    with pytest.raises(ClusterError):
        kv.lock("L").try_acquire(timeout=30)
    with pytest.raises(InvalidRequest, match="timeout"):
        kv.lock("L").try_acquire(timeout=float("nan"))


# --- losing it -------------------------------------------------------------------------------------------------------


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
    assert kv.txn().when(compare).then(txn.put("x", "1")).commit().succeeded
    lose(kv, lock)
    wait_until(lambda: told == [lock], what="the callback")
    assert lock.lost
    assert not lock.held
    with pytest.raises(LockLost):
        lock.check()
    assert not kv.txn().when(lock.compare()).then(txn.put("x", "2")).commit().succeeded
    with pytest.raises(LockLost, match="lost before"):
        lock.release()
    assert not lock.lost
    lock.acquire(10)
    assert lock.held
    lock.release()
    assert told == [lock]


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


# --- for operators ---------------------------------------------------------------------------------------------------


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


def test_views_of_one_client_meet_in_one_lock(kv: KV) -> None:
    with kv.lock("sub/L"):
        view = kv.namespace("sub/")
        with pytest.raises(LockTimeout):
            view.lock("L").acquire(0.1)
        assert not view.lock("L").try_acquire()
