"""Processes that fork while they refresh or read."""

from __future__ import annotations

import signal

import pytest

from tests.processes.site import Site
from tests.waiting import wait_until

SQUARES = {str(number): number * number for number in range(20)}
FORKS = 50
LOADS = 30


def test_load_may_use_a_pool_of_forked_processes(site: Site) -> None:
    site.mode("pool")
    ended = site.run("etcdaero_refresh", "--json")
    assert (ended.code, ended.outcomes) == (0, ["refreshed"]), ended
    assert ended.errors == ""
    assert site.lock_is_free()
    assert site.agent().ask("read")["rows"] == SQUARES


def test_load_may_use_a_pool_in_a_process_that_reads(site: Site) -> None:
    reader = site.agent()
    site.publish()
    reader.wait_for(1)
    site.mode("pool")
    assert reader.ask("refresh") == {"outcome": "refreshed", "version": 2, "error": None}
    assert reader.ask("refresh") == {"outcome": "unchanged", "version": 2, "error": None}
    reader.wait_for(2)
    assert reader.ask("read")["rows"] == SQUARES
    # The pool's processes read too, as all children of a reading process do, and ended without a word.
    wait_until(lambda: list(site.registered()) == [reader.pid], what="one registered reader")
    site.mode("")
    assert site.publish({"a": "later"}) == 3
    reader.wait_for(3)


@pytest.mark.etcd_too
@pytest.mark.timeout(90)
def test_a_process_with_a_reader_may_fork_at_any_moment(site: Site) -> None:
    parent = site.agent()
    site.publish()
    parent.wait_for(1)
    forked = parent.ask(f"fork {FORKS}")
    assert forked == {"codes": [0] * FORKS, "problems": [], "hanging": False}
    site.publish({"a": "later"})
    parent.wait_for(2)
    assert list(site.registered()) == [parent.pid]


def test_a_service_may_use_a_pool_in_each_of_its_loads(site: Site) -> None:
    reader = site.agent(SHOP_EVERY="")
    site.mode("pool")
    service = site.start("etcdaero_refresh", "--loop", "--json", SHOP_EVERY="")
    reader.wait_for(1)
    assert reader.ask("read")["rows"] == SQUARES
    reader.ask("request")
    wait_until(lambda: service.output.count("\n") == 2, 20, "the answer to the request")
    service.signal(signal.SIGTERM)
    ended = service.wait(10)
    assert (ended.code, ended.outcomes, ended.errors) == (0, ["refreshed", "unchanged"], "")


@pytest.mark.timeout(180)
def test_a_service_may_terminate_the_pool_of_each_of_its_loads(site: Site) -> None:
    site.mode("terminated pool")
    service = site.start("etcdaero_refresh", "--loop", "--json", SHOP_EVERY="0.05")
    wait_until(lambda: service.output.count("\n") >= LOADS, 120, "all loads")
    service.signal(signal.SIGTERM)
    ended = service.wait(20)
    assert (ended.code, ended.errors) == (0, "")
    assert set(ended.outcomes) == {"refreshed", "unchanged"}
