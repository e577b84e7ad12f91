"""Servers for the tests of the etcd engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.conftest import kv, store
from tests.keyvalue.etcd.servers import Cluster, Server

__all__ = ["kv", "store"]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it running and use keys of their own."""
    options = ["--experimental-watch-progress-notify-interval=1s"]
    with Server("shared", tmp_path_factory.mktemp("etcd"), options=options).running() as server:
        yield server


@pytest.fixture
def engine(shared_server: Server) -> Iterator[EtcdEngine]:
    """An engine on the shared server."""
    engine = EtcdEngine([shared_server.endpoint])
    yield engine
    engine.close()


@pytest.fixture
def at() -> Callable[[str], bytes]:
    """Return keys that no other test uses: ``at("a")`` and the like, sorted as their names are."""
    prefix = f"etcd-{next(_numbers)}/"
    return lambda name: (prefix + name).encode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, to be killed and wiped at will."""
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
    return shared_cluster


@pytest.fixture
def connect() -> Iterator[Callable[..., EtcdEngine]]:
    """Make engines that are closed at the end of the test."""
    engines: list[EtcdEngine] = []

    def make(endpoints: list[str], **options: object) -> EtcdEngine:
        engine = EtcdEngine(endpoints, **options)  # type: ignore[arg-type]
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()
