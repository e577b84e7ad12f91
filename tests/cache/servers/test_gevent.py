"""gevent, whose patches make greenlets of threads: calls that wait in C stop nobody, and nothing hangs."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cache.servers.conftest import Records
from tests.cache.servers.serving import gunicorn, serving
from tests.cache.servers.test_servers import NEAR, check_clients, check_end, near_on_files, put_to_the_test
from tests.keyvalue.etcd.servers import Server as Etcd

pytest.importorskip("gevent", reason="gevent is not installed", exc_type=ImportError)

GEVENT = ("--worker-class", "gevent", "--workers", "2")
POOL = 16
"""Threads in which gevent's greenlets have their calls made."""


@pytest.mark.parametrize("preload", [False, True])
def test_workers_of_gevent(records: Records, tmp_path: Path, preload: bool) -> None:
    command = gunicorn(*GEVENT, *(["--preload"] if preload else []))
    with serving(
        tmp_path, command, location=records.location, workers=2, preload=preload, **near_on_files(tmp_path)
    ) as server:
        put_to_the_test(server)
        check_clients(server, records, threads=POOL)
        check_end(server)


@pytest.mark.servers
@pytest.mark.parametrize("preload", [False, True])
def test_workers_of_gevent_on_etcd(shared_server: Etcd, tmp_path: Path, preload: bool) -> None:
    command = gunicorn(*GEVENT, *(["--preload"] if preload else []))
    url = f"etcd://{shared_server.endpoint}"
    location = f"{url}/cache-of-gevent-{preload}".lower()
    with serving(tmp_path, command, location=location, workers=2, preload=preload, kv=url, options=NEAR) as server:
        put_to_the_test(server, requests=50)
        check_end(server)


def test_a_store_that_does_not_answer_stops_no_other_greenlet(records: Records, tmp_path: Path) -> None:
    command = gunicorn("--worker-class", "gevent", "--workers", "1")
    with serving(tmp_path, command, location=records.location) as server, ThreadPoolExecutor(8) as threads:
        assert server.get("get", key="nothing") == {"found": None}
        records.process.send_signal(signal.SIGSTOP)
        try:
            waiting = [threads.submit(server.get, "get", key="nothing") for _ in range(8)]
            for _ in range(20):
                assert server.get("told")["made"] == 1
            assert not any(each.done() for each in waiting)
        finally:
            records.process.send_signal(signal.SIGCONT)
        assert [each.result() for each in waiting] == [{"found": None}] * 8
        assert server.end() == 0
