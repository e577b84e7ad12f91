"""A cluster of three members that loses its leader, its majority, or all of them for a while."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_etcdaero.datasets.announcement import Announcement
from tests.etcd.servers import Cluster
from tests.processes.site import LOCK_TTL, Agent, Process, Site
from tests.waiting import wait_until

from .site import ServerSite

FIRST = {"a": 1, "b": {"price": 2}, "c": [3]}
NEW = {"a": "new"}
ALERT = {"SHOP_POLL_INTERVAL": "0.5", "SHOP_CALL_TIMEOUT": "1"}


@pytest.fixture(scope="module")
def three_members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
def cluster(three_members: Cluster) -> Cluster:
    """Three members, all in good health."""
    three_members.heal()
    return three_members


@pytest.fixture
def site(cluster: Cluster, records_url: str, tmp_path: Path) -> Iterator[ServerSite]:
    deployed = ServerSite(tmp_path / "site", kv=f"etcd://{','.join(cluster.endpoints)}", records=records_url)
    yield deployed
    deployed.close()


def wait_for_state(agent: Agent, state: str) -> None:
    wait_until(lambda: agent.ask("status")["state"] == state, 30, f"{state} in process {agent.pid}")


def lose_majority(cluster: Cluster) -> None:
    """Kill the leader and one more."""
    leader = cluster.leader()
    follower = next(member for member in cluster.members if member is not leader)
    leader.kill()
    follower.kill()


def history(site: Site) -> list[Announcement]:
    with site.kv() as kv:
        return [Announcement.decode(item.value) for item in kv.range(site.layout().history(), prefix=True).kvs]


def loading(site: Site) -> Process:
    site.shut_gate()
    refresher = site.start("etcdaero_refresh", "--force", "--json")
    site.wait_for_load(2)
    return refresher


def about_to_announce(site: Site) -> Process:
    refresher = site.start("etcdaero_refresh", "--force", "--json", SHOP_STOP="announce")
    wait_until(lambda: refresher.stopped, 30, "a refresher that stopped itself")
    return refresher


@pytest.mark.parametrize("moment", [loading, about_to_announce], ids=["loading", "announcing"])
def test_a_refresh_gets_through_or_says_why_not_when_the_leader_is_killed(
    site: ServerSite, cluster: Cluster, moment: object
) -> None:
    reader = site.agent()
    site.publish()
    reader.wait_for(1)
    site.rows(NEW)
    refresher: Process = moment(site)  # type: ignore[operator]
    cluster.leader().kill()
    if moment is loading:
        site.open_gate()
    else:
        refresher.signal(signal.SIGCONT)
    ended = refresher.wait()
    assert ended.outcomes in (["refreshed"], ["failed"], ["fenced"]), ended
    assert ended.code == (ended.outcomes != ["refreshed"])
    assert "Traceback" not in ended.errors
    if ended.outcomes != ["refreshed"]:
        assert ended.results[0]["error"]
        healed = site.start("etcdaero_refresh", "--force", "--json", "--wait", "30").wait()
        assert healed.outcomes in (["refreshed"], ["unchanged"]), healed
    wait_until(lambda: reader.ask("read")["rows"] == NEW, 20, "the new rows")
    wait_for_state(reader, "VALID")
    published = history(site)
    assert len({each.load_started for each in published}) == len(published), "a version for each load at most"
    # A lock whose holder could not give it back is free when its lease has run out, which a new leader starts anew.
    wait_until(site.lock_is_free, 3 * LOCK_TTL, "a free lock")


def test_readers_serve_without_a_majority_and_follow_the_copy_of_the_announcement(
    site: ServerSite, cluster: Cluster
) -> None:
    reader, sleeper = site.agent(**ALERT), site.agent(**ALERT)
    site.publish()
    for agent in (reader, sleeper):
        agent.wait_for(1)
    sleeper.process.send_signal(signal.SIGSTOP)
    assert site.publish({"a": 2}) == 2
    reader.wait_for(2)
    lose_majority(cluster)
    sleeper.process.send_signal(signal.SIGCONT)
    sleeper.wait_for(2)  # it has never heard of it from etcd
    newcomer = site.agent(**ALERT)
    for agent in (reader, sleeper, newcomer):
        assert agent.ask("read") == {"version": 2, "rows": {"a": 2}}
        wait_for_state(agent, "INTERRUPTED")

    refused = site.start("etcdaero_refresh", "--force", "--json", **ALERT).wait(30)
    assert (refused.code, refused.outcomes) == (1, ["failed"]), refused
    assert refused.results[0]["error"].startswith(("ClusterError: ", "DeadlineExceeded: ", "OutcomeUnknown: "))
    status = site.start("etcdaero_status", **ALERT).wait(30)
    assert status.code == 1
    assert "Traceback" not in refused.errors + status.errors

    cluster.heal()
    for agent in (reader, sleeper, newcomer):
        wait_for_state(agent, "VALID")
    assert site.publish(NEW) == 3
    for agent in (reader, sleeper, newcomer):
        agent.wait_for(3)
    pids = {reader.pid, sleeper.pid, newcomer.pid}
    wait_until(lambda: site.registered() == dict.fromkeys(pids, 3), 20, "three registered readers")


def test_readers_and_a_service_go_on_after_all_members_were_restarted(site: ServerSite, cluster: Cluster) -> None:
    reader = site.agent(SHOP_EVERY="")  # by the watch alone: the interval of looks is long
    service = site.start("etcdaero_refresh", "--loop", "--json", SHOP_EVERY="")
    reader.wait_for(1)
    cluster.kill()
    assert reader.ask("read")["rows"] == FIRST
    cluster.heal()
    site.rows(NEW)

    def asked() -> bool:
        return "raised" not in (reader.ask("request") or {})

    wait_until(asked, 30, "a request")
    reader.wait_for(2)
    assert reader.ask("read")["rows"] == NEW
    wait_for_state(reader, "VALID")
    assert service.running
    os.kill(service.pid, signal.SIGTERM)
    assert service.wait(10).code == 0
