"""Running the project of this directory as processes, and looking at what they leave in the stores.

A deployment has its stores in files of SQLite, or on servers: a real etcd, and the stand-in for Aerospike as a program;
or, for tests in which it matters where records are, both of them in the etcd.
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
from tests.keyvalue.etcd.servers import Server
from tests.processes.servers.site import ServerSite
from tests.processes.site import Site
from tests.records.aerospike.serving import REAL, SET

DEPLOYMENTS = ["files", pytest.param("servers", marks=pytest.mark.servers)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let ``@files_only(reason)`` leave out the servers, and ``@etcd_too`` add the deployment on etcd alone."""
    if metafunc.definition.get_closest_marker("files_only"):
        metafunc.definition.add_marker(pytest.mark.parametrize("site", ["files"], indirect=True))
    elif metafunc.definition.get_closest_marker("etcd_too"):
        etcd = pytest.param("etcd", marks=pytest.mark.servers)
        metafunc.definition.add_marker(pytest.mark.parametrize("site", [*DEPLOYMENTS, etcd], indirect=True))


@pytest.fixture(scope="session")
def kv_url(shared_server: Server) -> str:
    """One etcd server for all tests that leave it running."""
    return f"etcd://{shared_server.endpoint}"


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


@pytest.fixture(params=DEPLOYMENTS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A deployment of its own: empty stores, a source with three rows, and processes that end with the test."""
    if request.param == "files":
        deployed: Site = Site(tmp_path / "site")
    else:
        records = "records_url" if request.param == "servers" else "kv_url"
        urls = {"kv": request.getfixturevalue("kv_url"), "records": request.getfixturevalue(records)}
        deployed = ServerSite(tmp_path / "site", **urls)
    yield deployed
    deployed.close()
