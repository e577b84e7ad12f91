"""Clients that only write, and the member they use freezes: one write is of unknown outcome, no more."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from django_etcdaero.exceptions import OutcomeUnknown
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.keyvalue.etcd.test_failover import connect_to, others
from tests.waiting import wait_until

At = Callable[[str], bytes]
Connect = Callable[..., EtcdEngine]


def wait_until_it_may_be_tried_again(engine: EtcdEngine, member: Server) -> None:
    """Wait as long as a member that failed is left alone in any case."""
    states = engine.maintenance.endpoints
    wait_until(
        lambda: next(each for each in states() if each.endpoint == member.endpoint).retry_in == 0, what="the pause"
    )


def test_a_thread_that_only_writes_leaves_a_frozen_member_after_one_write(
    cluster: Cluster, connect: Connect, at: At
) -> None:
    frozen = others(cluster, cluster.leader())[0]
    engine = connect_to(frozen, cluster, connect)
    engine.put(PutRequest(at("a"), b"0"), timeout=20)
    frozen.signal(signal.SIGSTOP)
    with pytest.raises(OutcomeUnknown):
        engine.put(PutRequest(at("a"), b"1"), timeout=1)
    wait_until_it_may_be_tried_again(engine, frozen)
    for _ in range(3):
        engine.put(PutRequest(at("a"), b"2"), timeout=20)
        assert engine.endpoint != frozen.endpoint


def test_a_task_that_only_writes_leaves_a_frozen_member_after_one_write(
    cluster: Cluster, connect: Connect, at: At
) -> None:
    frozen = others(cluster, cluster.leader())[0]
    engine = connect_to(frozen, cluster, connect)

    async def scenario() -> None:
        await engine.aput(PutRequest(at("a"), b"0"), timeout=20)
        frozen.signal(signal.SIGSTOP)
        with pytest.raises(OutcomeUnknown):
            await engine.aput(PutRequest(at("a"), b"1"), timeout=1)
        wait_until_it_may_be_tried_again(engine, frozen)
        for _ in range(3):
            await engine.aput(PutRequest(at("a"), b"2"), timeout=20)
            assert engine.endpoint != frozen.endpoint

    asyncio.run(asyncio.wait_for(scenario(), 90))
