"""Members that are killed, frozen, or without a majority."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, EtcdAeroError, LeaseNotFound, OutcomeUnknown
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import DeleteRequest, PutRequest, RangeRequest, WatchRequest
from tests.keyvalue.etcd.servers import Cluster, Server, free_ports
from tests.keyvalue.recording import Recording, short
from tests.waiting import wait_until

At = Callable[[str], bytes]
Connect = Callable[..., EtcdEngine]


def put_until_known(engine: Engine, key: bytes, value: bytes) -> None:
    """Write, as one who may write twice."""

    def done() -> bool:
        try:
            engine.put(PutRequest(key, value))
        except (OutcomeUnknown, ClusterError, DeadlineExceeded):
            return False
        return True

    wait_until(done, 30, "a write")


def connect_to(member: Server, cluster: Cluster, connect: Connect) -> EtcdEngine:
    """Return an engine that knows all members and uses ``member``: each engine begins with a random one."""
    made: list[EtcdEngine] = []

    def found() -> bool:
        made.append(connect(cluster.endpoints))
        return made[-1].endpoint == member.endpoint

    wait_until(found, what="an engine on the member")
    return made[-1]


def others(cluster: Cluster, member: Server) -> list[Server]:
    return [each for each in cluster.members if each is not member]


@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_reads_writes_leases_and_watches_go_on_when_a_member_is_killed(
    cluster: Cluster, connect: Connect, at: At, victim: str
) -> None:
    leader = cluster.leader()
    member = leader if victim == "leader" else others(cluster, leader)[0]
    engines = [connect_to(member, cluster, connect), *(connect(cluster.endpoints) for _ in range(2))]
    lease = engines[0].lease_grant(30).id
    sinks = [Recording() for _ in engines]
    for engine, sink in zip(engines, sinks, strict=True):
        engine.watch(WatchRequest(at("a")), sink)
    engines[0].put(PutRequest(at("a"), b"1", lease=lease))
    member.kill()
    for engine in engines:
        assert engine.range(RangeRequest(at("a")), timeout=20).kvs[0].value == b"1"
    assert engines[0].lease_keep_alive(lease, timeout=20) == 30
    put_until_known(engines[0], at("a"), b"2")
    for sink in sinks:
        sink.wait(2, 30)
        assert short(sink.events)[0] == "+a=1"
        assert set(short(sink.events)[1:]) == {"+a=2"}


def test_a_frozen_member_costs_a_read_two_seconds_and_further_reads_nothing(
    cluster: Cluster, connect: Connect, at: At
) -> None:
    frozen = others(cluster, cluster.leader())[0]
    engine = connect_to(frozen, cluster, connect)
    engine.put(PutRequest(at("a"), b"1"))
    frozen.signal(signal.SIGSTOP)
    assert engine.range(RangeRequest(at("a")), timeout=5).kvs[0].value == b"1"
    engine.put(PutRequest(at("a"), b"2"), timeout=1)
    assert engine.range(RangeRequest(at("a")), timeout=1).kvs[0].value == b"2"


def test_pings_find_a_frozen_member_under_a_quiet_watch(cluster: Cluster, connect: Connect, at: At) -> None:
    frozen = others(cluster, cluster.leader())[0]
    writer = connect([member.endpoint for member in others(cluster, frozen)])
    watching = connect_to(frozen, cluster, connect)
    seen = Recording()
    watching.watch(WatchRequest(at("a")), seen)
    writer.put(PutRequest(at("a"), b"1"))
    seen.wait(1)
    frozen.signal(signal.SIGSTOP)
    writer.put(PutRequest(at("a"), b"2"))
    assert short(seen.wait(2, 25)) == ["+a=1", "+a=2"]


def test_a_call_to_a_frozen_server_ends_in_time(server: Server, connect: Connect, at: At) -> None:
    engine = connect([server.endpoint])
    engine.put(PutRequest(at("a"), b"1"))
    server.signal(signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        engine.range(RangeRequest(at("a")), timeout=0.5)
    with pytest.raises(OutcomeUnknown):
        engine.put(PutRequest(at("a"), b"2"), timeout=0.5)
    with pytest.raises((DeadlineExceeded, ClusterError)):
        engine.watch(WatchRequest(at("a")), Recording(), timeout=0.5)
    server.signal(signal.SIGCONT)
    wait_until(lambda: engine.range(RangeRequest(at("a"))).kvs[0].value in (b"1", b"2"), what="the server's return")


def test_without_a_majority_calls_fail_and_with_it_they_work_again(cluster: Cluster, connect: Connect, at: At) -> None:
    engine = connect(cluster.endpoints)
    seen = Recording()
    engine.watch(WatchRequest(at("a")), seen)
    engine.put(PutRequest(at("a"), b"1"))
    leader = cluster.leader()
    left = others(cluster, leader)[0]
    for member in others(cluster, left):
        member.kill()
    with pytest.raises((ClusterError, DeadlineExceeded)):
        engine.range(RangeRequest(at("a")), timeout=3)
    with pytest.raises((ClusterError, DeadlineExceeded, OutcomeUnknown)):
        engine.put(PutRequest(at("a"), b"2"), timeout=3)

    def stale_read() -> bool:
        try:
            return engine.range(RangeRequest(at("a"), serializable=True), timeout=3).kvs[0].value == b"1"
        except EtcdAeroError:
            return False

    wait_until(stale_read, what="a read that may be stale")
    cluster.heal()
    put_until_known(engine, at("a"), b"3")
    wait_until(lambda: "+a=3" in short(seen.events), 30, "the watch going on")
    revisions = [event.kv.mod_revision for event in seen.events]
    assert revisions == sorted(set(revisions))


def test_nobody_at_home_is_a_cluster_error_that_names_each_endpoint(connect: Connect) -> None:
    names = [f"127.0.0.1:{port}" for port in free_ports(2)]
    engine = connect(names)
    for call in (
        lambda: engine.range(RangeRequest(b"a"), timeout=0.5),
        lambda: engine.put(PutRequest(b"a"), timeout=0.5),
        lambda: engine.delete_range(DeleteRequest(b"a"), timeout=0.5),
    ):
        with pytest.raises(ClusterError) as caught:
            call()
        assert set(caught.value.errors) == set(names)
    with pytest.raises((ClusterError, DeadlineExceeded)):
        engine.watch(WatchRequest(b"a"), Recording(), timeout=0.5)


def test_a_write_waits_for_a_server_that_is_about_to_come(server: Server, connect: Connect, at: At) -> None:
    server.kill()
    engine = connect([server.endpoint])
    server.start()
    assert engine.put(PutRequest(at("a"), b"1"), timeout=20).revision > 1


def test_leases_are_kept_over_a_restart_of_all_members(cluster: Cluster, connect: Connect, at: At) -> None:
    engine = connect(cluster.endpoints)
    lease = engine.lease_grant(60).id
    engine.put(PutRequest(at("a"), b"1", lease=lease), timeout=20)
    cluster.kill()
    cluster.heal()
    assert engine.lease_keep_alive(lease, timeout=20) == 60
    assert engine.lease_time_to_live(lease, keys=True, timeout=20).keys == (at("a"),)
    engine.lease_revoke(lease, timeout=20)
    with pytest.raises(LeaseNotFound):
        engine.lease_revoke(lease, timeout=20)
