"""Fixtures for the whole suite."""

from __future__ import annotations

import gc
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from hypothesis import HealthCheck, settings

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.runtime import runtime
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.records.database import mariadb as mariadb_serving
from tests.records.database.serving import ALIAS, CLOCK, SHARED, PostgreSQLServer, alias, migrate

# How long an example takes is a matter of the machine and of what else it does.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

MARKERS = (
    "slow: only in the whole suite; starts many processes, waits for times to run out, or says little that is new",
    "servers: needs a real etcd or PostgreSQL, the stand-in for Aerospike as a program, or a browser",
    "engine_contract: what engines differ in, and therefore with files in the fast part too",
    "embedded_only(reason): of the engines, only the embedded ones",
    "files_only(reason): of the deployments, only that on files of SQLite",
    "etcd_too: of the deployments, also that whose records are in etcd",
)
SERVERS = {
    *("shared_server", "server", "shared_cluster", "cluster", "lone_server", "records_url"),
    *("postgresql_server", "own_postgresql_server"),
}
"""Fixtures that start servers. A test that starts its own is marked where it stands."""


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Spare each worker the looks for garbage among what thousands of tests are made of: it stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    for item in items:  # before pytest looks at marks for -m
        if not SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)
    yield
    # A file is one worker's: short ones last, so that no worker is left with a long one while the others have ended.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Take SIGINT as usual: a shell that runs the suite in the background has it ignored, here and in all children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def started() -> Callable[[], set[str]]:
    """Names of the package's threads that run and did not before the test: those of earlier ones end when idle."""
    before = set(threading.enumerate())
    return lambda: {each.name for each in set(threading.enumerate()) - before if each.name.startswith("etcdaero-")}


@pytest.fixture
def closing() -> Iterator[None]:
    """Close what the runtime of this process has opened, so that no later test meets its reader."""
    yield
    runtime.close()


@pytest.fixture
def registry() -> Iterator[dict[str, Dataset[Any, Any]]]:
    """The registry of datasets, empty; what was there is put back after the test."""
    before = dict(datasets)
    datasets.clear()
    yield datasets
    datasets.clear()
    datasets.update(before)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One etcd server for all tests of a worker that leave it running and use keys of their own."""
    options = ["--experimental-watch-progress-notify-interval=1s"]
    with Server("shared", tmp_path_factory.mktemp("etcd"), options=options).running() as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An etcd server of the test's own, to be killed and wiped at will."""
    with Server("own", tmp_path / "own").running() as server:
        yield server


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three members, used through :func:`cluster`."""
    with Cluster(tmp_path_factory.mktemp("cluster")).running() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """Three members, all in good health; a test may do to them what :meth:`Cluster.heal` can mend."""
    shared_cluster.heal()
    if not shared_cluster.agree():
        shared_cluster.begin_anew()
        # In the summary of the run, and no error: it is a fault of etcd 3.5.0 to 3.5.5, not of the test that meets it.
        warnings.warn("the members of the tests' cluster had different data: it was begun anew", stacklevel=1)
    return shared_cluster


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL for all tests of a worker that leave it running and use databases or rooms of their own."""
    with PostgreSQLServer().running() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_table(postgresql_server: PostgreSQLServer, django_db_blocker: Any) -> Iterator[PostgreSQLServer]:
    """The table in a database of PostgreSQL, which is the alias :data:`ALIAS`."""
    postgresql_server.ask(f"CREATE DATABASE {SHARED}")
    postgresql_server.ask(CLOCK, SHARED)
    postgresql_server.ask(f"ALTER DATABASE {SHARED} SET search_path = tests, pg_catalog, public")
    with alias(ALIAS, postgresql_server.settings(SHARED)):
        with django_db_blocker.unblock():
            migrate(ALIAS)
        yield postgresql_server


@pytest.fixture(scope="session")
def mariadb_table(django_db_blocker: Any) -> Iterator[mariadb_serving.MariaDBServer]:
    """The table in a database of MariaDB."""
    name = mariadb_serving.MARIADB
    with mariadb_serving.MariaDBServer().running() as server, alias(name, server.settings()):
        with django_db_blocker.unblock():
            migrate(name)
        yield server


@pytest.fixture(autouse=True)
def _requests_may_begin(django_db_blocker: Any) -> Iterator[None]:
    """Let connections be looked at that tests before have left open, as Django does at each request, and commands do.

    One to a database in memory is never closed.
    """
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def databases_allowed(django_db_blocker: Any) -> Iterator[None]:
    """Let databases be used that the test itself forbids: with ``db`` it has the default one only. Closes them."""
    with django_db_blocker.unblock():
        yield
        for connection in connections.all(initialized_only=True):
            connection.close()
