"""Who refreshes when many want to: once, in turn, and by the next one when the first is gone."""

from __future__ import annotations

import signal

import pytest

from tests.processes.site import Site, alive
from tests.waiting import wait_until

REFRESHERS = 20
SERVICE = ("etcdaero_refresh", "--loop", "--json")
WAITING = ("etcdaero_refresh", "--wait", "60", "--json")


def queue_length(site: Site) -> int:
    with site.kv() as kv:
        return len(kv.lock(site.layout().lock).queue())


def test_twenty_processes_that_refresh_at_once_load_the_source_once(site: Site) -> None:
    site.shut_gate()
    refreshers = [site.start(*WAITING) for _ in range(REFRESHERS)]
    wait_until(lambda: queue_length(site) == REFRESHERS, 90, "all of them in the queue for the lock")
    site.open_gate()
    ended = [refresher.wait() for refresher in refreshers]
    assert [each.code for each in ended] == [0] * REFRESHERS, ended
    assert sorted(each.outcomes[0] for each in ended) == ["fresh"] * (REFRESHERS - 1) + ["refreshed"]
    assert {each.results[0]["version"] for each in ended} == {1}
    assert len(site.loads()) == 1
    late = site.refresh()
    assert (late["code"], late["outcome"], late["version"]) == (0, "fresh", 1)
    assert len(site.loads()) == 1


@pytest.mark.parametrize(
    ("first_one", "next_one"), [(WAITING, SERVICE), (SERVICE, WAITING)], ids=["wait, then loop", "loop, then wait"]
)
def test_when_the_refresher_is_killed_while_loading_the_next_in_the_queue_takes_over(
    site: Site, first_one: tuple[str, ...], next_one: tuple[str, ...]
) -> None:
    reader = site.agent()
    site.shut_gate()
    first = site.start(*first_one)
    site.wait_for_load()
    second = site.start(*next_one)
    wait_until(lambda: queue_length(site) == 2, 30, "the second in the queue")
    first.signal(signal.SIGKILL)
    site.wait_for_load(2)
    assert site.loads()[1]["pid"] == second.pid
    assert reader.version is None
    assert site.stored() == {}
    site.open_gate()
    reader.wait_for(1)
    assert reader.ask("read")["rows"] == {"a": 1, "b": {"price": 2}, "c": [3]}


@pytest.mark.parametrize(("command", "code"), [(WAITING, 143), (SERVICE, 0)], ids=["wait", "loop"])
def test_sigterm_while_loading_frees_the_lock_and_the_next_takes_over(
    site: Site, command: tuple[str, ...], code: int
) -> None:
    ttl = {"SHOP_LOCK_TTL": "300"}  # whoever waits for its end waits too long
    site.shut_gate()
    first = site.start(*command, **ttl)
    site.wait_for_load()
    second = site.start(*WAITING, **ttl)
    wait_until(lambda: queue_length(site) == 2, 30, "the second in the queue")
    first.signal(signal.SIGTERM)
    assert first.wait(10) == (code, "", "")  # a warning would be on stderr: the end that was asked for is no failure
    site.wait_for_load(2)
    site.open_gate()
    assert second.wait().outcomes == ["refreshed"]
    assert site.lock_is_free()


@pytest.mark.parametrize("mode", ["threads", "processes"])
@pytest.mark.parametrize(("command", "code"), [(WAITING, 143), (SERVICE, 0)], ids=["wait", "loop"])
def test_sigterm_ends_a_load_that_waits_for_its_own_threads_or_processes(
    site: Site, command: tuple[str, ...], code: int, mode: str
) -> None:
    ttl = {"SHOP_LOCK_TTL": "300"}
    site.mode(mode)
    first = site.start(*command, **ttl)
    wait_until(lambda: (site.directory / "working").exists(), 30, "the work")
    workers = first.descendants
    assert bool(workers) == (mode == "processes")
    first.signal(signal.SIGTERM)
    ended = first.wait()
    assert (ended.code, ended.output) == (code, ""), ended
    assert site.lock_is_free()
    wait_until(lambda: not any(map(alive, workers)), 10, "the end of the workers")
    site.mode("")
    assert site.refresh(**ttl)["outcome"] == "refreshed"


@pytest.mark.parametrize(("command", "code"), [(WAITING, 143), (SERVICE, 0)], ids=["wait", "loop"])
def test_sigterm_while_queueing_ends_at_once_and_leaves_no_place_in_the_queue(
    site: Site, command: tuple[str, ...], code: int
) -> None:
    site.shut_gate()
    first = site.start(*WAITING)
    site.wait_for_load()
    second = site.start(*command)
    wait_until(lambda: queue_length(site) == 2, 30, "the second in the queue")
    second.signal(signal.SIGTERM)
    assert second.wait(10) == (code, "", "")
    assert queue_length(site) == 1
    site.open_gate()
    assert first.wait().outcomes == ["refreshed"]


def test_sigterm_of_an_idle_service_leaves_no_warning(site: Site) -> None:
    service = site.start(*SERVICE)
    wait_until(lambda: "refreshed" in service.output, 30, "the first version")
    service.signal(signal.SIGTERM)
    ended = service.wait(10)
    assert (ended.code, ended.outcomes, ended.errors) == (0, ["refreshed"], "")


def test_who_was_frozen_in_the_queue_for_longer_than_its_lease_queues_again(site: Site) -> None:
    site.shut_gate()
    first = site.start(*WAITING)
    site.wait_for_load()
    second = site.start(*WAITING)
    wait_until(lambda: queue_length(site) == 2, 30, "the second in the queue")
    site.freeze(second)
    wait_until(lambda: queue_length(site) == 1, 30, "the end of its lease")
    second.signal(signal.SIGCONT)
    wait_until(lambda: queue_length(site) == 2, 30, "the second in the queue again")
    site.open_gate()
    assert first.wait().outcomes == ["refreshed"]
    ended = second.wait()
    assert (ended.code, ended.outcomes) == (0, ["fresh"]), ended
