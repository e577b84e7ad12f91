"""What a wait for a lock says of a store that does not answer."""

from __future__ import annotations

import threading

import pytest

from django_etcdaero.exceptions import ClusterError, InvalidRequest, LockTimeout
from django_etcdaero.keyvalue import KV
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Waiter, keys, store_release
from tests.waiting import wait_until


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
