"""The project of ``tests/processes`` on servers: a real etcd, and the stand-in for Aerospike as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.etcd.servers import Server

from .site import ServerSite

WANTED = bool(os.environ.get("ETCDAERO_TEST_CLUSTER"))
collect_ignore_glob = [] if WANTED else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was left out: these tests take five minutes more."""
    if not WANTED:
        terminalreporter.section("NOT RUN: the main job on etcd and Aerospike (ETCDAERO_TEST_CLUSTER=1 runs it)", "!")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def kv_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One etcd server for all tests that leave it running."""
    server = Server("shared", tmp_path_factory.mktemp("etcd"))
    server.start()
    try:
        server.wait_ready()
        yield f"etcd://{server.endpoint}"
    finally:
        server.kill()


@pytest.fixture(scope="session")
def records_url() -> Iterator[str]:
    """One record server for all tests that leave it running."""
    command = [sys.executable, "-m", "tests.aerospike.standin", "--port", "0", "--namespace", "test"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"aerospike://{process.stdout.readline().strip()}/shop"
        finally:
            process.kill()


@pytest.fixture
def site(kv_url: str, records_url: str, tmp_path: Path) -> Iterator[ServerSite]:
    """A deployment of its own: empty stores, a source with three rows, and processes that end with the test."""
    deployed = ServerSite(tmp_path / "site", kv=kv_url, records=records_url)
    yield deployed
    deployed.close()
