"""Endpoints that follow the members of the cluster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.keyvalue.administration import Member
from django_etcdaero.keyvalue.etcd import EtcdEngine, Tls
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, WatchRequest
from tests.keyvalue.etcd.servers import Cluster, Server, free_ports
from tests.keyvalue.etcd.test_administration_members import Newcomers, allowed, newcomers, peer_url  # noqa: F401
from tests.keyvalue.etcd.test_tls import Authority
from tests.keyvalue.recording import Recording, short
from tests.waiting import wait_until

Connect = Callable[..., EtcdEngine]


def endpoints(engine: EtcdEngine) -> set[str]:
    return {each.endpoint for each in engine.maintenance.endpoints()}


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "etcdaero-members"]


def test_an_engine_that_knows_one_member_learns_of_all(cluster: Cluster, connect: Connect) -> None:
    engine = connect([cluster.members[0].endpoint], sync_members=1)
    assert threads() == []
    engine.range(RangeRequest(b"sync/nothing"))
    wait_until(lambda: endpoints(engine) == set(cluster.endpoints), 20, "all members")
    cluster.members[0].kill()
    assert engine.range(RangeRequest(b"sync/nothing"), timeout=20).count == 0
    engine.close()
    assert threads() == []


def test_without_being_asked_an_engine_keeps_to_the_endpoints_it_was_given(cluster: Cluster, connect: Connect) -> None:
    engine = connect([cluster.members[0].endpoint])
    engine.range(RangeRequest(b"a"))
    assert threads() == []
    assert endpoints(engine) == {cluster.members[0].endpoint}


def test_a_member_that_joins_is_used_when_it_votes_and_dropped_when_it_was_removed(
    cluster: Cluster,
    connect: Connect,
    newcomers: Newcomers,  # noqa: F811
) -> None:
    engine = connect(cluster.endpoints, sync_members=1)
    seen = Recording()
    engine.watch(WatchRequest(b"sync/a"), seen)
    server = newcomers.make("m4", cluster)
    learner = allowed(lambda: engine.cluster.add([peer_url(server)], learner=True))
    assert isinstance(learner, Member)
    looks = 0

    def looked_twice() -> bool:
        nonlocal looks
        looks += server.endpoint not in endpoints(engine)
        return looks > 200  # two seconds of looking, and a look of the engine's each second

    try:
        server.start()
        alone = connect([server.endpoint])
        wait_until(lambda: (found := alone.maintenance.statuses()[0].status) and found.leader, 30, "the learner")
        wait_until(looked_twice, what="looks at a learner")
        allowed(lambda: engine.cluster.promote(learner.id))
        wait_until(lambda: server.endpoint in endpoints(engine), 20, "the new member")
    finally:
        allowed(lambda: engine.cluster.remove(learner.id))
    wait_until(lambda: endpoints(engine) == set(cluster.endpoints), 20, "the end of the removed member")
    engine.put(PutRequest(b"sync/a", b"1"))
    assert short(seen.wait(1, 20)) == ["+a=1"]


def test_a_member_that_is_away_is_kept(cluster: Cluster, connect: Connect) -> None:
    engine = connect(cluster.endpoints, sync_members=1)
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    hopeful = connect([*cluster.endpoints, nobody], sync_members=1)
    dead = next(server for server in cluster.members if server is not cluster.leader())
    frozen_before = connect(cluster.endpoints, sync_members=1)
    frozen_before.range(RangeRequest(b"a"))
    dead.kill()
    fresh = connect([server.endpoint for server in cluster.members if server is not dead], sync_members=1)
    for each in (engine, hopeful, fresh):
        each.range(RangeRequest(b"a"), timeout=20)
    dead.start()
    dead.wait_ready()
    wait_until(lambda: endpoints(fresh) == set(cluster.endpoints), 20, "the member's return")
    assert endpoints(engine) == set(cluster.endpoints)
    assert endpoints(frozen_before) == set(cluster.endpoints)
    assert endpoints(hopeful) == {*cluster.endpoints, nobody}


def test_a_stranger_at_an_endpoint_is_dropped_even_if_it_was_in_use(
    cluster: Cluster, server: Server, connect: Connect
) -> None:
    engine = connect([server.endpoint], sync_members=60)

    def begun_with_the_stranger() -> bool:
        nonlocal engine
        engine = connect([*cluster.endpoints, server.endpoint], sync_members=1)
        return engine.endpoint == server.endpoint

    wait_until(begun_with_the_stranger, what="an engine on the stranger")
    engine.range(RangeRequest(b"a"))
    wait_until(lambda: endpoints(engine) == set(cluster.endpoints), 20, "the end of the stranger")


def test_where_it_cannot_be_told_who_the_stranger_is_nothing_changes(
    cluster: Cluster, server: Server, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    both = [cluster.members[0].endpoint, server.endpoint]
    engine = connect(both, sync_members=1)
    engine.range(RangeRequest(b"a"))
    wait_until(lambda: "which cluster the endpoints belong to" in caplog.text, 20, "the complaint")
    assert endpoints(engine) == set(both)


def test_another_name_of_a_member_is_kept_beside_the_advertised_one(server: Server, connect: Connect) -> None:
    name = f"localhost:{server.client_port}"
    engine = connect([name], sync_members=1)
    engine.range(RangeRequest(b"a"))
    wait_until(lambda: endpoints(engine) == {name, server.endpoint}, 20, "both names")


def test_when_nobody_answers_nothing_changes(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint], sync_members=1)
    engine.put(PutRequest(b"a", b"1"))
    server.signal(signal.SIGSTOP)
    wait_until(lambda: not engine.maintenance.health(timeout=0.3)[0].reachable, what="the silence")
    assert endpoints(engine) == {server.endpoint}
    server.signal(signal.SIGCONT)
    wait_until(lambda: engine.range(RangeRequest(b"a")).count == 1, what="the server's return")


def test_encrypted_engines_take_encrypted_addresses_only(tmp_path: Path, connect: Connect) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    plain = free_ports(1)[0]
    options = ["--cert-file", str(certificate), "--key-file", str(key)]
    server = Server("both", tmp_path / "both", options=options, tls=True)
    urls = f"https://{server.endpoint},http://127.0.0.1:{plain}"
    server.options += ["--listen-client-urls", urls, "--advertise-client-urls", urls]
    with server.running("--cacert", str(authority.certificate)):
        encrypted = connect([f"localhost:{server.client_port}"], tls=Tls(ca=str(authority.certificate)), sync_members=1)
        unencrypted = connect([f"localhost:{plain}"], sync_members=1)
        for engine, own in ((encrypted, server.client_port), (unencrypted, plain)):
            engine.range(RangeRequest(b"a"))
            wait_until(lambda e=engine, o=own: endpoints(e) == {f"localhost:{o}", f"127.0.0.1:{o}"}, 20)  # type: ignore[misc]


@pytest.mark.parametrize("seconds", [0, -1, 0.5, float("nan")])
def test_looking_too_often_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="sync_members"):
        EtcdEngine(["h:1"], sync_members=seconds)
