"""A refresher that slept past its lease: what it began before that does no harm when it wakes."""

from __future__ import annotations

import signal

import pytest

from tests.processes.site import Process, Site
from tests.waiting import wait_until

OLD = {"a": "of the sleeper"}
NEW = {"a": "of the other"}


def sleeper_in_load(site: Site) -> Process:
    """Start a refresher and stop it inside ``load()``, with the old rows in its hands soon."""
    site.rows(OLD)
    site.shut_gate()
    sleeper = site.start("etcdaero_refresh", "--force", "--json")
    site.wait_for_load(len(site.loads()) + 1)
    site.freeze(sleeper)
    site.open_gate()
    return sleeper


def sleeper_before_announcing(site: Site) -> Process:
    """Start a refresher that stops itself when all its blocks are written, right before it announces them."""
    site.rows(OLD)
    sleeper = site.start("etcdaero_refresh", "--force", "--json", SHOP_STOP="announce")
    wait_until(lambda: sleeper.stopped, 30, "a refresher that stopped itself")
    return sleeper


def wait_for_free_lock(site: Site) -> None:
    wait_until(lambda: site.lock_is_free(), what="the end of the sleeper's lease")


@pytest.mark.files_only("the same as the one that slept right before announcing, with less written before it slept")
def test_a_refresher_that_slept_in_its_load_while_another_published_is_fenced(site: Site) -> None:
    reader = site.agent()
    site.publish()
    reader.wait_for(1)
    sleeper = sleeper_in_load(site)
    wait_for_free_lock(site)
    assert site.publish(NEW) == 2
    reader.wait_for(2)
    site.rows(OLD)
    check_that_it_is_fenced(site, sleeper)
    assert reader.ask("read") == {"version": 2, "rows": NEW}


def test_a_refresher_that_slept_before_announcing_while_another_published_is_fenced(site: Site) -> None:
    reader = site.agent()
    site.publish()
    reader.wait_for(1)
    sleeper = sleeper_before_announcing(site)
    wait_for_free_lock(site)
    assert site.publish(NEW) == 2
    reader.wait_for(2)
    check_that_it_is_fenced(site, sleeper)
    assert reader.ask("read") == {"version": 2, "rows": NEW}


def check_that_it_is_fenced(site: Site, sleeper: Process) -> None:
    before = site.state()
    sleeper.signal(signal.SIGCONT)
    ended = sleeper.wait()
    assert (ended.code, ended.outcomes) == (1, ["fenced"]), ended
    assert "another version was announced" in ended.results[0]["error"]
    after = site.state()
    assert (after.current_revision, after.checked) == (before.current_revision, before.checked)
    assert after.attempt is None
    assert site.lock_is_free()


@pytest.mark.files_only("the same as another test, about the words of the command")
def test_the_text_output_says_fenced(site: Site) -> None:
    site.publish()
    site.rows(OLD)
    sleeper = site.start("etcdaero_refresh", "--force", SHOP_STOP="announce")
    wait_until(lambda: sleeper.stopped, 30, "a refresher that stopped itself")
    wait_for_free_lock(site)
    site.publish(NEW)
    sleeper.signal(signal.SIGCONT)
    ended = sleeper.wait()
    assert ended.code == 1
    assert "prices: fenced, nothing of this load is visible: another version was announced" in ended.output
    assert "Traceback" not in ended.errors


def test_of_two_refreshers_that_load_at_once_the_first_to_end_publishes_and_the_other_is_fenced(site: Site) -> None:
    site.publish()
    sleeper = sleeper_before_announcing(site)
    wait_for_free_lock(site)
    site.shut_gate()
    other = site.start("etcdaero_refresh", "--force", "--json")
    site.wait_for_load(3)
    sleeper.signal(signal.SIGCONT)
    ended = sleeper.wait()
    assert (ended.code, ended.outcomes, ended.results[0]["version"]) == (0, ["refreshed"], 2), ended
    site.rows(NEW)
    site.open_gate()
    overtaken = other.wait()
    assert (overtaken.code, overtaken.outcomes) == (1, ["fenced"]), overtaken
    assert f"/{sleeper.pid}" in overtaken.results[0]["error"]
    assert site.agent().ask("read")["rows"] == OLD
    assert site.publish() == 3
    assert site.lock_is_free()


@pytest.mark.parametrize("sleep", [sleeper_in_load, sleeper_before_announcing], ids=["in load", "before announcing"])
def test_a_refresher_that_slept_while_nobody_published_publishes(site: Site, sleep: type[Process]) -> None:
    reader = site.agent()
    site.publish()
    reader.wait_for(1)
    sleeper: Process = sleep(site)  # type: ignore[call-arg, arg-type]
    wait_for_free_lock(site)
    sleeper.signal(signal.SIGCONT)
    ended = sleeper.wait()
    assert (ended.code, ended.outcomes, ended.results[0]["version"]) == (0, ["refreshed"], 2), ended
    reader.wait_for(2)
    assert reader.ask("read")["rows"] == OLD
    assert site.lock_is_free()
