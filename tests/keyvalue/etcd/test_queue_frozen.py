"""Locks, elections, sessions and temporary keys while the server hangs."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.exceptions import (
    ClusterError,
    DeadlineExceeded,
    EtcdAeroError,
    LockTimeout,
    OutcomeUnknown,
)
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.etcd.servers import Server
from tests.waiting import wait_until

Connect = Callable[..., EtcdEngine]

TIMEOUT = 1.0
IN_TIME = 3.5
"""Seconds within which a call that may take one has to be back on a busy machine."""


@pytest.fixture
def kv(server: Server, connect: Connect) -> Iterator[KV]:
    client = KV(connect([server.endpoint]))
    yield client
    client.close()


@pytest.fixture
def freeze(server: Server) -> Iterator[Callable[[], None]]:
    yield lambda: server.signal(signal.SIGSTOP)
    server.signal(signal.SIGCONT)


def errors_in_time(*calls: Callable[[], object]) -> list[EtcdAeroError]:
    """Make calls in threads of their own, all at once; return their errors, which have to come in time."""
    errors: list[EtcdAeroError] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except EtcdAeroError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), IN_TIME, "the end of the calls")
    assert len(errors) == len(calls)
    return errors


def acquire(kv: KV, name: str) -> None:
    kv.lock(name, ttl=60).acquire(TIMEOUT)


def acquire_by_default(kv: KV, name: str) -> None:
    with kv.lock(name, ttl=60, timeout=TIMEOUT):
        pytest.fail("the lock was taken")


def aacquire(kv: KV, name: str) -> None:
    asyncio.run(kv.lock(name, ttl=60).aacquire(TIMEOUT))


def campaign(kv: KV, name: str) -> None:
    kv.election(name, ttl=60, value="me").campaign(timeout=TIMEOUT)


def acampaign(kv: KV, name: str) -> None:
    asyncio.run(kv.election(name, ttl=60).acampaign(timeout=TIMEOUT))


@pytest.mark.parametrize("opened", [False, True], ids=["no-session", "session"])
def test_a_timed_wait_keeps_its_time(
    kv: KV, server: Server, connect: Connect, freeze: Callable[[], None], opened: bool
) -> None:
    if opened:
        kv.session(60)
    ways = {f"{way.__name__}": way for way in (acquire, acquire_by_default, aacquire, campaign, acampaign)}
    freeze()
    errors = errors_in_time(*(lambda name=name, way=way: way(kv, name) for name, way in ways.items()))  # type: ignore[misc]
    locks = [error for error in errors if isinstance(error, LockTimeout)]
    assert len(locks) == 3
    assert all(isinstance(error.__cause__, EtcdAeroError) for error in locks)
    assert all(isinstance(error, DeadlineExceeded) for error in errors)
    assert all("127.0.0.1" in str(error) or "was granted in time" in str(error) for error in errors)
    server.signal(signal.SIGCONT)
    other = KV(connect([server.endpoint]))
    for name in ways:
        with other.lock(name, timeout=30):
            pass
    other.close()
    assert kv.lock("acquire").try_acquire()


@pytest.mark.parametrize("opened", [False, True], ids=["no-session", "session"])
def test_trying_keeps_its_time_however_many_try(kv: KV, freeze: Callable[[], None], opened: bool) -> None:
    if opened:
        kv.session(60)
    freeze()
    errors = errors_in_time(*[lambda: kv.lock("L", ttl=60).try_acquire(timeout=TIMEOUT)] * 8)
    assert not any(isinstance(error, LockTimeout) for error in errors)
    assert all(isinstance(error, DeadlineExceeded | OutcomeUnknown | ClusterError) for error in errors)


def test_a_wait_without_an_end_has_none_only_in_line(server: Server, connect: Connect) -> None:
    kv = KV(connect([server.endpoint], timeout=TIMEOUT))
    kv.session(60)
    server.signal(signal.SIGSTOP)
    try:
        (error,) = errors_in_time(lambda: kv.lock("L", ttl=60).acquire())
        assert isinstance(error, OutcomeUnknown)
        assert not isinstance(error, LockTimeout)
    finally:
        server.signal(signal.SIGCONT)
        kv.close()


@pytest.mark.parametrize("replace", [False, True])
def test_making_a_temporary_key_keeps_its_time(
    kv: KV, server: Server, freeze: Callable[[], None], replace: bool
) -> None:
    kv.put("x", "1")
    freeze()
    (error,) = errors_in_time(lambda: kv.temporary_key("T", replace=replace, timeout=TIMEOUT))
    assert isinstance(error, DeadlineExceeded | ClusterError)
    server.signal(signal.SIGCONT)
    wait_until(lambda: kv.range("T").count == 0, 30, "the server's return")
