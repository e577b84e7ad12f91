"""The project of ``tests/processes`` on servers: a real etcd, and the stand-in for Aerospike as a program.

With ``ETCDAERO_TEST_AEROSPIKE`` (see :mod:`tests.records.aerospike.serving`) the real Aerospike takes the place of the
stand-in, except where a test breaks the record server.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_etcdaero import schemes
from django_etcdaero.stores.address import Plane
from tests.cluster.site import ServerSite
from tests.keyvalue.etcd.servers import Server
from tests.records.aerospike.serving import REAL, SET


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def kv_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One etcd server for all tests that leave it running."""
    with Server("shared", tmp_path_factory.mktemp("etcd")).running() as server:
        yield f"etcd://{server.endpoint}"


@pytest.fixture(scope="session")
def records_url() -> Iterator[str]:
    """One record server for all tests that leave it running: the real one that is named, or else a stand-in."""
    if REAL:
        url = f"aerospike://{REAL}/{SET}"
        store = schemes.open_store(schemes.parse(url, plane=Plane.RECORDS), timeout=10)
        store.truncate()
        store.close()
        yield url
        return
    command = [sys.executable, "-m", "tests.records.aerospike.standin", "--port", "0", "--namespace", "test"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"aerospike://{process.stdout.readline().strip()}/{SET}"
        finally:
            process.kill()


@pytest.fixture
def site(kv_url: str, records_url: str, tmp_path: Path) -> Iterator[ServerSite]:
    """A deployment of its own: empty stores, a source with three rows, and processes that end with the test."""
    deployed = ServerSite(tmp_path / "site", kv=kv_url, records=records_url)
    yield deployed
    deployed.close()
