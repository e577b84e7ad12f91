"""Engines on real servers, for what only they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.etcd.servers import Cluster, Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of modules that start servers of their own kinds."""
    here = Path(__file__).parent
    for item in items:
        started = vars(getattr(item, "module", None) or object).values()
        if here in item.path.parents and (Server in started or Cluster in started):
            item.add_marker(pytest.mark.servers)


@pytest.fixture
def engine(shared_server: Server) -> Iterator[EtcdEngine]:
    """An engine on the shared server."""
    engine = EtcdEngine([shared_server.endpoint])
    yield engine
    engine.close()


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
