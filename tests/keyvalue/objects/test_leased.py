from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from django_etcdaero.exceptions import DeadlineExceeded, EncodeError, InvalidRequest, KeyExists
from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.objects import Collection, LeasedObject, LeaseState
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.objects.samples import ADA, BOB, Cat, Order
from tests.waiting import wait_until


def test_it_is_there_until_it_is_cancelled(orders: Collection[Order]) -> None:
    leased = orders.leased("1", ADA, ttl=5)
    stored = orders.get("1")
    assert (stored.object, stored.lease, stored.version) == (ADA, leased.lease.id, leased.version)
    assert leased.state is LeaseState.ACTIVE
    leased.cancel()
    leased.cancel()
    assert not orders.exists("1")
    assert leased.state is LeaseState.CANCELLED
    assert repr(leased) == "<LeasedObject 'orders/1' cancelled>"


def test_it_outlives_its_time_to_live(engine: Engine, orders: Collection[Order]) -> None:
    counted = InterposedEngine(engine)
    kv = KV(counted, prefix="outlives/")
    collection = Collection(kv, Order, "orders")
    with collection.leased("1", ADA, ttl=2) as leased:
        wait_until(lambda: counted.calls["lease_keep_alive"] >= 4, what="renewals for longer than the ttl")
        assert collection.exists("1")
        assert leased.state is LeaseState.ACTIVE
    assert not collection.exists("1")
    kv.close()


def test_it_may_be_updated_and_stays_leased(orders: Collection[Order]) -> None:
    with orders.leased("1", ADA, ttl=5) as leased:
        assert orders.update("1", BOB).lease == leased.lease.id
        assert leased.wait(0.1) is LeaseState.ACTIVE
    assert not orders.exists("1")


def test_deleting_it_is_a_loss(orders: Collection[Order], caplog: pytest.LogCaptureFixture) -> None:
    ended: list[LeasedObject] = []
    with caplog.at_level(logging.WARNING, "django_etcdaero.kv"):
        leased = orders.leased("1", ADA, ttl=5)
        leased.on_end(ended.append)
        orders.delete("1")
        assert leased.wait(10) is LeaseState.LOST
        wait_until(lambda: ended == [leased], what="the callback")
    assert "orders/1" in caplog.text


def test_putting_another_in_its_place_is_a_loss_and_leaves_the_other(engine: Engine, orders: Collection[Order]) -> None:
    first = orders.leased("1", ADA, ttl=60)
    second = orders.leased("1", BOB, ttl=60, replace=True)
    assert first.wait(10) is LeaseState.LOST
    wait_until(lambda: first.lease.id not in engine.lease_list(), what="the end of the lease")
    first.cancel()
    assert orders.get("1").object == BOB
    second.cancel()
    assert not orders.exists("1")


def test_what_exists_is_not_replaced_unasked(engine: Engine, orders: Collection[Order]) -> None:
    orders.create("1", BOB)
    leases = set(engine.lease_list())
    with pytest.raises(KeyExists, match="orders/1"):
        orders.leased("1", ADA, ttl=60)
    assert orders.get("1").object == BOB
    assert set(engine.lease_list()) <= leases  # those of earlier tests may run out meanwhile
    with orders.leased("1", ADA, ttl=60, replace=True):
        assert orders.get("1").object == ADA
    with pytest.raises(InvalidRequest, match="replace"):
        orders.leased("2", ADA, replace=1)  # type: ignore[arg-type]


def test_the_end_of_the_lease_is_a_loss(kv: KV, orders: Collection[Order]) -> None:
    leased = orders.leased("1", ADA, ttl=5)
    kv.engine.lease_revoke(leased.lease.id)
    assert leased.wait(10) is LeaseState.LOST
    late: list[LeasedObject] = []
    leased.on_end(late.append)
    wait_until(lambda: late == [leased], what="the callback of one who came late")


def test_a_callback_that_raises_is_logged(orders: Collection[Order], caplog: pytest.LogCaptureFixture) -> None:
    leased = orders.leased("1", ADA, ttl=5)

    def fail(ended: LeasedObject) -> None:
        raise ZeroDivisionError

    leased.on_end(fail)
    leased.cancel()
    wait_until(lambda: "the on_end callback of 'orders/1' failed" in caplog.text)


def test_what_could_not_be_stored_leaves_no_lease(engine: Engine) -> None:
    broken = InterposedEngine(engine)
    kv = KV(broken, prefix="leaves-nothing/")
    orders = Collection(kv, Order, "orders")
    before = set(engine.lease_list())
    for method in ("txn", "watch"):
        broken.fail(method, DeadlineExceeded("too slow"))
        with pytest.raises(DeadlineExceeded):
            orders.leased("1", ADA, ttl=60)
    with pytest.raises(EncodeError):
        orders.leased("1", Cat("Tom"), ttl=60)  # type: ignore[arg-type]
    assert set(engine.lease_list()) <= before  # those of earlier tests may run out meanwhile
    assert not orders.exists("1")
    kv.close()


def test_a_cancel_that_reaches_no_store_is_logged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    broken = InterposedEngine(engine)
    kv = KV(broken, prefix="unreached/")
    leased = Collection(kv, Order, "orders").leased("1", ADA, ttl=2)
    broken.fail("lease_revoke", DeadlineExceeded("too slow"))
    leased.cancel()
    assert leased.state is LeaseState.CANCELLED
    assert "the object 'orders/1' could not be deleted and will run out" in caplog.text
    wait_until(lambda: kv.get("orders/1") is None, what="the end of the object")
    kv.close()


def test_it_stays_the_parents_when_a_process_forks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.programs.object_leasing", str(tmp_path / "kv.sqlite3")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"child": ["lost", "lost"], "parent": "active", "stored": True}


def test_events_that_cannot_be_had_any_more_are_no_loss(engine: Engine) -> None:
    interposed = InterposedEngine(engine)
    kv = KV(interposed, prefix="compacted/")
    orders = Collection(kv, Order, "orders")

    def compact() -> None:
        kv.put("other", "1")
        kv.compact(kv.put("other", "2").revision)

    interposed.before["watch"] = compact
    leased = orders.leased("1", ADA, ttl=60)
    del interposed.before["watch"]
    wait_until(lambda: interposed.calls["watch"] == 2, what="the watch made anew")
    assert leased.state is LeaseState.ACTIVE
    orders.delete("1")
    assert leased.wait(10) is LeaseState.LOST
    kv.close()
