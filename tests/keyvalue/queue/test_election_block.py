"""An election as a context manager: it campaigns, and resigns at the end."""

from __future__ import annotations

import asyncio

import pytest

from django_etcdaero.exceptions import NotLeader
from django_etcdaero.keyvalue import KV
from tests.keyvalue.queue.queueing import keys

pytestmark = pytest.mark.parametrize("engine", ["mem"], indirect=True)


def test_a_block_leads(kv: KV) -> None:
    with kv.election("E", value="a") as election:
        assert election.is_leader
        election.check()
    assert not election.is_leader
    assert keys(kv) == []
    with election:  # and again
        assert election.is_leader


def test_an_asynchronous_block_leads(kv: KV) -> None:
    async def main() -> None:
        async with kv.election("E", value="a") as election:
            assert election.is_leader
        assert await election.aleader() is None

    asyncio.run(main())
    assert keys(kv) == []


def test_an_error_of_the_body_gives_the_leadership_up(kv: KV) -> None:
    with pytest.raises(ZeroDivisionError), kv.election("E"):
        raise ZeroDivisionError
    assert keys(kv) == []


def test_a_body_that_finished_after_a_loss_is_told_unless_it_failed(kv: KV, other: KV) -> None:
    with pytest.raises(NotLeader, match=r"had been lost before it was resigned \(revoked\)"), kv.election("E"):
        kv.session(10).lease.end(lost=True)

    def fail() -> None:
        kv.session(10).lease.end(lost=True)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), kv.election("E"):
        fail()


def test_a_body_may_resign(kv: KV) -> None:
    with kv.election("E") as election:
        election.resign()
    assert keys(kv) == []
