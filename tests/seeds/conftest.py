"""Clients on every engine: what the systems that this one grew out of promise must hold on each of them alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.conftest import ENGINES
from tests.keyvalue.etcd.servers import Cluster, Server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it running."""
    options = ["--experimental-watch-progress-notify-interval=1s"]
    with Server("seeds", tmp_path_factory.mktemp("etcd"), options=options).running() as server:
        yield server


@pytest.fixture(params=["etcd", *sorted(ENGINES)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine, each kind in turn."""
    if request.param == "etcd":
        engine = EtcdEngine([request.getfixturevalue("shared_server").endpoint])
        yield engine
        engine.close()
    else:
        yield from ENGINES[request.param](tmp_path)


@pytest.fixture
def connect(engine: Engine) -> Iterator[Callable[[], KV]]:
    """Make clients of one store and prefix, each with sessions of its own as those of different processes have."""
    prefix = f"seeds-{next(_numbers)}/"
    clients: list[KV] = []

    def make() -> KV:
        clients.append(KV(engine, prefix=prefix))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def kv(connect: Callable[[], KV]) -> KV:
    """A client with a prefix that no other test uses."""
    return connect()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, for what concerns a whole server."""
    with Server("own", tmp_path / "own").running() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three members that nobody harms."""
    with Cluster(tmp_path_factory.mktemp("cluster")).running() as cluster:
        yield cluster


@pytest.fixture
def client_of() -> Iterator[Callable[..., KV]]:
    """Make clients, without a prefix, of servers; options are those of the engine."""
    made: list[KV] = []

    def make(*servers: Server, **options: object) -> KV:
        made.append(KV(EtcdEngine([server.endpoint for server in servers], **options)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        client.close()
        client.engine.close()
