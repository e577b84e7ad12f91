"""Caches on the stores that they are tested on."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero import schemes
from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.records.memory.store import drop_memory
from django_etcdaero.stores.address import Plane
from tests.records.aerospike.serving import REAL
from tests.records.aerospike.standin import Standin
from tests.records.database.serving import ALIAS
from tests.waiting import wait_until

SET = "etcdaero_cache_tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take the locations for what they are: the plugin serves tests from memory that do not say so."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.etcdaero_real_stores)


@pytest.fixture(scope="session")
def aerospike_url() -> Iterator[Callable[[], str]]:
    """Gives a URL with an empty set: of the real server that is named (see :mod:`..records.aerospike.serving`), or of
    a stand-in in this process."""
    if REAL:
        yield _emptied
        return
    with Standin() as standin:
        numbers = itertools.count()
        address = f"aerospike://{standin.host}:{standin.port}/{standin.namespace.name}"
        yield lambda: f"{address}/{SET}_{next(numbers)}"


def _emptied() -> str:
    url = f"aerospike://{REAL}/{SET}"
    store = schemes.open_store(schemes.parse(url, plane=Plane.RECORDS), timeout=10)
    store.truncate()
    wait_until(lambda: not list(store.scan()), what="the set being empty")
    store.close()
    return url


def memory(request: pytest.FixtureRequest) -> Iterator[str]:
    name = uuid.uuid4().hex
    yield f"mem:{name}"
    drop_memory(name)


def sqlite(request: pytest.FixtureRequest) -> Iterator[str]:
    yield f"sqlite:///{request.getfixturevalue('tmp_path')}/cache.sqlite3"


def aerospike(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.getfixturevalue("aerospike_url")()


def etcd(request: pytest.FixtureRequest) -> Iterator[str]:
    server = request.getfixturevalue("shared_server")
    yield f"etcd://{server.endpoint.removeprefix('http://')}/cache-{uuid.uuid4().hex}"


def database(request: pytest.FixtureRequest) -> Iterator[str]:
    request.getfixturevalue("postgresql_table")
    request.getfixturevalue("databases_allowed")
    yield f"db:{ALIAS}/c-{uuid.uuid4().hex[:20]}"


LOCATIONS = {"memory": memory, "sqlite": sqlite, "aerospike": aerospike, "etcd": etcd, "database": database}
"""What gives a location with nothing in it, by kind of store. To add a kind, write a function as those above."""

SHARED = [kind for kind in LOCATIONS if kind not in ("memory", "database")]
"""Those that several processes share. (A database too, if it is in the settings of each: see tests/processes.)"""


MARKS = {
    "sqlite": [pytest.mark.slow],
    "aerospike": [pytest.mark.slow],
    "etcd": [pytest.mark.servers],
    "database": [pytest.mark.servers],
}
"""Kinds that are left to the whole suite."""


@pytest.fixture(params=[pytest.param(kind, marks=MARKS.get(kind, [])) for kind in LOCATIONS])
def location(request: pytest.FixtureRequest) -> Iterator[str]:
    """A location with nothing in it."""
    yield from LOCATIONS[request.param](request)


MakeCache = Callable[..., EtcdAeroCache]

_numbers = itertools.count()


@pytest.fixture
def make_cache(location: str) -> MakeCache:
    """Makes caches at the location, with these ``OPTIONS`` and, as ``params``, what stands beside them."""

    def make(params: dict[str, Any] | None = None, **options: Any) -> EtcdAeroCache:
        return EtcdAeroCache(location, {**(params or {}), "OPTIONS": options})

    return make


@pytest.fixture
def elsewhere(make_cache: MakeCache) -> MakeCache:
    """As ``make_cache``, but what it makes knows nothing of what others know: as if it were in another process."""

    def make(params: dict[str, Any] | None = None, **options: Any) -> EtcdAeroCache:
        # What instances share is found by all of their options.
        return make_cache(params, CALL_TIMEOUT=30 + next(_numbers) / 1000, **options)

    return make


@pytest.fixture
def cache(make_cache: MakeCache) -> EtcdAeroCache:
    """A cache with the options that it has when none are given."""
    return make_cache()
