"""Logging in while a member is frozen: whoever waits for it goes on to another one."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from django_etcdaero.exceptions import EtcdAeroError, Unauthenticated
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.keyvalue.etcd.test_failover import connect_to

Connect = Callable[..., EtcdEngine]
ROOT = ("--user", "root:root-secret")
TIMEOUT = 10.0
"""Seconds: less than the pings take to find a frozen member."""


@pytest.fixture(scope="module")
def guarded_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("guarded")).running() as cluster:
        member = cluster.members[0]
        member.etcdctl("user", "add", "root:root-secret")
        member.etcdctl("role", "add", "root")
        member.etcdctl("user", "grant-role", "root", "root")
        member.etcdctl("auth", "enable")
        yield cluster


@pytest.fixture
def guarded(guarded_cluster: Cluster) -> Iterator[Cluster]:
    """Three members that ask for passwords; a test may freeze them."""
    yield guarded_cluster
    for member in guarded_cluster.members:
        member.signal(signal.SIGCONT)
    for member in guarded_cluster.members:
        member.wait_ready(*ROOT)


def freeze_one(guarded: Cluster) -> Server:
    leader = guarded.leader(*ROOT)
    frozen = next(member for member in guarded.members if member is not leader)
    frozen.signal(signal.SIGSTOP)
    return frozen


def outcomes(calls: list[Callable[[], object]]) -> list[type[EtcdAeroError] | None]:
    """Make all calls at once, each in a thread of its own; return what each of them failed with."""
    found: list[type[EtcdAeroError] | None] = []

    def make(call: Callable[[], object]) -> None:
        try:
            call()
        except EtcdAeroError as error:
            found.append(type(error))
        else:
            found.append(None)

    threads = [threading.Thread(target=make, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT * 2)
    return found


@pytest.mark.parametrize("kinds", [("read",), ("write",), ("read", "write")], ids=" and ".join)
def test_threads_whose_member_is_frozen_log_in_to_another(
    guarded: Cluster, connect: Connect, kinds: tuple[str, ...]
) -> None:
    frozen = next(member for member in guarded.members if member is not guarded.leader(*ROOT))
    engine = connect_to(frozen, guarded, partial(connect, user="root", password="root-secret"))
    assert not any(each.error for each in engine.maintenance.statuses(timeout=20))  # connected to all of them
    engine._tokens.current = None  # and not logged in: current servers demand it for a status already
    frozen.signal(signal.SIGSTOP)
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: engine.range(RangeRequest(b"a"), timeout=TIMEOUT),
        "write": lambda: engine.put(PutRequest(b"a", b"1"), timeout=TIMEOUT),
    }
    assert outcomes([calls[kinds[number % len(kinds)]] for number in range(8)]) == [None] * 8
    assert engine.endpoint != frozen.endpoint


def test_tasks_whose_member_is_frozen_log_in_to_another(guarded: Cluster, connect: Connect) -> None:
    frozen = freeze_one(guarded)
    engine = connect_to(frozen, guarded, partial(connect, user="root", password="root-secret"))

    async def scenario() -> None:
        reads = [engine.arange(RangeRequest(b"a"), timeout=TIMEOUT) for _ in range(20)]
        writes = [engine.aput(PutRequest(b"a", b"1"), timeout=TIMEOUT) for _ in range(20)]
        await asyncio.gather(*reads, *writes)

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT * 2))
    assert engine.endpoint != frozen.endpoint


def test_a_wrong_password_is_told_as_such_although_a_member_is_frozen(guarded: Cluster, connect: Connect) -> None:
    frozen = freeze_one(guarded)
    engine = connect_to(frozen, guarded, partial(connect, user="root", password="wrong"))
    found = outcomes([lambda: engine.put(PutRequest(b"a", b"1"), timeout=TIMEOUT)] * 4)
    assert found == [Unauthenticated] * 4
