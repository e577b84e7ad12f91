"""A server for the differential tests alone: they compact it, read all of it and count its leases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.etcd.servers import Server


@pytest.fixture(scope="package")
def lone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the differential tests share, one after the other."""
    with Server("differential", tmp_path_factory.mktemp("differential")).running() as server:
        yield server


@pytest.fixture
def servers(lone_server: Server) -> Iterator[list[EtcdEngine]]:
    """Two clients of one server."""
    engines = [EtcdEngine([lone_server.endpoint]) for _ in range(2)]
    yield engines
    for engine in engines:
        engine.close()
