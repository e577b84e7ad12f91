"""Members that come, vote, lead and go."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.exceptions import (
    AlreadyExists,
    Cancelled,
    EtcdAeroError,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
)
from django_etcdaero.keyvalue.administration import Member
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.waiting import wait_until

Connect = Callable[..., EtcdEngine]


class Newcomers:
    """Servers that join a running cluster, killed at the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._servers: list[Server] = []

    def make(self, name: str, cluster: Cluster) -> Server:
        """Return a server, not started, that knows the members of ``cluster``."""
        options = [*cluster.members[0].options, "--initial-cluster-state", "existing"]
        server = Server(name, self._directory / name, options=options)
        server.initial_cluster = ",".join(each.peer_address for each in [*cluster.members, server])
        self._servers.append(server)
        return server

    def kill(self) -> None:
        for server in self._servers:
            server.kill()


@pytest.fixture
def newcomers(tmp_path: Path) -> Iterator[Newcomers]:
    made = Newcomers(tmp_path)
    yield made
    made.kill()


def peer_url(server: Server) -> str:
    return f"http://127.0.0.1:{server.peer_port}"


def allowed(change: Callable[[], object]) -> object:
    """Make a change of the members, which a cluster refuses until it has been connected for five seconds."""
    results: list[object] = []

    def done() -> bool:
        try:
            results.append(change())
        except FailedPrecondition:
            return False
        return True

    wait_until(done, 30, "the cluster's consent")
    return results[0]


def test_members_are_listed(cluster: Cluster, connect: Connect) -> None:
    members = connect(cluster.endpoints).cluster.members()
    assert {(each.name, each.peer_urls, each.client_urls, each.is_learner) for each in members} == {
        (server.name, (peer_url(server),), (f"http://{server.endpoint}",), False) for server in cluster.members
    }
    assert [each.id for each in members] == sorted({each.id for each in members})


def test_a_learner_is_added_promoted_used_and_removed(cluster: Cluster, connect: Connect, newcomers: Newcomers) -> None:
    engine = connect(cluster.endpoints)
    engine.put(PutRequest(b"members/a", b"1"))
    server = newcomers.make("m3", cluster)
    learner = allowed(lambda: engine.cluster.add([peer_url(server)], learner=True))
    assert isinstance(learner, Member)
    assert (learner.name, learner.peer_urls, learner.is_learner) == ("", (peer_url(server),), True)
    try:
        with pytest.raises(FailedPrecondition, match="in sync with leader"):
            engine.cluster.promote(learner.id)
        server.start()
        alone = connect([server.endpoint])
        wait_until(lambda: (found := alone.maintenance.statuses()[0].status) and found.leader, 30, "the learner")
        assert alone.maintenance.status().is_learner
        (health,) = alone.maintenance.health()
        assert (health.healthy, health.serves_reads, health.is_learner, health.error) == (True, False, True, "")
        # The others serve what a learner does not.
        mixed = connect([server.endpoint, *cluster.endpoints])
        assert mixed.range(RangeRequest(b"members/a")).count == 1
        allowed(lambda: engine.cluster.promote(learner.id))
        wait_until(lambda: alone.maintenance.health()[0].serves_reads, 30, "the new member's first read")
        assert alone.range(RangeRequest(b"members/a")).kvs[0].value == b"1"
        with pytest.raises(FailedPrecondition, match="only promote a learner"):
            engine.cluster.promote(learner.id)
    finally:
        allowed(lambda: engine.cluster.remove(learner.id))
    assert learner.id not in {each.id for each in engine.cluster.members()}
    wait_until(lambda: server.process is not None and server.process.poll() is not None, what="the end of its server")


def test_a_member_that_does_not_exist_or_exists_already_is_told(cluster: Cluster, connect: Connect) -> None:
    members = connect(cluster.endpoints).cluster
    for missing in (
        lambda: members.remove(5),
        lambda: members.promote(5),
        lambda: members.update(5, ["http://10.0.0.1:2380"]),
    ):
        with pytest.raises(NotFound, match="member not found"):
            missing()
    with pytest.raises(AlreadyExists, match="Peer URLs already exist"):
        allowed(lambda: members.add([peer_url(cluster.members[0])]))
    for wrong in (
        lambda: members.add("http://10.0.0.1:2380"),
        lambda: members.add([]),
        lambda: members.add(["10.0.0.1"]),
        lambda: members.remove(-1),
        lambda: members.remove("m0"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidRequest):
            wrong()


def test_peer_urls_are_changed(cluster: Cluster, connect: Connect) -> None:
    members = connect(cluster.endpoints).cluster
    known = next(each for each in members.members() if each.name == "m0")
    more = (*known.peer_urls, "http://localhost:1")
    members.update(known.id, more)
    try:
        assert next(each for each in members.members() if each.id == known.id).peer_urls == tuple(sorted(more))
    finally:
        members.update(known.id, known.peer_urls)


def test_a_majority_that_is_missing_forbids_to_add_members(cluster: Cluster, connect: Connect) -> None:
    engine = connect(cluster.endpoints)
    dead = next(server for server in cluster.members if server is not cluster.leader())
    dead.kill()
    with pytest.raises(FailedPrecondition):
        engine.cluster.add(["http://127.0.0.1:1"])
    assert len(engine.cluster.members()) == 3


def test_leadership_is_handed_over(cluster: Cluster, connect: Connect) -> None:
    engine = connect(cluster.endpoints)
    for target in engine.cluster.members():
        engine.maintenance.move_leader(target.id)
        assert {each.status.leader for each in engine.maintenance.statuses() if each.status} == {target.id}
    with pytest.raises(NotFound, match="member 7 not found"):
        engine.maintenance.move_leader(7)


def test_a_leader_that_the_engine_was_not_told_of_is_found_through_the_members(
    cluster: Cluster, connect: Connect
) -> None:
    leader = cluster.leader()
    follower = next(server for server in cluster.members if server is not leader)
    engine = connect([follower.endpoint])
    target = next(each for each in engine.cluster.members() if each.name == follower.name)
    engine.maintenance.move_leader(target.id)
    assert engine.maintenance.status().is_leader
    assert [each.endpoint for each in engine.maintenance.endpoints()] == [follower.endpoint]


def test_leadership_is_handed_over_while_a_member_is_frozen(cluster: Cluster, connect: Connect) -> None:
    leader = cluster.leader()
    frozen, target = (server for server in cluster.members if server is not leader)
    engine = connect(cluster.endpoints)
    frozen.signal(signal.SIGSTOP)
    member = next(each for each in engine.cluster.members() if each.name == target.name)
    engine.maintenance.move_leader(member.id, timeout=10)
    assert engine.maintenance.status(target.endpoint).is_leader


def test_a_change_of_a_frozen_server_has_an_unknown_outcome(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    (only,) = engine.cluster.members()
    server.signal(signal.SIGSTOP)
    with pytest.raises(OutcomeUnknown):
        engine.cluster.update(only.id, only.peer_urls, timeout=0.5)
    with pytest.raises(EtcdAeroError):
        engine.cluster.members(timeout=0.5)
    server.signal(signal.SIGCONT)
    assert engine.cluster.members() == (only,)


def test_a_closed_engine_administers_nothing(server: Server, connect: Connect, tmp_path: Path) -> None:
    engine = connect([server.endpoint])
    auth, members, maintenance = engine.auth, engine.cluster, engine.maintenance
    engine.close()
    for call in (
        lambda: auth.user_list(),
        lambda: members.members(),
        lambda: maintenance.health(),
        lambda: maintenance.status(),
        lambda: maintenance.snapshot(tmp_path / "backup.db"),
    ):
        with pytest.raises(Cancelled):
            call()
    assert list(tmp_path.glob("*.db*")) == []
