"""uWSGI, which forks in C: its workers follow, and use everything, whatever was opened before the fork."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from typing import Any

import pytest

from tests.cache.servers.serving import UWSGI
from tests.processes.site import Process, Site, alive, free_port, on_servers_and_some_on_files
from tests.processes.test_servers import page
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(UWSGI is None, reason="uWSGI is not installed: python -m pip install uwsgi")

WORKERS = 2
HOOKS = "--py-call-uwsgi-fork-hooks"
USED = {"SHOP_USES_AT_IMPORT": "1"}


def uwsgi(site: Site, port: int, *options: str, **environment: str) -> Process:
    bound = ["--http-socket", f"127.0.0.1:{port}", "--module", "wsgi", "--processes", str(WORKERS)]
    quiet = ["--need-app", "--die-on-term", "--disable-logging"]
    environment = {"SHOP_CACHE": "1", **environment}
    return site.start(str(UWSGI), *bound, *quiet, *options, **environment)


def ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
        return json.load(answer)


def versions(port: int, path: str = "") -> dict[int, int]:
    """Ask until each worker has answered; return the version that each had last."""
    found: dict[int, int] = {}

    def all_answered() -> bool:
        answer = ask(port, path)
        found[answer["pid"]] = answer["version"]
        return len(found) >= WORKERS

    wait_until(all_answered, 30, "an answer of each worker")
    return found


MODES: dict[str, tuple[list[str], dict[str, str]]] = {
    "imported": (["--master"], {}),
    "used in the master": (["--master"], USED),
    "used in the master, osafterfork": (["--master", "--py-call-osafterfork"], USED),
    "used in the master, hooks": (["--master", HOOKS], USED),
    "lazy": (["--master", "--lazy-apps"], USED),
    "no master": ([], USED),
    "decorators, threads": (["--master", "--threads", "3", "--import", "uwsgidecorators"], USED),
}


@pytest.mark.parametrize(("site", "mode"), on_servers_and_some_on_files(MODES, "used in the master"), indirect=["site"])
def test_each_worker_follows_and_uses_everything(site: Site, mode: str) -> None:
    options, environment = MODES[mode]
    site.publish()
    port = free_port()
    server = uwsgi(site, port, "--enable-threads", *options, **environment)
    wait_until(lambda: page(port), 30, "the first page")
    assert set(versions(port).values()) == {1}
    requests = 12
    for number in range(requests):
        ask(port, f"work?name={number}")
    with site.kv() as kv:
        counted = kv.get("counted")
        assert counted is not None
        assert counted.value == str(requests).encode()

    workers = set(versions(port))
    site.publish({"a": 2})
    wait_until(lambda: set(versions(port).values()) == {2}, 20, "version 2 in each worker")
    if "--master" in options:
        victim = sorted(workers)[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in versions(port), 20, "a new worker")
        wait_until(lambda: set(versions(port).values()) == {2}, 20, "version 2 in the new worker too")
        ask(port, "work?name=again")
    workers |= set(versions(port))
    site.publish({"a": 3})
    wait_until(lambda: set(versions(port).values()) == {3}, 20, "version 3 in each worker")
    if "--master" in options:
        server.signal(signal.SIGTERM)
    else:  # nobody passes it on
        server.signal_group(signal.SIGTERM)
    server.wait(30)
    wait_until(lambda: not any(map(alive, workers)), 10, "the end of the workers")
    assert "Traceback" not in server.errors
