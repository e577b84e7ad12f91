"""Locks of this package and ``etcdctl lock`` exclude each other."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from django_etcdaero.exceptions import LockTimeout
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.etcd.servers import PROGRAMS, Server
from tests.waiting import wait_until


@pytest.fixture
def kv(engine: EtcdEngine) -> Iterator[KV]:
    kv = KV(engine)
    yield kv
    kv.close()


@contextmanager
def etcdctl_lock(server: Server, name: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``etcdctl lock``, which prints the name of its key once it holds the lock and keeps it until it is ended."""
    process = subprocess.Popen(
        [PROGRAMS / "etcdctl", "--endpoints", server.endpoint, "lock", name, "--ttl", "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()


def contenders(kv: KV, name: str) -> int:
    return kv.range(f"{name}/", prefix=True, count_only=True).count


def test_etcdctl_waits_for_our_lock(kv: KV, shared_server: Server) -> None:
    lock = kv.lock("interop/ours")
    lock.acquire()
    with etcdctl_lock(shared_server, "interop/ours") as other:
        wait_until(lambda: contenders(kv, "interop/ours") == 2, what="etcdctl in the line")
        first = kv.range("interop/ours/", prefix=True, sort_order=1, sort_target=2).kvs[0]  # type: ignore[arg-type]
        assert first.create_revision == lock.token
        lock.release()
        assert other.stdout is not None
        assert other.stdout.readline().startswith("interop/ours/")


def test_we_wait_for_etcdctl(kv: KV, shared_server: Server) -> None:
    lock = kv.lock("interop/theirs")
    with etcdctl_lock(shared_server, "interop/theirs") as other:
        assert other.stdout is not None
        assert other.stdout.readline().startswith("interop/theirs/")
        with pytest.raises(LockTimeout):
            lock.acquire(timeout=0.3)
    lock.acquire(timeout=10)
    assert contenders(kv, "interop/theirs") == 1
    lock.release()
