"""A server for each test, and a way to it that can be interrupted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_etcdaero.records.aerospike.store import AerospikeStore
from tests.records.aerospike.line import Line
from tests.records.aerospike.serving import REAL, Served, served
from tests.records.aerospike.standin import Standin
from tests.records.aerospike.standin.faults import Faults

_missing: list[str] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a real server, leave out what only a stand-in can be made to do, and say so at the end."""
    if not REAL:
        return
    left_out = [item for item in items if {"faults", "standin"} & set(getattr(item, "fixturenames", ()))]
    _missing.extend(item.nodeid for item in left_out)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _missing:
        terminalreporter.section("NOT TESTED on the real Aerospike server: it has no switches for these faults", "!")
        for node in _missing:
            terminalreporter.line(node)


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as server:
        yield server


@pytest.fixture
def standin(server: Served) -> Standin:
    """The server's inside: on a real one such tests are left out."""
    assert server.standin is not None
    return server.standin


@pytest.fixture
def faults(standin: Standin) -> Faults:
    """The server's fault switches, likewise."""
    return standin.faults


@pytest.fixture
def store(server: Served) -> AerospikeStore:
    return server.store()


@pytest.fixture
def line(server: Served) -> Iterator[Line]:
    with Line((server.host, server.port)) as line:
        yield line


@pytest.fixture
def distant(server: Served, line: Line) -> AerospikeStore:
    """A store whose server is reached through ``line``, and which has connected."""
    store = server.store(hosts=[(line.host, line.port)])
    assert store.exists(b"k") is None
    return store
