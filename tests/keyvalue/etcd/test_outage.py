"""While a whole cluster is known to be away nobody waits for it; as soon as a member answers everything goes on."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable

import pytest

from django_etcdaero.exceptions import ClusterError, ClusterTimeout, DeadlineExceeded, OutcomeUnknown
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.waiting import wait_until

Connect = Callable[..., EtcdEngine]

READ = RangeRequest(b"a")


def fail(engine: EtcdEngine) -> ClusterError:
    """Find out that the cluster is away."""
    with pytest.raises((ClusterError, DeadlineExceeded)) as first:
        engine.range(READ, timeout=1)
    assert getattr(first.value, "since", None) is None
    wait_until(lambda: engine._outage.is_known, what="the knowledge")
    with pytest.raises(ClusterError) as second:
        engine.range(READ, timeout=60)
    assert second.value.since is not None
    return second.value


def test_a_cluster_that_refuses_costs_one_timeout_and_says_since_when_and_why(server: Server, connect: Connect) -> None:
    server.kill()
    engine = connect([server.endpoint], timeout=60.0)
    error = fail(engine)
    assert f"no endpoint has answered since {error.since:%Y-%m-%d %H:%M:%S} UTC: {server.endpoint}: " in str(error)
    assert list(error.errors) == [server.endpoint]
    assert "Connection refused" in error.errors[server.endpoint]
    with pytest.raises(ClusterError, match="Put: no endpoint has answered since"):  # it is not sent, and that is known
        engine.put(PutRequest(b"a", b"1"))
    with pytest.raises(ClusterError, match="since"):
        asyncio.run(engine.arange(READ))


def test_calls_under_way_end_when_another_has_waited_in_vain(server: Server, connect: Connect) -> None:
    server.kill()
    engine = connect([server.endpoint], timeout=60.0)
    ended: list[ClusterError] = []

    def wait_long(call: Callable[[], object]) -> None:
        with pytest.raises(ClusterError) as failed:
            call()
        ended.append(failed.value)

    calls = [lambda: engine.range(READ), lambda: engine.put(PutRequest(b"a", b"1"))]
    threads = [threading.Thread(target=wait_long, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    fail(engine)
    for thread in threads:
        thread.join(20)
    assert [error.since is not None for error in ended] == [True, True]


def test_the_first_call_after_the_return_works(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint], timeout=60.0)
    engine.put(PutRequest(b"a", b"1"))
    server.kill()
    fail(engine)
    server.start()
    wait_until(lambda: not engine._outage.is_known, 30, what="the return")
    assert engine.range(READ).kvs[0].value == b"1"
    wait_until(lambda: "etcdaero-outage" not in {each.name for each in threading.enumerate()}, what="the thread's end")


def test_a_frozen_server_is_away_until_it_goes_on(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint], timeout=60.0)
    engine.range(READ)
    server.signal(signal.SIGSTOP)
    error = fail(engine)
    assert "DEADLINE_EXCEEDED" in error.errors[server.endpoint]
    server.signal(signal.SIGCONT)
    wait_until(lambda: not engine._outage.is_known, what="the return")
    assert engine.range(READ).kvs == ()


def test_a_frozen_server_is_a_timeout_each_time(server: Server, connect: Connect) -> None:
    used = connect([server.endpoint], timeout=1.0)
    used.range(READ)
    server.signal(signal.SIGSTOP)
    new = connect([server.endpoint], timeout=1.0)
    for engine in (used, new):
        with pytest.raises(DeadlineExceeded):
            engine.range(READ)
        wait_until(lambda engine=engine: engine._outage.is_known, what="the knowledge")  # type: ignore[misc]
        for call in (lambda: engine.range(READ), lambda: engine.put(PutRequest(b"a", b"1"))):  # noqa: B023
            with pytest.raises(DeadlineExceeded) as known:
                call()
            assert isinstance(known.value, ClusterTimeout)
            assert (known.value.code, known.value.since is None) == ("DEADLINE_EXCEEDED", False)


def test_a_cluster_without_a_majority_is_not_away(cluster: Cluster, connect: Connect) -> None:
    engine = connect(cluster.endpoints, timeout=3.0)
    engine.put(PutRequest(b"a", b"1"))
    for member in cluster.members[1:]:
        member.kill()
    try:
        for _ in range(2):
            with pytest.raises((ClusterError, DeadlineExceeded, OutcomeUnknown)) as failed:
                engine.put(PutRequest(b"a", b"2"))
            assert getattr(failed.value, "since", None) is None
        wait_until(lambda: not engine._outage._running, what="the answer of the member that is left")
        assert not engine._outage.is_known
        assert engine.range(RangeRequest(b"a", serializable=True), timeout=30).kvs
    finally:
        cluster.heal()
    assert engine.range(READ, timeout=30).kvs


def test_a_short_patience_proves_nothing(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    engine.range(READ)
    for _ in range(3):
        server.signal(signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded):
            engine.range(READ, timeout=0.02)
        server.signal(signal.SIGCONT)
        assert engine.range(READ).kvs == ()
        wait_until(lambda: not engine._outage._running, what="the answer")


def test_the_packages_own_threads_go_on_by_themselves(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    kv = KV(engine)
    lease = kv.lease(30)
    watch = kv.watch("a")
    held = kv.temporary_key("here", ttl=30)
    with kv.lock("L", ttl=30) as lock:
        server.kill()
        fail(engine)
        assert not held.update("new")
        server.start()
        wait_until(lambda: kv_works(kv), 30, what="the return")
        kv.put("a", "1")
        item = watch.next(timeout=30)
        assert item.kv.value == b"1"  # type: ignore[union-attr] # nothing is missing
        wait_until(lambda: kv.get("here").value == b"new", 30, what="the new value")  # type: ignore[union-attr]
        assert lock.held
    assert lease.alive
    kv.close()


def kv_works(kv: KV) -> bool:
    try:
        kv.get("a")
    except ClusterError:
        return False
    return True


def test_who_wants_to_wait_for_a_lock_waits_for_the_cluster(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint], timeout=60.0)
    kv = KV(engine)
    server.kill()
    fail(engine)
    lock, errors = kv.lock("L"), list[Exception]()

    def take() -> None:
        try:
            lock.acquire(60)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    server.start()
    thread.join(60)
    assert errors == []
    assert lock.held
    lock.release()
    kv.close()


def test_an_engine_is_closed_while_its_cluster_is_away(server: Server, connect: Connect) -> None:
    server.kill()
    engine = connect([server.endpoint])
    fail(engine)
    engine.close()
    wait_until(lambda: "etcdaero-outage" not in {each.name for each in threading.enumerate()}, what="the thread's end")
