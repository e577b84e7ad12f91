"""Development: ``runserver`` refreshes datasets itself, ``--loop`` begins anew when the code changes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

import pytest

from tests.processes.site import Process, Site, alive, free_port
from tests.processes.test_servers import page
from tests.waiting import wait_until

pytestmark = pytest.mark.files_only("it is about the processes")

DEVELOPMENT = {"SHOP_DEBUG": "1", "SHOP_REFRESH": "auto", "PYTHONUNBUFFERED": "1", "SHOP_LOCK_TTL": "60"}
"""A lock that nobody gave back would be held for a minute."""


def touching(site: Site) -> Callable[[], None]:
    """Return what changes a file of the code: what changes before a reloader's first look is no change for it."""
    touchable = site.directory / "touchable.py"
    return lambda: os.utime(touchable, (touchable.stat().st_mtime + 1,) * 2)


def gone_after(change: Callable[[], None], pid: int) -> None:
    def gone() -> bool:
        change()
        return not alive(pid)

    wait_until(gone, 30, "the end of the process with the old code")


def assert_clean(process: Process) -> None:
    assert not re.search(r"Traceback|Exception ignored", process.errors), process.errors


def test_a_page_of_runserver_works_with_nothing_else_running(site: Site) -> None:
    port = free_port()
    server = site.start("runserver", f"127.0.0.1:{port}", **DEVELOPMENT)
    wait_until(lambda: page(port), 30, "the first page")
    assert page(port)["version"] == 1
    assert "Datasets are refreshed by this server" in server.output
    # It is told once the refresh has ended, which the page did not wait for.
    wait_until(lambda: "prices: refreshed: version 1" in server.output, 30, "the version in the output")
    assert [load["pid"] for load in site.loads()] == server.children
    server.signal_group(signal.SIGINT)
    server.wait(20)
    assert_clean(server)


def test_old_code_publishes_nothing_when_runserver_reloads_during_a_load(site: Site) -> None:
    site.shut_gate()
    server = site.start("runserver", f"127.0.0.1:{free_port()}", **DEVELOPMENT)
    site.wait_for_load()
    (first,) = server.children
    gone_after(touching(site), first)
    site.wait_for_load(2)  # by the new code, which has the lock
    site.open_gate()
    wait_until(lambda: site.state().current is not None, 20, "a version")
    server.signal_group(signal.SIGINT)
    server.wait(20)


def test_a_loop_begins_anew_when_code_changes_and_old_code_publishes_nothing(site: Site) -> None:
    site.shut_gate()
    loop = site.start("etcdaero_refresh", "--loop", **DEVELOPMENT)
    site.wait_for_load()
    (first,) = loop.children
    assert [load["pid"] for load in site.loads()] == [first]
    gone_after(touching(site), first)
    site.wait_for_load(2)
    site.open_gate()
    wait_until(lambda: site.state().current is not None, 20, "a version")
    assert [load["pid"] for load in site.loads()] == [first, *loop.children]
    loop.signal(signal.SIGTERM)
    assert loop.wait(20).code == 0
    assert_clean(loop)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "a terminal"])
def test_a_signal_ends_the_child_of_a_loop_and_gives_its_locks_back(site: Site, how: str) -> None:
    site.shut_gate()
    loop = site.start("etcdaero_refresh", "--loop", "--reload", SHOP_LOCK_TTL="60")
    site.wait_for_load()
    (child,) = loop.children
    if how == "a terminal":
        loop.signal_group(signal.SIGINT)
    else:
        loop.signal(signal.Signals[how])
    assert loop.wait(20).code == 0
    assert not alive(child)
    assert_clean(loop)
    site.open_gate()
    assert site.refresh()["outcome"] == "refreshed"


def test_the_child_of_a_loop_ends_when_the_command_is_killed(site: Site) -> None:
    site.shut_gate()
    loop = site.start("etcdaero_refresh", "--loop", **DEVELOPMENT)
    site.wait_for_load()
    (child,) = loop.children
    loop.signal(signal.SIGKILL)
    wait_until(lambda: not alive(child), 20, "the end of the child")
    assert loop.wait(20).code == -signal.SIGKILL
    site.open_gate()
    assert site.refresh()["outcome"] == "refreshed"  # the lock was given back


def test_a_loop_whose_code_is_broken_waits_until_it_is_mended(site: Site) -> None:
    touchable = site.directory / "touchable.py"
    loop = site.start("etcdaero_refresh", "--loop", SHOP_BREAKABLE="1", **DEVELOPMENT)
    site.wait_for_load()
    (first,) = loop.children
    broken = touching(site)
    touchable.write_text("1 +\n")
    gone_after(broken, first)
    wait_until(lambda: "begins anew when a file changes" in loop.errors, 30, "a loop that waits")
    touchable.write_text("")
    touching(site)()
    wait_until(lambda: loop.children, 20, "a new child")
    loop.signal(signal.SIGTERM)
    assert loop.wait(20).code == 0


def test_without_reloading_the_command_is_one_process(site: Site) -> None:
    loop = site.start("etcdaero_refresh", "--loop", "--no-reload", SHOP_DEBUG="1")
    site.wait_for_load()
    assert [load["pid"] for load in site.loads()] == [loop.pid]
    loop.signal(signal.SIGTERM)
    assert loop.wait(20).code == 0
