"""Health, status, alarms, checksums and defragmentation."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.exceptions import (
    ClusterError,
    Compacted,
    DeadlineExceeded,
    EtcdAeroError,
    FutureRevision,
    InvalidRequest,
    OutcomeUnknown,
    StoreFull,
)
from django_etcdaero.keyvalue.administration import Alarm, AlarmType
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import DeleteRequest, PutRequest, RangeRequest
from tests.keyvalue.etcd.servers import Cluster, Server, free_ports
from tests.waiting import wait_until

At = Callable[[str], bytes]
Connect = Callable[..., EtcdEngine]


# --- health ----------------------------------------------------------------------------------------------------------


def test_all_members_of_a_sound_cluster_are_healthy(cluster: Cluster, connect: Connect) -> None:
    found = connect(cluster.endpoints).maintenance.health()
    assert [each.endpoint for each in found] == sorted(cluster.endpoints)
    for each in found:
        assert (each.healthy, each.reachable, each.has_leader, each.serves_reads) == (True, True, True, True)
        assert (each.is_learner, each.error) == (False, "")
        assert each.latency is not None
        assert 0 < each.latency < 5


def test_a_frozen_member_is_found_out_and_the_others_are_not_held_up(cluster: Cluster, connect: Connect) -> None:
    frozen = next(server for server in cluster.members if server is not cluster.leader())
    engine = connect(cluster.endpoints)
    engine.maintenance.health()
    frozen.signal(signal.SIGSTOP)
    found = {each.endpoint: each for each in engine.maintenance.health(timeout=1)}
    ill = found.pop(frozen.endpoint)
    assert (ill.healthy, ill.reachable, ill.latency) == (False, False, None)
    assert "no answer in time" in ill.error
    assert all(each.healthy for each in found.values())
    assert all(each.latency is not None and each.latency < 1 for each in found.values())


def test_a_member_that_is_away_is_found_out_with_the_reason(cluster: Cluster, connect: Connect) -> None:
    dead = next(server for server in cluster.members if server is not cluster.leader())
    engine = connect(cluster.endpoints)
    dead.kill()
    found = {each.endpoint: each for each in engine.maintenance.health()}
    ill = found.pop(dead.endpoint)
    assert (ill.healthy, ill.reachable, ill.has_leader) == (False, False, False)
    assert "UNAVAILABLE" in ill.error
    assert all(each.healthy for each in found.values())
    statuses = {each.endpoint: each for each in engine.maintenance.statuses()}
    assert statuses[dead.endpoint].status is None
    assert "UNAVAILABLE" in statuses[dead.endpoint].error
    assert all(each.status and not each.error for each in statuses.values() if each.endpoint != dead.endpoint)


def test_a_member_without_a_majority_is_reachable_and_has_no_leader(cluster: Cluster, connect: Connect) -> None:
    left, *dead = cluster.members
    engine = connect([left.endpoint])
    for server in dead:
        server.kill()

    def leaderless() -> bool:
        (found,) = engine.maintenance.health(timeout=2)
        leads = found.has_leader or found.serves_reads or found.healthy
        return found.reachable and not leads and "no leader" in found.error

    wait_until(leaderless, 20, "the end of the leader")


# --- status ----------------------------------------------------------------------------------------------------------


def test_each_member_tells_its_own_status(cluster: Cluster, connect: Connect, at: At) -> None:
    engine = connect(cluster.endpoints)
    revision = engine.put(PutRequest(at("a"), b"1")).revision
    names = {each.client_urls[0]: each.id for each in engine.cluster.members()}
    for server in cluster.members:
        status = engine.maintenance.status(server.endpoint)
        assert (status.endpoint, status.member_id) == (server.endpoint, names[f"http://{server.endpoint}"])
        assert status.version.startswith("3.")
        assert status.db_size >= status.db_size_in_use > 0
        assert (status.errors, status.is_learner) == ((), False)
        assert status.raft_index >= status.raft_applied_index > 0
        assert status.raft_term > 0
        wait_until(lambda one=server: engine.maintenance.status(one.endpoint).revision >= revision, 30)  # type: ignore[misc]
    leaders = {each.endpoint for each in engine.maintenance.statuses() if each.status and each.status.is_leader}
    assert leaders == {cluster.leader().endpoint}


def test_the_status_is_another_members_if_the_one_in_use_does_not_answer(cluster: Cluster, connect: Connect) -> None:
    engine = connect(cluster.endpoints)
    used = next(server for server in cluster.members if server.endpoint == engine.endpoint)
    used.signal(signal.SIGSTOP)
    assert engine.maintenance.status(timeout=4).endpoint != used.endpoint
    with pytest.raises(DeadlineExceeded):
        engine.maintenance.status(used.endpoint, timeout=0.5)


def test_a_member_that_the_engine_was_not_told_of_can_be_asked(cluster: Cluster, connect: Connect) -> None:
    told, *others = cluster.members
    engine = connect([told.endpoint])
    for member in engine.cluster.members():
        assert engine.maintenance.status(member.client_urls[0]).member_id == member.id
    engine.maintenance.defragment(others[0].endpoint)
    assert [each.endpoint for each in engine.maintenance.endpoints()] == [told.endpoint]


@pytest.mark.parametrize("endpoint", ["h", "h:0", "", "http://h", "a b:1"])
def test_what_is_no_endpoint_is_refused(connect: Connect, endpoint: str) -> None:
    engine = connect(["127.0.0.1:1"])
    with pytest.raises(InvalidRequest, match="endpoint"):
        engine.maintenance.status(endpoint)


def test_one_member_that_does_not_answer_is_an_error_in_time(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(ClusterError) as caught:
        engine.maintenance.status(nobody, timeout=0.5)
    assert set(caught.value.errors) == {nobody}
    impatient = connect([server.endpoint], timeout=0.5)
    with pytest.raises(ClusterError):  # and that long before its own time is over
        impatient.maintenance.defragment(nobody, timeout=1000)
    server.signal(signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        engine.maintenance.status(timeout=0.5)
    with pytest.raises((DeadlineExceeded, OutcomeUnknown)):
        engine.maintenance.defragment(server.endpoint, timeout=0.5)
    with pytest.raises(EtcdAeroError):
        engine.maintenance.move_leader(1, timeout=0.5)
    server.signal(signal.SIGCONT)


def test_the_endpoints_tell_how_the_engine_fares_with_them(server: Server, connect: Connect) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    engine = connect([server.endpoint, nobody])
    assert not any(each.in_use or each.failures for each in engine.maintenance.endpoints())

    def turned_away() -> bool:
        """Find an engine that began with the endpoint at which nobody is."""
        nonlocal engine
        engine = connect([server.endpoint, nobody])
        engine.range(RangeRequest(b"a"))
        return any(each.failures for each in engine.maintenance.endpoints())

    wait_until(turned_away, what="an engine that met a failure")
    found = {each.endpoint: each for each in engine.maintenance.endpoints()}
    assert (found[server.endpoint].in_use, found[server.endpoint].failures) == (True, 0)
    assert (found[nobody].in_use, found[nobody].failures) == (False, 1)
    assert 0 < found[nobody].retry_in < 1


# --- checksums, defragmentation, alarms ------------------------------------------------------------------------------


def test_members_with_the_same_history_have_the_same_checksum(cluster: Cluster, connect: Connect, at: At) -> None:
    engine = connect(cluster.endpoints)
    for number in range(50):
        revision = engine.put(PutRequest(at("a"), b"%d" % number)).revision
    engine.compact(revision - 10)

    def hashes(upto: int) -> set[tuple[int, int]]:
        found = [engine.maintenance.hash_kv(each, revision=upto) for each in cluster.endpoints]
        assert [each.endpoint for each in found] == cluster.endpoints
        assert len({each.member_id for each in found}) == 3
        return {(each.hash, each.compact_revision) for each in found}

    wait_until(lambda: len(hashes(revision)) == 1, 30, what="members that agree")
    assert {compacted for _, compacted in hashes(revision)} == {revision - 10}
    assert hashes(revision - 5) != hashes(revision)
    with pytest.raises(Compacted):
        hashes(revision - 11)
    with pytest.raises(FutureRevision):
        hashes(revision + 1000)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Server]:
    """A server with room for 4 MiB."""
    with Server("small", tmp_path / "small", options=["--quota-backend-bytes", str(4 << 20)]).running() as server:
        yield server


def test_a_full_store_is_writable_again_after_compaction_defragmentation_and_disarming(
    small: Server, connect: Connect
) -> None:
    engine = connect([small.endpoint])
    maintenance = engine.maintenance
    assert maintenance.alarms() == ()

    def fill() -> None:
        for number in range(100):
            engine.put(PutRequest(b"a", bytes([number]) * (1 << 20)))

    with pytest.raises(StoreFull):
        fill()
    (member,) = engine.cluster.members()
    assert maintenance.alarms() == (Alarm(member.id, AlarmType.NOSPACE),)
    assert any("NOSPACE" in text for text in maintenance.status().errors)
    (health,) = maintenance.health()
    assert health.healthy
    assert "NOSPACE" in health.error

    engine.compact(engine.range(RangeRequest(b"a")).revision, physical=True)
    engine.delete_range(DeleteRequest(b"a"))
    engine.compact(engine.range(RangeRequest(b"a")).revision, physical=True)
    before = maintenance.status()
    maintenance.defragment(small.endpoint)
    after = maintenance.status()
    assert after.db_size < before.db_size / 2
    assert after.db_size_in_use <= after.db_size

    assert maintenance.disarm(Alarm(member.id, AlarmType.CORRUPT)) == ()
    assert maintenance.disarm() == (Alarm(member.id, AlarmType.NOSPACE),)
    assert maintenance.alarms() == ()
    engine.put(PutRequest(b"a", b"1"))


def test_an_alarm_can_be_raised_and_stops_writes_until_it_is_taken_back(server: Server, connect: Connect) -> None:
    maintenance = connect([server.endpoint]).maintenance
    engine = connect([server.endpoint])
    alarm = Alarm(maintenance.status().member_id, AlarmType.NOSPACE)
    for _ in range(2):
        maintenance.arm(alarm)
        assert maintenance.alarms() == (alarm,)
    with pytest.raises(StoreFull) as full:
        engine.put(PutRequest(b"a", b"1"))
    assert full.value.code == "RESOURCE_EXHAUSTED"
    assert asyncio.run(maintenance.adisarm(alarm)) == (alarm,)
    engine.put(PutRequest(b"a", b"1"))
    asyncio.run(maintenance.aarm(alarm))
    assert maintenance.disarm() == (alarm,)


@pytest.mark.parametrize("act", ["arm", "disarm"])
@pytest.mark.parametrize("alarm", ["x", 1, Alarm(-1, AlarmType.NOSPACE), Alarm(1, 7), Alarm(True, AlarmType.CORRUPT)])  # type: ignore[arg-type]
def test_what_is_no_alarm_is_neither_raised_nor_taken_back(engine: EtcdEngine, act: str, alarm: Any) -> None:
    with pytest.raises(InvalidRequest, match="alarm"):
        getattr(engine.maintenance, act)(alarm)
