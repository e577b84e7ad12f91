"""A store with no room, or that may not be written to: what it has is read, nothing old stands in for what is new."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import ClusterError, StoreFull
from django_etcdaero.system.sqlite import opening
from tests.cache.calls import Awaited, Plain
from tests.keyvalue.etcd.servers import Server
from tests.paths import ROOT
from tests.records.aerospike.serving import SET, served
from tests.waiting import wait_until

LARGE = os.urandom(300_000)


class Limited(NamedTuple):
    """A store that can be filled."""

    location: str
    fill: Callable[[EtcdAeroCache], None]
    deletes: bool = True
    """It still deletes, whatever it refuses. etcd may not: a record store there counts its records in a key, too."""


def _until_full(cache: EtcdAeroCache) -> None:
    written = (cache.set(f"filler-{number}", LARGE) for number in range(40))
    with pytest.raises(StoreFull):
        list(written)


def sqlite(request: pytest.FixtureRequest) -> Iterator[Limited]:
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    open_database = opening.open_database

    def open_small(*args: Any, **options: Any) -> Any:
        connection, identity = open_database(*args, **options)
        connection.execute("PRAGMA max_page_count = 300")
        return connection, identity

    monkeypatch.setattr(opening, "open_database", open_small)
    yield Limited(f"sqlite:///{request.getfixturevalue('tmp_path')}/cache.sqlite3", _until_full)


def aerospike(request: pytest.FixtureRequest) -> Iterator[Limited]:
    with contextlib.ExitStack() as stack, served() as server:

        def limit(cache: EtcdAeroCache) -> None:
            stack.enter_context(server.limited(len(list(cache.get_client().scan()))))

        yield Limited(f"aerospike://{server.host}:{server.port}/{server.namespace}/{SET}", limit)
        stack.close()


def etcd(request: pytest.FixtureRequest) -> Iterator[Limited]:
    path = request.getfixturevalue("tmp_path") / "small"
    with Server("small", path, options=["--quota-backend-bytes", "4000000"]).running() as server:
        yield Limited(f"etcd://{server.endpoint.removeprefix('http://')}/cache", _until_full, deletes=False)


KINDS = {
    "sqlite": sqlite,
    "aerospike": aerospike,
    "etcd": etcd,
}


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.slow),
        pytest.param("aerospike", marks=pytest.mark.slow),
        pytest.param("etcd", marks=pytest.mark.servers),
    ]
)
def limited(request: pytest.FixtureRequest) -> Iterator[Limited]:
    yield from KINDS[request.param](request)


@pytest.fixture(params=[Plain, Awaited])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_what_is_there_is_read_and_deleted(limited: Limited, kind: Any) -> None:
    cache = EtcdAeroCache(limited.location, {})
    cache.set_many({"k": "v", "l": "v"}, None)
    limited.fill(cache)
    for _ in range(2):
        with pytest.raises(StoreFull):
            kind(cache).set("new", LARGE)
        with pytest.raises(StoreFull):
            kind(cache).add("added", LARGE)
        assert kind(cache).get("new") is kind(cache).get("added") is None
        assert kind(cache).get_many(["k", "l", "new"]) == {"k": "v", "l": "v"}
    if limited.deletes:
        assert kind(cache).delete("k") is True
        assert kind(cache).get("k") is None
    else:
        with contextlib.suppress(StoreFull):
            assert kind(cache).delete("k") is True
            assert kind(cache).get("k") is None


def test_where_errors_are_ignored_nothing_old_stays(
    limited: Limited, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EtcdAeroCache(limited.location, {"OPTIONS": {"IGNORE_EXCEPTIONS": True, "RETRY_INTERVAL": 3600}})
    filling = EtcdAeroCache(limited.location, {})
    cache.set_many({"k": "old", "l": "old", "other": "v"}, None)
    limited.fill(filling)
    with caplog.at_level(logging.WARNING, "django_etcdaero.cache"):
        for number in range(3):
            kind(cache).set("k", LARGE)
            assert kind(cache).get("k") in (None, LARGE)
            kind(cache).set_many({"l": LARGE, f"new-{number}": LARGE})
            assert kind(cache).get("l") in (None, LARGE)
            assert kind(cache).get("other") == "v" or not limited.deletes  # it is not away
            assert kind(cache).get_or_set(f"loaded-{number}", lambda: LARGE) == LARGE
        with pytest.raises(StoreFull if limited.deletes else (StoreFull, ClusterError)):
            kind(cache).add("added", LARGE)
    if not limited.deletes:  # what could not be deleted is not given, the cache counts as empty
        assert cache._core.outage.away or filling.get("k") in (None, LARGE)
        return
    assert filling.get("k") in (None, LARGE)
    assert len([each for each in caplog.records if "is full" in each.getMessage()]) == 1
    assert not [each for each in caplog.records if "is away" in each.getMessage()]


# --- files that may not be written to --------------------------------------------------------------------------------

UNPRIVILEGED = 65534

CALLS = ["get('k')", "set('k', 'new')", "get('k')", "get_or_set('k', lambda: 'loaded')", "delete('k')", "add('k', 1)"]

PROGRAM = """
import os, sys
import django
from django.conf import settings
settings.configure(SECRET_KEY="x" * 50)
django.setup()
from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import EtcdAeroError
EtcdAeroCache("sqlite:////tmp/{name}", {{}}).get("k")  # what it imports it must import as root
os.unlink("/tmp/{name}")
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({user}); os.setuid({user})
cache = EtcdAeroCache("sqlite:///{path}", {{"OPTIONS": {options}}})
for call in {calls}:
    try:
        print(eval("cache." + call))
    except EtcdAeroError as error:
        print(type(error).__name__, {file!r} in str(error))
"""


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A path that a process without rights can reach, in a directory of its own."""
    directory = Path("/tmp") / f"etcdaero-{os.getpid()}-{os.urandom(4).hex()}"
    directory.mkdir(mode=0o755)
    yield directory / "cache.sqlite3"
    directory.chmod(0o755)
    shutil.rmtree(directory)


def _unprivileged(path: Path, **options: Any) -> list[str]:
    """Return what a process without the rights of root is answered."""
    code = PROGRAM.format(
        path=path, file=str(path), name=f"{path.parent.name}.sqlite3", user=UNPRIVILEGED, options=options, calls=CALLS
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["file", "directory"])
def test_a_file_that_may_not_be_written_to(open_path: Path, closed: str) -> None:
    EtcdAeroCache(f"sqlite:///{open_path}", {}).set("k", "v")
    with contextlib.closing(sqlite3.connect(open_path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    paths = [open_path.parent, *open_path.parent.iterdir()]
    for path in paths:
        if os.geteuid() == 0:
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
    (open_path if closed == "file" else open_path.parent).chmod(0o400 if closed == "file" else 0o555)
    assert set(_unprivileged(open_path)) == {"ConfigurationError True"}  # it is named
    ignoring = ["None", "None", "None", "loaded", "False", "ClusterError True"]
    assert _unprivileged(open_path, IGNORE_EXCEPTIONS=True) == ignoring


def test_it_can_be_cleared(limited: Limited, kind: Any) -> None:
    cache = EtcdAeroCache(limited.location, {})
    cache.set("k", "v", None)
    limited.fill(cache)
    if not limited.deletes:
        with contextlib.suppress(StoreFull):
            kind(cache).clear()
            assert cache.get("k") is None
        return
    kind(cache).clear()
    assert cache.get("k") is None
    assert not list(cache.keys("*"))
    if limited.location.startswith("sqlite:"):  # where that makes room

        def written() -> bool:
            with contextlib.suppress(StoreFull):
                cache.set("k", LARGE)
                return True
            return False

        wait_until(written, what="what was cleared being swept")
        assert cache.get("k") == LARGE


def test_what_was_loaded_is_given_though_there_is_no_room_for_it(limited: Limited, kind: Any) -> None:
    cache = EtcdAeroCache(limited.location, {})
    cache.set("k", "v", None)
    limited.fill(cache)
    if limited.deletes:
        with contextlib.suppress(StoreFull):  # the record that says who loads needs room, too
            assert kind(cache).get_or_set("loaded", lambda: LARGE, 60) == LARGE
