"""A cache behind real servers: no wrong value, one client a process, a bounded number of connections, and an end.

An end that takes minutes is a hang: how long exactly it takes says more about the machine than about the cache.
"""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cache.servers.conftest import Records
from tests.cache.servers.serving import Server, gunicorn, serving, uvicorn
from tests.keyvalue.etcd.servers import Server as Etcd

NEAR: dict[str, Any] = {"NEAR": {}}
SPARE = 3
"""Connections of a process beside those of its threads: the client's own, and one that was closed and is not gone."""


def near_on_files(directory: Path) -> dict[str, Any]:
    """Return what a near cache needs, told through a file."""
    return {"options": NEAR, "kv": f"sqlite:///{directory}/kv.sqlite3"}


def put_to_the_test(server: Server, path: str = "work", requests: int = 100) -> None:
    """Let it answer, and look at what it did."""
    wrong, sent = server.load_all(path, requests)
    assert wrong == []
    assert server.get("get", key="count") == {"found": sent}
    assert server.get("get", key="loads") == {"found": 1}


def check_clients(server: Server, records: Records, threads: int, path: str = "work") -> None:
    """Assert that more load makes neither more clients nor more connections than there are threads."""
    for _ in range(2):
        assert set(server.made().values()) == {1}
        assert max(server.connections(records.port).values()) <= threads + SPARE
        assert server.load(path, 50) == []


def check_end(server: Server) -> None:
    """Assert that it ends, and without a word of complaint."""
    assert server.end() == 0, server.said
    for word in ("Traceback", "Fatal Python error", "Segmentation fault", "SIGKILL"):
        assert word not in server.said


def test_gunicorn_with_sixteen_threads_in_each_of_eight_workers_that_were_forked(
    records: Records, tmp_path: Path
) -> None:
    command = gunicorn("--preload", "--workers", "8", "--threads", "16")
    with serving(
        tmp_path, command, location=records.location, workers=8, preload=True, **near_on_files(tmp_path)
    ) as server:
        put_to_the_test(server, requests=200)
        check_clients(server, records, threads=16)
        check_end(server)


@pytest.mark.parametrize("store", ["sqlite", pytest.param("etcd", marks=pytest.mark.servers)])
def test_gunicorn_whose_parent_has_used_another_store(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    location, more = f"sqlite:///{tmp_path}/cache.sqlite3", near_on_files(tmp_path)
    if store == "etcd":
        etcd: Etcd = request.getfixturevalue("shared_server")
        location, more = f"etcd://{etcd.endpoint}/cache-of-gunicorn", {"options": NEAR, "kv": f"etcd://{etcd.endpoint}"}
    command = gunicorn("--preload", "--workers", "3", "--threads", "4")
    with serving(tmp_path, command, location=location, workers=3, preload=True, **more) as server:
        put_to_the_test(server, requests=50)
        check_end(server)


@pytest.mark.parametrize("workers", [1, 3])
def test_uvicorn_with_awaitable_methods(records: Records, tmp_path: Path, workers: int) -> None:
    command = uvicorn("--workers", str(workers))
    with serving(tmp_path, command, location=records.location, workers=workers, **near_on_files(tmp_path)) as server:
        put_to_the_test(server, "awork", requests=150)
        check_clients(server, records, threads=8, path="awork")
        server.end()  # by the signal itself, if it is one process
        assert "Traceback" not in server.said


def test_a_store_that_does_not_answer_does_not_stop_the_event_loop(records: Records, tmp_path: Path) -> None:
    command = uvicorn()
    with serving(tmp_path, command, location=records.location) as server, ThreadPoolExecutor(20) as threads:
        assert server.get("aget", key="nothing") == {"found": None}
        records.process.send_signal(signal.SIGSTOP)
        try:
            waiting = [threads.submit(server.get, "aget", key="nothing") for _ in range(20)]
            for _ in range(20):
                assert server.get("atold")["made"] == 1
            assert not any(each.done() for each in waiting)
        finally:
            records.process.send_signal(signal.SIGCONT)
        assert [each.result() for each in waiting] == [{"found": None}] * 20
        server.end()
