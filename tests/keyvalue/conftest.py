"""Engines for the tests of the coordination plane."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from django_etcdaero.exceptions import LeaseNotFound
from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.system.blocking import ALLOWED_BY
from tests.keyvalue.interposed import InterposedEngine

_numbers = itertools.count()


def _open_memory(directory: Path) -> Iterator[Engine]:
    name = f"test-{next(_numbers)}"
    engine = EmbeddedEngine.memory(name)
    yield engine
    engine.close()
    drop_memory(name)


def _open_sqlite(directory: Path) -> Iterator[Engine]:
    engine = EmbeddedEngine.file(directory / "kv" / "store.sqlite3")
    yield engine
    engine.close()


EMBEDDED: dict[str, Callable[[Path], Iterator[Engine]]] = {"mem": _open_memory, "sqlite": _open_sqlite}
"""How each embedded engine is opened and closed, given a directory of its own."""

ETCD = pytest.param("etcd", marks=pytest.mark.servers)

ENGINES = [*EMBEDDED, ETCD]
"""What the engine contract is held against."""

ON_ENGINES = ["mem", pytest.param("sqlite", marks=pytest.mark.slow), ETCD]
"""What stands on the contract runs on the same, and with files only in the whole suite: it cannot tell them apart."""


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let ``@embedded_only(reason)`` leave out the server, and ``@engine_contract`` take files in the fast part too."""
    if "engine" not in metafunc.fixturenames:
        return
    if metafunc.definition.get_closest_marker("embedded_only"):
        metafunc.definition.add_marker(pytest.mark.parametrize("engine", [*EMBEDDED], indirect=True))
    elif metafunc.definition.get_closest_marker("engine_contract"):
        metafunc.definition.add_marker(pytest.mark.parametrize("engine", ENGINES, indirect=True))


@pytest.fixture(autouse=True)
def _blocking_calls_in_event_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of awaited calls look at the store by blocking ones; test_event_loops.py takes the leave back."""
    monkeypatch.setenv(ALLOWED_BY, "1")


@pytest.fixture(params=ON_ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine, each kind in turn; its store may hold keys of other tests, see :func:`at`."""
    if request.param == "etcd":
        engine = EtcdEngine([request.getfixturevalue("shared_server").endpoint])
        # What another test has left would run out during this one, which may count the revisions.
        for lease in engine.lease_list():
            with suppress(LeaseNotFound):
                engine.lease_revoke(lease)
        yield engine
        engine.close()
    else:
        yield from EMBEDDED[request.param](tmp_path)


@pytest.fixture
def at() -> Callable[[str], bytes]:
    """Return keys that no other test uses: ``at("a")`` and the like, sorted as their names are."""
    prefix = f"test-{next(_numbers)}/"
    return lambda name: (prefix + name).encode()


@pytest.fixture
def store(engine: Engine) -> InterposedEngine:
    """The engine, with calls counted, and failing when told to."""
    return InterposedEngine(engine)


@pytest.fixture
def kv(store: InterposedEngine, at: Callable[[str], bytes]) -> Iterator[KV]:
    """A client of :func:`store` below a prefix of the test's own, whose locks tell ``{"service": "web"}``."""
    client = KV(store, prefix=at("app/"), identity={"service": "web"})
    yield client
    client.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store of one's own may be made."""
    return tmp_path / "store.sqlite3"
