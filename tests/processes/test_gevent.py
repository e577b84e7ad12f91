"""Workers of gevent, whose patches make greenlets of threads: datasets, locks, watches and caches, and who waits."""

from __future__ import annotations

import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.keyvalue.etcd.servers import Server
from tests.processes.servers.site import ServerSite
from tests.processes.site import Process, Site, alive, free_port, on_servers_and_some_on_files
from tests.processes.test_servers import page
from tests.processes.test_uwsgi import ask, versions
from tests.records.aerospike.line import Line
from tests.records.aerospike.standin import Standin
from tests.waiting import wait_until

pytest.importorskip("gevent", reason="gevent is not installed", exc_type=ImportError)


def gunicorn(site: Site, port: int, *options: str, **environment: str) -> Process:
    bound = ["--bind", f"127.0.0.1:{port}", "--worker-class", "gevent", "--graceful-timeout", "20"]
    return site.start("-m", "gunicorn", "wsgi", *bound, *options, SHOP_CACHE="1", **environment)


HOW = ["no preload", "preload", "preload and use"]


@pytest.mark.parametrize(("site", "how"), on_servers_and_some_on_files(HOW, "preload and use"), indirect=["site"])
def test_workers_of_gevent_follow_and_use_everything(site: Site, how: str) -> None:
    site.publish()
    port = free_port()
    used = {"SHOP_USES_AT_IMPORT": "1"} if how == "preload and use" else {}
    server = gunicorn(site, port, "--workers", "2", *([] if how == "no preload" else ["--preload"]), **used)
    wait_until(lambda: page(port), 30, "the first page")
    assert set(versions(port).values()) == {1}
    with ThreadPoolExecutor(8) as threads:  # their greenlets contend for one lock
        list(threads.map(lambda number: ask(port, f"work?name={number}"), range(24)))
    with site.kv() as kv:
        counted = kv.get("counted")
        assert counted is not None
        assert counted.value == b"24"
    site.publish({"a": 2})
    wait_until(lambda: set(versions(port).values()) == {2}, 20, "version 2 in each worker")
    workers = server.children
    server.signal(signal.SIGTERM)
    assert server.wait(40).code == 0
    wait_until(lambda: not any(map(alive, workers)), 10, "the end of the workers")
    assert "Traceback" not in server.errors


@pytest.mark.files_only("another process holds the file")
def test_who_waits_for_a_file_of_sqlite_stops_no_other_greenlet(site: Site) -> None:
    site.publish()
    port = free_port()
    gunicorn(site, port, "--workers", "1", SHOP_CALL_TIMEOUT="60")
    wait_until(lambda: page(port), 30, "the first page")
    ask(port, "work?name=first")
    holder = sqlite3.connect(site.directory / "kv.sqlite3", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(4) as threads:
        try:
            waiting = [threads.submit(ask, port, f"work?name={number}") for number in range(4)]
            for _ in range(20):
                ask(port, "pid")
                assert ask(port, "")["version"] == 1
            assert not any(each.done() for each in waiting)
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        assert [each.result()["version"] for each in waiting] == [1] * 4


@pytest.mark.servers
@pytest.mark.parametrize("frozen", ["etcd", "aerospike"])
def test_who_waits_for_a_server_stops_no_other_greenlet(frozen: str, server: Server, tmp_path: Path) -> None:
    with Standin() as standin, Line((standin.host, standin.port)) as line:
        records = f"aerospike://{line.host}:{line.port}/test/shop"
        site = ServerSite(tmp_path / "site", kv=f"etcd://{server.endpoint}", records=records)
        try:
            site.publish()
            port = free_port()
            gunicorn(site, port, "--workers", "1", SHOP_CALL_TIMEOUT="60")
            wait_until(lambda: page(port), 30, "the first page")
            ask(port, "work?name=first")
            with ThreadPoolExecutor(4) as threads:
                if frozen == "etcd":
                    server.process.send_signal(signal.SIGSTOP)
                else:
                    line.freeze()
                try:
                    waiting = [threads.submit(ask, port, f"work?name={number}") for number in range(4)]
                    for _ in range(20):
                        ask(port, "pid")
                        assert ask(port, "")["version"] == 1
                    assert not any(each.done() for each in waiting)
                finally:
                    if frozen == "etcd":
                        server.process.send_signal(signal.SIGCONT)
                    else:
                        line.thaw()
                assert [each.result()["version"] for each in waiting] == [1] * 4
        finally:
            site.close()
