"""Loads that hang, and loads that let no other thread run, while another refresher stands by."""

from __future__ import annotations

import json
import signal

import pytest

from tests.processes.site import Site, alive
from tests.waiting import wait_until

SERVICE = ("etcdaero_refresh", "--loop", "--json")
ROWS = {"a": 1, "b": {"price": 2}, "c": [3]}


def test_when_a_load_hangs_the_stand_by_takes_over_and_the_load_is_told(site: Site) -> None:
    reader = site.agent()
    site.mode("hang")
    limited = {"SHOP_LOAD_TIMEOUT": "1", "SHOP_LOCK_TTL": "300"}
    first = site.start(*SERVICE, **limited)
    site.wait_for_load()
    second = site.start(*SERVICE, **limited)
    reader.wait_for(1, 60)
    assert reader.ask("read")["rows"] == ROWS
    wait_until(lambda: second.output, 20, "the word of the second")
    assert "refreshed" in second.output
    for line in first.output.splitlines():
        assert json.loads(line)["error"].startswith("LoadOverdue: the load has not ended within load_timeout (1 s)")
    (told,) = {load["pid"] for load in site.status()["datasets"][0]["overdue"]}
    assert told == first.pid
    first.signal(signal.SIGTERM)
    assert first.wait(20).code == 0
    assert site.status()["datasets"][0]["overdue"] == []
    assert second.running


@pytest.mark.files_only("the lock, which the stores differ in, has no part in it")
def test_a_load_that_hangs_ends_neither_the_service_nor_its_end(site: Site) -> None:
    site.mode("hang")
    service = site.start(*SERVICE, SHOP_LOAD_TIMEOUT="0.5")
    wait_until(lambda: len(site.status()["datasets"][0]["overdue"]) == 1, 30, "the word that it hangs")
    site.wait_for_load(2)  # it is tried again, in another thread
    assert alive(service.pid)
    service.signal(signal.SIGTERM)
    ended = service.wait(20)
    assert ended.code == 0
    assert site.lock_is_free()


def test_of_two_services_whose_loads_outlive_their_locks_one_publishes(site: Site) -> None:
    site.mode("hold")
    services = [site.start(*SERVICE) for _ in range(2)]
    wait_until(lambda: all(service.output for service in services), 60, "what both have to say")
    told = [json.loads(line) for service in services for line in service.output.splitlines()]
    assert sorted(each["outcome"] for each in told) == ["fenced", "refreshed"]
    assert site.agent().ask("read")["rows"] == ROWS
    for service in services:
        service.signal(signal.SIGTERM)
        assert service.wait(20).code == 0
    assert len(site.loads()) == 2


def test_the_command_leaves_a_load_that_hangs_behind_refreshes_the_next_dataset_and_exits_with_1(site: Site) -> None:
    site.mode("hang")
    ended = site.run("etcdaero_refresh", "--json", SHOP_STOCK="1", SHOP_LOAD_TIMEOUT="0.5", SHOP_LOCK_TTL="300")
    assert (ended.code, ended.outcomes) == (1, ["failed", "refreshed"]), ended
    assert [result["name"] for result in ended.results] == ["prices", "stock"]
    assert ended.results[0]["error"].startswith("LoadOverdue: the load has not ended within load_timeout (0.5 s)")
    assert site.lock_is_free()
    attempt = site.state().attempt
    assert attempt is not None
    assert attempt.error == ended.results[0]["error"]
