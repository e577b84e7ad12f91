"""Servers that fork: every worker follows, new ones too, and the end is quick. And runserver with its autoreloader."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import urllib.request
from typing import Any

import pytest

from django_etcdaero.datasets.state.presence import processes
from django_etcdaero.inspection.processes import differing
from tests.processes.site import Process, Site, alive, free_port, on_servers_and_some_on_files
from tests.waiting import wait_until

WORKERS = 4


def page(port: int) -> Any:
    """Return what a server answers, ``None`` when it does not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            return json.load(answer)
    except OSError:
        return None


def gunicorn(site: Site, port: int, *options: str, **environment: str) -> Process:
    bound = f"127.0.0.1:{port}"
    return site.start("-m", "gunicorn", "wsgi", "--bind", bound, "--workers", str(WORKERS), *options, **environment)


def answers(port: int) -> dict[int, int]:
    """Ask until as many different workers as there are have answered; return the version that each of them has."""
    found: dict[int, int] = {}

    def all_answered() -> bool:
        answer = page(port)
        if answer is not None:
            found[answer["pid"]] = answer["version"]
        return len(found) >= WORKERS

    wait_until(all_answered, 30, "an answer of each worker")
    return found


def wait_for_workers(site: Site, readers: list[int], server: Process, version: int) -> None:
    """Wait until exactly the workers of the server and ``readers`` are registered, all with this version."""

    def there() -> bool:
        workers = server.children
        return len(workers) == WORKERS and site.registered() == dict.fromkeys((*readers, *workers), version)

    wait_until(there, 30, f"all workers on version {version}")


HOW = ["no preload", "preload", "preload and read"]


@pytest.mark.parametrize(("site", "how"), on_servers_and_some_on_files(HOW, "preload and read"), indirect=["site"])
def test_all_workers_of_gunicorn_follow_a_respawned_one_too_and_stop_at_once(site: Site, how: str) -> None:
    site.publish()
    port = free_port()
    reading = {"SHOP_READ_AT_IMPORT": "1"} if how == "preload and read" else {}
    server = gunicorn(site, port, *(["--preload"] if how != "no preload" else []), **reading)
    readers = [server.pid] if reading else []
    assert set(answers(port).values()) == {1}
    wait_for_workers(site, readers, server, 1)
    assert bool(server.open_stores) is bool(reading)

    site.publish({"a": 2})
    wait_for_workers(site, readers, server, 2)
    assert set(answers(port).values()) == {2}

    victim = server.children[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(server.children) == WORKERS and victim not in server.children, 20, "a new worker")
    answers(port)
    wait_for_workers(site, readers, server, 2)
    listed = {process["pid"] for process in site.status()["processes"]}
    assert listed == {*readers, *server.children}

    site.publish({"a": 3})
    wait_for_workers(site, readers, server, 3)
    workers = server.children
    server.signal(signal.SIGTERM)
    assert server.wait(10).code == 0
    wait_until(lambda: not any(map(alive, workers)), 5, "the end of the workers")
    assert site.registered() == {}
    assert "Traceback" not in server.errors


def test_workers_forked_by_a_parent_that_reads_nothing_read_by_themselves(site: Site) -> None:
    site.publish()
    parent = site.start("-m", "prefork")

    def versions() -> list[str]:
        return [(site.directory / f"worker-{pid}").read_text() for pid in parent.children]

    def all_on(version: int) -> bool:
        try:
            return versions() == [str(version)] * 3
        except FileNotFoundError:
            return False

    wait_until(lambda: all_on(1), 20, "three workers on version 1")
    assert parent.open_stores == []
    assert all(site.stores_open_in(pid) for pid in parent.children)
    site.publish({"a": 2})
    wait_until(lambda: all_on(2), 20, "three workers on version 2")


def test_only_the_serving_child_of_runserver_reads_and_a_reload_starts_a_new_one(site: Site) -> None:
    site.publish()
    port = free_port()
    server = site.start("runserver", f"127.0.0.1:{port}", "--nothreading", SHOP_DEBUG="1", PYTHONUNBUFFERED="1")
    wait_until(lambda: page(port), 30, "the first page")
    first = page(port)
    assert server.children == [first["pid"]]
    assert first["version"] == 1
    assert site.stores_open_in(first["pid"])
    assert server.open_stores == []
    wait_until(lambda: site.registered() == {first["pid"]: 1}, what="one registered reader")

    touchable = site.directory / "touchable.py"

    def gone_after_a_touch() -> bool:  # what is touched before the reloader's first look is no change for it
        os.utime(touchable, (touchable.stat().st_mtime + 1,) * 2)
        return not alive(first["pid"])

    wait_until(gone_after_a_touch, 20, "the end of the first child")
    wait_until(lambda: server.children, 20, "a new child")
    site.publish({"a": 2})
    wait_until(lambda: (page(port) or {}).get("version") == 2, 30, "the second version in the new child")
    second = page(port)
    assert server.children == [second["pid"]]
    assert server.open_stores == []
    wait_until(lambda: site.registered() == {second["pid"]: 2}, what="one registered reader")

    server.signal_group(signal.SIGINT)
    server.wait(10)
    wait_until(lambda: not alive(second["pid"]), 5, "the end of the child")
    assert not re.search(r"Traceback|Exception ignored", server.errors), server.errors
    assert site.registered() == {}


def test_workers_tell_what_they_run_and_a_killed_one_is_not_listed(site: Site) -> None:
    site.publish()
    port = free_port()
    server = gunicorn(site, port)
    answers(port)
    wait_for_workers(site, [], server, 1)
    with site.kv() as kv:
        found = processes(kv)
    for each in found:
        assert each.program == f"gunicorn wsgi --bind 127.0.0.1:{port} --workers {WORKERS}"
        assert (each.kind, each.software["python"]) == ("server", platform.python_version())
        assert each.rows["prices"] > 0
    assert differing(found) == {}
    killed = server.children[0]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in site.registered(), what="a list without the killed worker")
