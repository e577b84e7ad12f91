"""Connecting ends within the time of the call, whatever the resolver and the native client do."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import aerospike
import pytest

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded
from django_etcdaero.records.aerospike.store import AerospikeStore
from django_etcdaero.records.store import Record
from tests.records.aerospike.line import Line
from tests.records.aerospike.serving import Served
from tests.waiting import wait_until


class Stuck:
    """Calls wait in :meth:`wait` until :meth:`release`."""

    def __init__(self) -> None:
        self._released = threading.Event()
        self.waiting: Counter[str] = Counter()

    def wait(self, name: str) -> None:
        self.waiting[name] += 1
        self._released.wait(60)

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    stuck = Stuck()
    yield stuck
    stuck.release()


@pytest.fixture
def resolver(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> Stuck:
    """A resolver that gets stuck at names that begin with ``slow``, and finds none of them in the end."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        if host.startswith("slow"):
            stuck.wait(host)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return stuck


@pytest.fixture
def native(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> Stuck:
    """A native client that gets stuck while it is made."""
    make = aerospike.client

    def client(config: dict[str, Any]) -> Any:
        stuck.wait("client")
        return make(config)

    monkeypatch.setattr(aerospike, "client", client)
    return stuck


def give_up_until_stuck(store: AerospikeStore, native: Stuck) -> None:
    """Call until the native client is being made."""

    def stuck() -> bool:
        with pytest.raises(DeadlineExceeded):
            store.get(b"k", timeout=0.2)
        return bool(native.waiting)

    wait_until(stuck, what="the native client being made")


def test_names_that_are_looked_up_for_long(server: Served, resolver: Stuck) -> None:
    store = server.store(hosts=[("slow1.example", 3000), ("slow2.example", 3000)])
    for _ in range(3):
        with pytest.raises(DeadlineExceeded, match=r"slow1\.example:3000: its name is still being looked up; slow2"):
            store.get(b"k", timeout=0.1)
    wait_until(lambda: len(resolver.waiting) == 2, what="both names being looked up")
    assert resolver.waiting == {"slow1.example": 1, "slow2.example": 1}  # one at a time
    resolver.release()
    with pytest.raises(ClusterError, match=r"slow1\.example:3000: Name or service not known"):
        store.get(b"k")


def test_one_name_that_is_looked_up_for_long_does_not_keep_from_the_other_hosts(
    server: Served, resolver: Stuck
) -> None:
    store = server.store(hosts=[("slow.example", 3000), (server.host, server.port)])
    store.put(b"k", b"v")
    assert store.get(b"k") == Record(b"v", 1, None)
    assert resolver.waiting == {"slow.example": 1}


def test_a_name_that_cannot_be_one_is_like_one_that_is_not_found(server: Served) -> None:
    store = server.store(hosts=[("x" * 70, 3000)])
    with pytest.raises(ClusterError, match="x:3000: "):
        store.get(b"k")


def test_a_client_that_is_made_for_long_is_used_when_it_is_there(server: Served, native: Stuck) -> None:
    store = server.store()
    give_up_until_stuck(store, native)
    with pytest.raises(DeadlineExceeded, match="still connecting"):
        store.get(b"k", timeout=2)
    native.release()
    store.put(b"k", b"v")
    assert store.get(b"k") == Record(b"v", 1, None)
    assert native.waiting == {"client": 1}


def test_a_client_that_comes_after_the_store_was_closed_is_closed(server: Served, native: Stuck, line: Line) -> None:
    store = server.store(hosts=[(line.host, line.port)])
    give_up_until_stuck(store, native)
    store.close()
    native.release()
    wait_until(lambda: not any(thread.name == "etcdaero-client" for thread in threading.enumerate()), what="its thread")
    wait_until(lambda: line.connections == 0, what="the connections being closed")
