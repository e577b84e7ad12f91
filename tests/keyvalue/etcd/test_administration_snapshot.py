"""Backups that can be restored, or are not there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.exceptions import Cancelled, ClusterError, DeadlineExceeded, ResponseError
from django_etcdaero.keyvalue.administration.snapshot import SnapshotFile
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest
from tests.keyvalue.etcd.servers import Cluster, Server

Connect = Callable[..., EtcdEngine]

MEGABYTES = 12


@pytest.fixture
def filled(server: Server, connect: Connect) -> EtcdEngine:
    """An engine on a store of some megabytes."""
    engine = connect([server.endpoint])
    for number in range(MEGABYTES):
        engine.put(PutRequest(b"big/%02d" % number, os.urandom(1 << 20)))
    return engine


@pytest.fixture
def restored(tmp_path: Path) -> Iterator[Server]:
    server = Server("restored", tmp_path / "restored")
    yield server
    server.kill()


def everything(engine: EtcdEngine) -> dict[bytes, bytes]:
    return {found.key: found.value for found in engine.range(RangeRequest(b"\0", b"\0"), timeout=30).kvs}


def leftovers(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.name.startswith(".")]


def test_a_backup_is_verified_and_restores_the_same_keys(
    filled: EtcdEngine, server: Server, restored: Server, connect: Connect, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "backup.db"
    snapshot = filled.maintenance.snapshot(path, progress=lambda done, total: seen.append((done, total)))
    data = path.read_bytes()
    assert (snapshot.path, snapshot.size) == (path, len(data))
    assert snapshot.size > MEGABYTES << 20
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]
    assert snapshot.sha256 == data[-32:].hex()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert leftovers(tmp_path) == []
    done = [one for one, _ in seen]
    assert len(seen) > 10
    assert done == sorted(set(done))
    assert all(one <= total for one, total in seen)
    assert seen[-1] == (snapshot.size, snapshot.size)

    status = json.loads(server.etcdctl("snapshot", "status", str(path), "-w", "json").stdout)
    assert status["revision"] == filled.range(RangeRequest(b"a")).revision
    server.etcdctl(
        *("snapshot", "restore", str(path), "--name", restored.name, "--data-dir", str(restored.directory / "data")),
        *("--initial-cluster", restored.initial_cluster),
        *("--initial-advertise-peer-urls", f"http://127.0.0.1:{restored.peer_port}"),
    )
    restored.start()
    restored.wait_ready()
    assert everything(connect([restored.endpoint])) == everything(filled)


def test_a_backup_replaces_the_one_before(server: Server, connect: Connect, tmp_path: Path) -> None:
    path = tmp_path / "backup.db"
    path.write_bytes(b"yesterday")
    snapshot = connect([server.endpoint]).maintenance.snapshot(str(path))
    assert path.stat().st_size == snapshot.size


def test_a_member_that_is_away_is_passed_over_and_a_certain_one_can_be_asked(
    cluster: Cluster, connect: Connect, tmp_path: Path
) -> None:
    dead, *alive = cluster.members
    engine = connect(cluster.endpoints)
    dead.kill()
    assert engine.maintenance.snapshot(tmp_path / "any.db").size > 0
    assert engine.maintenance.snapshot(tmp_path / "one.db", endpoint=alive[0].endpoint).size > 0
    with pytest.raises(ClusterError) as caught:
        engine.maintenance.snapshot(tmp_path / "none.db", endpoint=dead.endpoint)
    assert set(caught.value.errors) == {dead.endpoint}
    assert sorted(path.name for path in tmp_path.glob("*")) == ["any.db", "one.db"]


def test_a_backup_that_breaks_off_leaves_the_one_before_alone(
    filled: EtcdEngine, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "backup.db"
    path.write_bytes(b"yesterday")
    with pytest.raises(ClusterError):
        filled.maintenance.snapshot(path, progress=lambda done, total: server.kill())
    assert path.read_bytes() == b"yesterday"
    assert leftovers(tmp_path) == []


def test_a_backup_of_a_frozen_server_ends_in_time(filled: EtcdEngine, server: Server, tmp_path: Path) -> None:
    def freeze(done: int, total: int) -> None:
        server.signal(signal.SIGSTOP)

    with pytest.raises(DeadlineExceeded):
        filled.maintenance.snapshot(tmp_path / "backup.db", progress=freeze, timeout=2)
    assert [path.name for path in tmp_path.glob("*backup*")] == []
    server.signal(signal.SIGCONT)


def test_a_backup_ends_when_the_engine_is_closed(filled: EtcdEngine, tmp_path: Path) -> None:
    closing: list[threading.Thread] = []

    def close(done: int, total: int) -> None:
        if not closing:
            closing.append(threading.Thread(target=filled.close))
            closing[0].start()
            closing[0].join(30)

    with pytest.raises(Cancelled):
        filled.maintenance.snapshot(tmp_path / "backup.db", progress=close)
    assert [path.name for path in tmp_path.glob("*backup*")] == []


def test_an_error_of_the_callback_is_the_callers(filled: EtcdEngine, tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled.maintenance.snapshot(tmp_path / "backup.db", progress=fail)
    assert [path.name for path in tmp_path.glob("*backup*")] == []
    assert filled.range(RangeRequest(b"a")).count == 0


def test_a_place_that_cannot_be_written_is_an_os_error(server: Server, connect: Connect, tmp_path: Path) -> None:
    maintenance = connect([server.endpoint]).maintenance
    with pytest.raises(FileNotFoundError):
        maintenance.snapshot(tmp_path / "missing" / "backup.db")
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        maintenance.snapshot(tmp_path / "directory")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-32],
        lambda data: data[:4096] + bytes([data[4096] ^ 1]) + data[4097:],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"",
    ],
    ids=["cut by a byte", "no checksum", "a bit in the data", "a bit in the checksum", "nothing"],
)
def test_damaged_data_never_gets_the_name_of_a_backup(
    server: Server, connect: Connect, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    connect([server.endpoint]).maintenance.snapshot(tmp_path / "whole.db")
    data = damage((tmp_path / "whole.db").read_bytes())
    with SnapshotFile(tmp_path / "damaged.db", None) as file:
        file.begin()
        for start in range(0, len(data), 1000):
            file.add(data[start : start + 1000], 0)
        with pytest.raises(ResponseError, match="cut off or damaged"):
            file.finish("a server")
    assert [path.name for path in tmp_path.glob("*damaged*")] == []
