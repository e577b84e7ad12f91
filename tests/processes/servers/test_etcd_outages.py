"""A cluster of three members: one freezes, or the leader, the majority, or all of them are away for a while."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.datasets.state.announcement import Announcement
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.processes.servers.site import ServerSite
from tests.processes.site import Agent, Ended, Process, Site, wait_for_state
from tests.waiting import wait_until

FIRST = {"a": 1, "b": {"price": 2}, "c": [3]}
NEW = {"a": "new"}
DEFAULT_LOCK_TTL = {"SHOP_LOCK_TTL": "10"}
"""Two seconds may run out before another member is found; then a refresh may be fenced off, and rightly so."""
ALERT = {"SHOP_POLL_INTERVAL": "0.5", "SHOP_CALL_TIMEOUT": "1"}


@pytest.fixture
def site(cluster: Cluster, records_url: str, tmp_path: Path) -> Iterator[ServerSite]:
    deployed = ServerSite(tmp_path / "site", kv=f"etcd://{','.join(cluster.endpoints)}", records=records_url)
    yield deployed
    deployed.close()


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
    refresher = site.start("etcdaero_refresh", "--force", "--json", **DEFAULT_LOCK_TTL)
    site.wait_for_load(2)
    return refresher


def about_to_announce(site: Site) -> Process:
    refresher = site.start("etcdaero_refresh", "--force", "--json", SHOP_STOP="announce", **DEFAULT_LOCK_TTL)
    wait_until(lambda: refresher.stopped, 30, "a refresher that stopped itself")
    return refresher


def go_on(site: Site, refresher: Process) -> Ended:
    """Let a process go on from where one of the two above left it, to its end."""
    if refresher.stopped:
        refresher.signal(signal.SIGCONT)
    else:
        site.open_gate()
    return refresher.wait(40)


Moment = Callable[[Site], Process]
each_moment = pytest.mark.parametrize("moment", [loading, about_to_announce], ids=["loading", "announcing"])
each_role = pytest.mark.parametrize("role", ["leader", "follower"])


def used_by(site: ServerSite, cluster: Cluster, pid: int) -> Server:
    """Return the one member that a process is connected to."""
    ports = {int(opened.rpartition(":")[2], 16) for opened in site.stores_open_in(pid)}
    [member] = [member for member in cluster.members if member.client_port in ports]
    return member


def give_role(cluster: Cluster, member: Server, role: str) -> None:
    """Let ``member`` lead, or another one."""
    leader = cluster.leader()
    if (leader is member) == (role == "leader"):
        return
    new = member if role == "leader" else next(other for other in cluster.members if other is not member)
    new_id = new.etcdctl("endpoint", "status").stdout.split(", ")[1]
    leader.etcdctl("move-leader", new_id)
    wait_until(lambda: cluster.leader() is new, 30, f"{new.name} to lead")


def check_follow_up(site: ServerSite, reader: Agent, versions: list[int]) -> None:
    """All is as it should be after the last of ``versions`` was announced with the rows ``NEW``."""
    reader.wait_for(versions[-1], 40)
    assert reader.ask("read")["rows"] == NEW
    wait_for_state(reader, "VALID")
    assert [each.version for each in history(site)] == versions
    # A lock whose holder could not give it back is free when its lease has run out, which a new leader starts anew.
    wait_until(site.lock_is_free, 30, "a free lock")


@each_role
@each_moment
def test_a_refresh_gets_through_when_its_member_freezes(
    site: ServerSite, cluster: Cluster, moment: Moment, role: str
) -> None:
    reader = site.agent()
    site.publish()
    reader.wait_for(1)
    site.rows(NEW)
    refresher = moment(site)
    member = used_by(site, cluster, refresher.pid)
    give_role(cluster, member, role)
    member.signal(signal.SIGSTOP)
    ended = go_on(site, refresher)
    assert (ended.code, ended.outcomes) == (0, ["refreshed"]), ended
    assert "Traceback" not in ended.errors
    check_follow_up(site, reader, [1, 2])


@each_role
def test_a_refresh_begins_on_a_frozen_member(site: ServerSite, cluster: Cluster, role: str) -> None:
    refresher = site.agent(**DEFAULT_LOCK_TTL)
    site.publish()
    refresher.wait_for(1)
    site.rows(NEW)
    member = used_by(site, cluster, refresher.pid)
    give_role(cluster, member, role)
    member.signal(signal.SIGSTOP)
    assert refresher.ask("refresh") == {"outcome": "refreshed", "version": 2, "error": None}
    check_follow_up(site, refresher, [1, 2])


@each_role
def test_a_process_starts_and_refreshes_while_a_member_is_frozen(site: ServerSite, cluster: Cluster, role: str) -> None:
    reader = site.agent()
    site.publish()
    reader.wait_for(1)
    member = cluster.members[0]
    give_role(cluster, member, role)
    member.signal(signal.SIGSTOP)
    site.rows(NEW)
    ended = site.start("etcdaero_refresh", "--force", "--json", **DEFAULT_LOCK_TTL).wait(40)
    assert (ended.code, ended.outcomes) == (0, ["refreshed"]), ended
    check_follow_up(site, reader, [1, 2])


@each_moment
def test_a_refresh_gets_through_or_says_why_not_when_the_leader_is_killed(
    site: ServerSite, cluster: Cluster, moment: Moment
) -> None:
    reader = site.agent()
    site.publish()
    reader.wait_for(1)
    site.rows(NEW)
    refresher = moment(site)
    give_role(cluster, used_by(site, cluster, refresher.pid), "leader")
    cluster.leader().kill()
    ended = go_on(site, refresher)
    assert "Traceback" not in ended.errors
    published = history(site)
    if ended.outcomes == ["refreshed"]:
        assert ended.code == 0
        assert [each.version for each in published] == [1, 2]
    else:
        assert (ended.code, ended.outcomes) == (1, ["failed"]), ended
        assert ended.results[0]["error"]
        assert [each.version for each in published] == [1], "what has failed was not announced"
        healed = site.start("etcdaero_refresh", "--force", "--json", "--wait", "30").wait()
        assert (healed.code, healed.outcomes) == (0, ["refreshed"]), healed
    check_follow_up(site, reader, [1, 2])


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
